"""Functions of `geometry`, each compiled as a whole: called as they are, every operation is a program of its own.

Cameras are traced, so that one program serves all of a size; a mesh of few vertices and faces is padded to the size of
others (`padded`) and shares theirs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.geometry import mesh_rasterizer, rasterizer, render, resample
from gan2shape_jax.geometry import texture as textures

VERTICES, FACES = 24, 40

grid_sample = jax.jit(resample.grid_sample, static_argnames="mode")
warp_depth = jax.jit(render.warp_depth, static_argnames="sampling")
draw_texture = jax.jit(render.draw_texture)
rasterize_grid = jax.jit(rasterizer.rasterize, static_argnames="samples")
rasterize = jax.jit(
    mesh_rasterizer.rasterize,
    static_argnames=("supersample", "size", "sampling", "samples", "cull", "layers", "derivatives"),
)
interpolate = jax.jit(mesh_rasterizer.interpolate, static_argnames=("supersample", "derivatives"))
antialias = jax.jit(mesh_rasterizer.antialias, static_argnames="samples")
texture = jax.jit(textures.texture, static_argnames="wrap")


@jax.jit
def blend(values, vertices, camera, faces=None):
    """What a mesh or grid makes of samples' values, or its silhouette where there are none; and what samples see."""
    fragments = mesh_rasterizer.rasterize(vertices, camera, faces=faces)
    values = (fragments.triangle[..., None] >= 0).astype(vertices.dtype) if values is None else values
    return mesh_rasterizer.antialias(values, fragments, vertices, camera, faces=faces), fragments


def padded(vertices, faces):
    """Vertices (..., 24, 3) and faces (40, 3): those given, then vertices that no face has and faces that do not exist.

    In compiled programs, such as those above, faces that name no vertex are left out.
    """
    more = [(0, 0)] * (np.ndim(vertices) - 2)
    vertices = jnp.pad(jnp.asarray(vertices), [*more, (0, VERTICES - np.shape(vertices)[-2]), (0, 0)])
    return vertices, np.pad(faces, [(0, FACES - len(faces)), (0, 0)], constant_values=-1)
