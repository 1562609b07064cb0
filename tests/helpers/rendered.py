"""Losses of what is rendered, with arguments that leave visibility as it is in their neighbourhood.

Each case is a function from a batch size, or none, to a smooth loss that sums over any leading axes, and its argument.
"""

import jax.numpy as jnp
import numpy as np

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import lighting, mesh_rasterizer, render, resample, texture
from gan2shape_jax.geometry.rasterizer import SampleGrid

_CAMERA = camera_lib.Camera(5)
_FACES = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [0, 4, 5]])


def _varied(array, batch, scale=1e-3):
    """Returns a batch of arrays next to one."""
    if batch is None:
        return jnp.asarray(array)
    noise = np.random.default_rng(2).normal(size=(batch, *np.shape(array)))
    return jnp.asarray(array + scale * noise)


def warped_depth(batch=None):
    y, x = np.mgrid[:5, :5]
    view = np.array([0.11, -0.23, 0.05, 0.004, -0.003, 0.01])

    def loss(arguments):
        return jnp.sum(jnp.sin(3 * render.warp_depth(arguments["depth"], arguments["view"], _CAMERA)))

    return loss, {"depth": _varied(1 + 0.01 * np.sin(x) * np.cos(y), batch, 1e-4), "view": _varied(view, batch)}


def sampled_image(batch=None):
    rng = np.random.default_rng(0)

    def loss(arguments):
        return jnp.sum(jnp.sin(resample.grid_sample(arguments["image"], arguments["grid"])))

    image, grid = rng.normal(size=(4, 5, 2)), rng.uniform(-1.2, 1.2, (3, 3, 2))
    return loss, {"image": _varied(image, batch), "grid": _varied(grid, batch, 1e-5)}


def drawn_mesh(batch=None):
    rng = np.random.default_rng(1)
    points = np.array([[-1, -1, 9], [1, -0.8, 10], [-1.1, 1, 11], [0.9, 1.2, 9], [0.2, 0.1, 8], [-0.5, 1, 9]]) / 9
    camera = camera_lib.Camera(5, fov_deg=12.0)
    samples = SampleGrid.over(camera, supersample=2).shifted(0.0123)

    def loss(arguments):
        fragments = mesh_rasterizer.rasterize(arguments["vertices"], camera, faces=_FACES, samples=samples)
        picture = mesh_rasterizer.interpolate(fragments, arguments["colours"], faces=_FACES, supersample=2)
        return jnp.sum(jnp.sin(picture)) + jnp.sum(jnp.sin(jnp.where(fragments.triangle < 0, 0, fragments.depth)))

    return loss, {"vertices": _varied(points, batch, 1e-4), "colours": _varied(rng.normal(size=(6, 2)), batch)}


def drawn_grid(batch=None):
    """A grid that is not square, lit, from a camera that is not at the world's origin, drawn sample by sample."""
    turn = np.array([[1, 0, 0, 0.01], [0, 0.6, -0.8, 0.8], [0, 0.8, 0.6, 0.4]])
    camera = camera_lib.Camera((4, 6), K=(22.0, 25.0, 2.2, 1.6), extrinsics=turn)
    samples = SampleGrid.over(camera, supersample=3).shifted(0.0123)  # none on an edge
    rng = np.random.default_rng(3)

    def loss(arguments):
        depth, light = arguments["depth"], arguments["light"]
        shading = lighting.shade(lighting.normals(depth, camera), light)[0]
        fragments = mesh_rasterizer.rasterize(camera_lib.back_project(depth, camera), camera, samples=samples)
        return jnp.sum(jnp.sin(mesh_rasterizer.interpolate(fragments, shading[..., None], supersample=3)))

    depth = 1 + 0.05 * rng.normal(size=(4, 6))
    return loss, {"depth": _varied(depth, batch, 1e-5), "light": _varied(rng.normal(size=4), batch)}


def blended_mesh(batch=None):
    _, arguments = drawn_mesh(batch)
    camera = camera_lib.Camera(5, fov_deg=18.0)

    def loss(arguments):
        fragments = mesh_rasterizer.rasterize(arguments["vertices"], camera, faces=_FACES)
        picture = mesh_rasterizer.interpolate(fragments, arguments["colours"], faces=_FACES)
        blended = mesh_rasterizer.antialias(picture, fragments, arguments["vertices"], camera, faces=_FACES)
        return jnp.sum(jnp.sin(blended)) + jnp.sum(jnp.sin(jnp.where(fragments.triangle < 0, 0, fragments.depth)))

    return loss, arguments


def textured_mesh(batch=None):
    _, arguments = drawn_mesh(batch)
    camera = camera_lib.Camera(5, fov_deg=12.0)
    image = np.random.default_rng(4).normal(size=(8, 8, 2))

    def loss(arguments):
        fragments = mesh_rasterizer.rasterize(arguments["vertices"], camera, faces=_FACES, derivatives=True)
        places, slopes = mesh_rasterizer.interpolate(fragments, arguments["colours"], faces=_FACES, derivatives=True)
        return jnp.sum(jnp.sin(texture.texture(arguments["image"], places, slopes)))

    return loss, arguments | {"image": _varied(image, batch)}


CASES = {"warped depth": warped_depth, "sampled image": sampled_image, "drawn mesh": drawn_mesh}
CASES["drawn grid"] = drawn_grid
OTHERS = {"blended mesh": blended_mesh, "textured mesh": textured_mesh}
