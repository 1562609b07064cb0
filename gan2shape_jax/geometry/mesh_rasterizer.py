"""Differentiable rasterisation of triangle meshes: any vertices, faces and attributes, with gradients to both.

Vertices `(..., V, 3)` are in the camera's frame (x right, y down, z away, scene units), faces `(F, 3)` their numbers.
`rasterize` returns what each sample sees, `interpolate` the values there of attributes given at the vertices:

    fragments = rasterize(vertices, camera, faces=faces, supersample=2)
    colours = interpolate(fragments, vertex_colours, faces=faces, supersample=2)      # (..., S, S, C)

Without faces the vertices are a grid `(..., H, W, 3)`, as from a depth map, with two triangles per cell (`grid_faces`);
square grids take the faster path of `rasterizer`. Depth, barycentrics and interpolated values are differentiable, any
number of times, forward and backward, with the visible triangle of each sample held fixed: no gradient flows through
visibility, so none moves a silhouette. GAN2Shape, section 3.1, takes this derivative of its depth renderer.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gan2shape_jax.geometry import rasterizer, resample, visibility
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.rasterizer import Fragments, SampleGrid
from gan2shape_jax.geometry.visibility import in_chunks, join_batch


def _require(name: str, value: Any, kind: Any, axes: str) -> None:
    """Raises a `ValueError` unless a value is an array of such numbers, with axes "*shape 3", "*shape c" or "f 3"."""
    if not isinstance(value, jax.Array | np.ndarray):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be an array")
    if not jnp.issubdtype(value.dtype, kind):
        types = "floating point" if kind is jnp.floating else "integers"
        raise ValueError(f"{name} is of {value.dtype.name}; it must be {types}")
    leading, last = axes.split()
    if value.ndim < 1 or (leading == "f" and value.ndim != 2) or (last == "3" and value.shape[-1] != 3):
        raise ValueError(f"{name} has shape {value.shape}; it must have the axes ({axes})")


def rasterize(
    vertices: Float[Array, "*shape 3"],
    camera: Camera,
    *,
    faces: Integer[Array, "f 3"] | None = None,
    supersample: int = 1,
    size: int | None = None,
    sampling: str = "centred",
    samples: SampleGrid | None = None,
) -> Fragments:
    """Rasterises triangle meshes that share their faces, or grids of vertices.

    Triangles are drawn, both sides, where their depth lies between camera.near and camera.far, so one that reaches
    behind the camera is clipped at the near plane; in square grids, triangles with a vertex at or before it are dropped
    entirely. Triangles without area or with a vertex that is not finite are not drawn. Where depths are equal, the
    triangle with the lowest number is visible. Work and memory are bounded by the number of 4 x 4 tiles that the
    triangles' boxes cover on screen, whatever their sizes.

    Args:
      vertices: `(..., V, 3)` with faces, `(..., H, W, 3)` without; floating point, in the camera's frame.
      camera: the camera.
      faces: the three vertices of each triangle; not needed for grids. Under `jax.jit`, where values are not known, a
        triangle that names a nonexistent vertex is not drawn.
      supersample: samples along each side of a pixel.
      size: pixels along each side of the picture; camera.image_size if not given.
      sampling: where samples lie, see `SampleGrid.over`.
      samples: where to sample, in place of these three.

    Returns:
      What each of the n x n samples sees, n = size x supersample; `.depth` and `.barycentric` are differentiable in
      the vertices.

    Raises:
      ValueError: a shape or type is wrong, or a face whose values are known names a nonexistent vertex.
    """
    _require("vertices", vertices, jnp.floating, "*shape 3")
    samples = samples or SampleGrid.over(camera, supersample=supersample, size=size, sampling=sampling)
    if faces is None:
        if vertices.ndim < 3:
            raise ValueError(f"vertices has shape {vertices.shape}; without faces it must be (..., H, W, 3)")
        *leading, height, width, _ = vertices.shape
        points = vertices.reshape(*leading, height * width, 3)
        faces = jnp.asarray(grid_faces(height, width))
        if height == width > 1:
            fragments = rasterizer.rasterize(vertices, camera, samples=samples)
            barycentric = _surface(points, faces, fragments.triangle, camera, samples)[0]
            return dataclasses.replace(fragments, barycentric=barycentric)
        vertices = points
    *batch, count, _ = vertices.shape
    faces, exists = _checked_faces(faces, count)
    shape = (*batch, samples.count, samples.count)
    if math.prod(shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{math.prod(shape):,} samples are more than 2,147,483,647: rasterise fewer images at once")
    if not (faces.shape[0] and math.prod(shape)):
        zero = jnp.zeros(shape, vertices.dtype)
        return Fragments(jnp.full(shape, -1, jnp.int32), jnp.zeros((*shape, 3), zero.dtype), zero + camera.far)
    triangle = _visible(jax.lax.stop_gradient(vertices), faces, exists, camera, samples)
    barycentric, depth = _surface(vertices, faces, triangle, camera, samples)
    return Fragments(triangle, barycentric, depth)


def interpolate(
    fragments: Fragments,
    attributes: Float[Array, "*shape c"],
    *,
    faces: Integer[Array, "f 3"] | None = None,
    supersample: int = 1,
) -> Float[Array, "*batch n n c"]:
    """Interpolates values at vertices to samples or, averaging supersample x supersample of them, to pixels.

    Attributes are `(..., V, C)` with the faces that the fragments were rasterised with, `(..., H, W, C)` without;
    leading axes broadcast to those of the fragments, or a `ValueError` is raised.

    Returns:
      The values, 0 where nothing is seen, differentiable in attributes and, through the barycentrics, in vertices. A
      pixel's value is the mean over all its samples, including those that see nothing, so it is multiplied by the
      pixel's coverage: attributes of 1 give that coverage.
    """
    _require("attributes", attributes, jnp.floating, "*shape c")
    if faces is None:
        if attributes.ndim < 3:
            raise ValueError(f"attributes has shape {attributes.shape}; without faces it must be (..., H, W, C)")
        *leading, height, width, channels = attributes.shape
        faces = jnp.asarray(grid_faces(height, width))
        attributes = attributes.reshape(*leading, height * width, channels)
    faces, _ = _checked_faces(faces, attributes.shape[-2], "attributes")
    *batch, count, _ = fragments.triangle.shape
    if count % max(supersample, 1) or supersample < 1:
        raise ValueError(f"supersample is {supersample}; it must divide the {count} samples along a side")
    try:
        attributes = jnp.broadcast_to(attributes, (*batch, *attributes.shape[-2:]))
    except ValueError:
        raise ValueError(f"attributes has leading axes {attributes.shape[:-2]}, the fragments {tuple(batch)}") from None
    if not (faces.shape[0] and fragments.triangle.size):
        values = jnp.zeros((*fragments.triangle.shape, attributes.shape[-1]), attributes.dtype)
    else:
        triangle = fragments.triangle.reshape(-1, count, count)
        flat = jnp.asarray(attributes).reshape(-1, attributes.shape[-1])
        values = rasterizer.weighted_sum(fragments, flat, _corner_indices(triangle, faces, attributes.shape[-2]))
    return resample.average_cells(values, supersample) if supersample > 1 else values


@functools.cache
def grid_faces(height: int, width: int) -> np.ndarray:
    """Returns the faces `(2 (H-1)(W-1), 3)` of a grid of vertices numbered row by row, in the order of `visibility`."""
    number = np.arange(height * width, dtype=np.int32).reshape(height, width)
    upper_left, upper_right = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    lower_left, lower_right = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    first = np.stack([upper_left, lower_left, upper_right], -1)
    faces = np.concatenate([first, np.stack([upper_right, lower_left, lower_right], -1)])
    faces.setflags(write=False)
    return faces


def _checked_faces(
    faces: Any, vertices: int, argument: str = "vertices"
) -> tuple[Int[Array, "f 3"], Bool[Array, " f"]]:
    """Returns faces as int32, clipped to existing vertices, and which of them were valid before clipping.

    Values are known outside of jit only; there, a number outside 0 to vertices - 1 raises `ValueError`.
    """
    _require("faces", faces, jnp.integer, "f 3")
    if not isinstance(faces, jax.core.Tracer):
        known = np.asarray(faces)
        outside = np.flatnonzero(((known < 0) | (known >= vertices)).any(-1))
        if outside.size:
            row = outside[0]
            raise ValueError(
                f"faces[{row}] is {known[row].tolist()}, but {argument} has {vertices} rows: "
                f"each must be 0 to {vertices - 1}"
            )
        return jnp.asarray(known, jnp.int32), jnp.ones(known.shape[0], bool)
    exists = ((faces >= 0) & (faces < vertices)).all(-1)
    return jnp.clip(faces, 0, max(vertices - 1, 0)).astype(jnp.int32), exists


def _visible(vertices: Array, faces: Array, exists: Array, camera: Camera, samples: SampleGrid) -> Array:
    """Returns the visible triangle of each sample, `(..., n, n)`; -1 where there is none."""
    planes = _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)
    missing = jnp.where(exists, 0, jnp.nan).astype(vertices.dtype)
    corners = [tuple(plane[:, faces[:, k]] + missing for plane in planes) for k in range(3)]
    near = max(camera.near, float(jnp.finfo(vertices.dtype).tiny))

    def visible(*corners: visibility.Corner) -> Any:
        return visibility.visible_mesh_triangles(corners, count=samples.count, near=near, far=camera.far)[1]

    size = faces.shape[0] // 2 + samples.count**2 // 4
    triangle: Array = join_batch(lambda *corners: in_chunks(visible, *corners, size=size))(*corners)
    return triangle.reshape(*vertices.shape[:-2], samples.count, samples.count)


def _surface(
    vertices: Array, faces: Array, triangle: Array, camera: Camera, samples: SampleGrid
) -> tuple[Array, Array]:
    """Returns barycentrics and depth of visible triangles at the samples, smooth functions of the vertices.

    Scaling by the area, held constant in derivatives, changes neither the value nor any derivative, as numerators and
    denominator scale alike, but it keeps the squares in them within range.
    """
    shape = triangle.shape
    triangle = triangle.reshape(-1, *shape[-2:])
    seen = triangle >= 0
    planes = [plane.reshape(-1) for plane in _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)]
    lattice = jnp.arange(samples.count, dtype=vertices.dtype)
    x, y, z = [], [], []
    # Samples that see nothing get a stand-in triangle that is not part of the mesh.
    for index, stand_in in zip(_corner_indices(triangle, faces, vertices.shape[-2]), ((1, 0), (0, 1), (0, 0))):
        at_x, at_y, depth = (plane.at[index].get(mode="promise_in_bounds") for plane in planes)
        x.append(jnp.where(seen, at_x - lattice * depth, stand_in[0]))
        y.append(jnp.where(seen, at_y - lattice[:, None] * depth, stand_in[1]))
        z.append(jnp.where(seen, depth, 1))
    parts = [x[a] * y[b] - y[a] * x[b] for a, b in ((1, 2), (2, 0), (0, 1))]
    area = jax.lax.stop_gradient(parts[0] + parts[1] + parts[2])
    # On an edge, rounding must not decide the gradient: max(part, 0) with the derivative of the part.
    parts = [part / area for part in parts]
    parts = [part + jax.lax.stop_gradient(jnp.maximum(part, 0) - part) for part in parts]
    total = parts[0] + parts[1] + parts[2]
    weights = [part / total for part in parts]
    depth = weights[0] * z[0] + weights[1] * z[1] + weights[2] * z[2]
    barycentric = jnp.where(seen[..., None], jnp.stack(weights, -1), 0)
    depth = jnp.where(seen, depth, jnp.asarray(camera.far, depth.dtype))
    return barycentric.reshape(*shape, 3), depth.reshape(shape)


def _to_samples(vertices: Array, camera: Camera, samples: SampleGrid) -> tuple[Array, Array, Array]:
    """Returns x, y and z in homogeneous units of samples, `(B, V)` each: x / z and y / z lie on the lattice."""
    scale = camera.focal_length / samples.spacing
    origin = (camera.center - samples.first) / samples.spacing
    x, y, z = (vertices[..., k] for k in range(3))
    return x * scale + origin * z, y * scale + origin * z, z


def _corner_indices(triangle: Array, faces: Array, vertices: int) -> list[Array]:
    """Returns flat (B V) indices of the visible triangles' corners; those of triangle 0 where there is none."""
    image = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None]
    number = jnp.maximum(triangle, 0)
    return [image * vertices + faces[:, k].at[number].get(mode="promise_in_bounds") for k in range(3)]
