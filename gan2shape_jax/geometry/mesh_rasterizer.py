"""Differentiable rasterisation of triangle meshes: any vertices, faces and attributes, with gradients to both.

Vertices `(..., V, 3)` are points as of `camera` (x right, y down, z away, scene units), faces `(F, 3)` their numbers.
`rasterize` returns what each sample sees, `interpolate` the values there of attributes given at the vertices:

    fragments = rasterize(vertices, camera, faces=faces, supersample=2)
    colours = interpolate(fragments, vertex_colours, faces=faces, supersample=2)      # (..., H, W, C)

Without faces the vertices are a grid `(..., H, W, 3)`, as from a depth map, with two triangles per cell (`grid_faces`);
they take the faster path of `rasterizer`. Depth, barycentrics and interpolated values are differentiable, any
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

from gan2shape_jax import platforms
from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, resample, visibility
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.rasterizer import Fragments, SampleGrid
from gan2shape_jax.geometry.visibility import in_chunks, join_batch

_STEPS = 32  # triangles from a sample to a silhouette within a sample's distance, at most


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
    behind the camera is clipped at the near plane; in grids, triangles with a vertex at or before it are dropped.
    Triangles without area or with a vertex that is not finite are not drawn. Where depths are equal, the triangle with
    the lowest number is visible. Work and memory are bounded by the number of 4 x 4 tiles that the triangles' boxes
    cover on screen, whatever their sizes.

    Args:
      vertices: `(..., V, 3)` with faces, `(..., H, W, 3)` without; floating point.
      camera: the camera.
      faces: the three vertices of each triangle; not needed for grids. Under `jax.jit`, where values are not known, a
        triangle that names a nonexistent vertex is not drawn.
      supersample: samples along each side of a pixel.
      size: pixels in a row of the picture; camera.width if not given.
      sampling: where samples lie, see `SampleGrid.over`.
      samples: where to sample, in place of these three.

    Returns:
      What each of the n x m samples sees; `.depth` and `.barycentric` are differentiable in the vertices.

    Raises:
      ValueError: a shape or type is wrong, or a face whose values are known names a nonexistent vertex.
    """
    _require("vertices", vertices, jnp.floating, "*shape 3")
    samples = samples or SampleGrid.over(camera, supersample=supersample, size=size, sampling=sampling)
    vertices, camera = camera_lib.to_camera(vertices, camera), dataclasses.replace(camera, extrinsics=None)
    points, numbers, exists = _mesh("vertices", vertices, faces)
    if faces is None and min(vertices.shape[-3:-1]) > 1:
        fragments = rasterizer.rasterize(vertices, camera, samples=samples)
        barycentric = _surface(points, fragments.triangle, numbers, camera, samples)[0]
        return dataclasses.replace(fragments, barycentric=barycentric)
    batch = points.shape[:-2]
    shape = (*batch, *samples.shape)
    if math.prod(shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{math.prod(shape):,} samples are more than 2,147,483,647: rasterise fewer images at once")
    if not (numbers.shape[0] and math.prod(shape)):
        return rasterizer.nothing_seen(shape, vertices.dtype, camera)
    triangle = _visible(points, numbers, exists, camera, samples)
    barycentric, depth = _surface(points, triangle, numbers, camera, samples)
    return Fragments(triangle, barycentric, depth)


def interpolate(
    fragments: Fragments,
    attributes: Float[Array, "*shape c"],
    *,
    faces: Integer[Array, "f 3"] | None = None,
    supersample: int = 1,
) -> Float[Array, "*batch n m c"]:
    """Interpolates values at vertices to samples or, averaging supersample x supersample of them, to pixels.

    Attributes are `(..., V, C)` with the faces that the fragments were rasterised with, `(..., H, W, C)` without;
    leading axes broadcast to those of the fragments, or a `ValueError` is raised.

    Returns:
      The values, 0 where nothing is seen, differentiable in attributes and, through the barycentrics, in vertices. A
      pixel's value is the mean over all its samples, including those that see nothing, so it is multiplied by the
      pixel's coverage: attributes of 1 give that coverage.
    """
    _require("attributes", attributes, jnp.floating, "*shape c")
    attributes, faces, _ = _mesh("attributes", attributes, faces)
    *batch, rows, columns = fragments.triangle.shape
    if supersample < 1 or rows % supersample or columns % supersample:
        raise ValueError(f"supersample is {supersample}; it must divide the {rows} x {columns} samples")
    try:
        if np.broadcast_shapes(attributes.shape[:-2], batch) != tuple(batch):
            raise ValueError
    except ValueError:
        raise ValueError(f"attributes has leading axes {attributes.shape[:-2]}, the fragments {tuple(batch)}") from None
    if not (faces.shape[0] and fragments.triangle.size):
        values = jnp.zeros((*fragments.triangle.shape, attributes.shape[-1]), attributes.dtype)
    else:
        values = _weighted(fragments.triangle, fragments.barycentric, jnp.asarray(attributes), faces)
    return resample.average_cells(values, supersample) if supersample > 1 else values


def antialias(
    values: Float[Array, "*batch n m c"],
    fragments: Fragments,
    vertices: Float[Array, "*shape 3"],
    camera: Camera,
    *,
    faces: Integer[Array, "f 3"] | None = None,
    samples: SampleGrid | None = None,
) -> Float[Array, "*batch n m c"]:
    """Blends samples' values where a silhouette passes between neighbours, which gives silhouettes a gradient.

    Where neighbours see different triangles, the nearer one's surface may end between them: at an edge beyond which
    there is none, or which folds back. What it covers of either's cell, from the middle of one to that of the other,
    has the nearer one's value. So the sum of a mask follows the area that a mesh covers, and values are differentiable
    in the vertices through the place of the silhouette (S. Laine et al., Modular Primitives for High-Performance
    Differentiable Rendering, 2020, section 3.7). What is thinner than a sample is missed.

    `values` are one for each sample, background included; what else is given is what `rasterize` was given and
    returned, with its `samples` if they are not the pixels' centres. A `ValueError` if a shape or type is wrong.
    """
    _require("values", values, jnp.floating, "*shape c")
    _require("vertices", vertices, jnp.floating, "*shape 3")
    points, faces, _ = _mesh("vertices", vertices, faces)
    samples = samples or SampleGrid.over(camera)
    shape = (*points.shape[:-2], *samples.shape)
    if not fragments.triangle.shape == values.shape[:-1] == shape:
        raise ValueError(f"values has shape {values.shape}, fragments {fragments.triangle.shape}: both need {shape}")
    if not (faces.shape[0] and values.size):
        return values
    points, camera = camera_lib.to_camera(points, camera), dataclasses.replace(camera, extrinsics=None)
    topology = faces, _neighbours(faces)
    return _blended(values, fragments.triangle, fragments.depth, points, topology, camera, samples)


def _mesh(name: str, array: Array, faces: Any) -> tuple[Array, Int[Any, "f 3"], Bool[Any, " f"]]:
    """Returns what vertices have as a list, its faces, clipped to its numbers, and which of them exist.

    They are those of a grid if none are given. Values that are known, as those of a jitted function's arguments are
    not, stay on the host; there, a number outside 0 to vertices - 1 raises `ValueError`.
    """
    if faces is None:
        if array.ndim < 3:
            raise ValueError(f"{name} has shape {array.shape}; without faces it must be (..., H, W, {array.shape[-1]})")
        faces, array = grid_faces(*array.shape[-3:-1]), _listed(array)
    _require("faces", faces, jnp.integer, "f 3")
    vertices = array.shape[-2]
    if isinstance(faces, jax.core.Tracer):
        exists = ((faces >= 0) & (faces < vertices)).all(-1)
        return array, jnp.clip(faces, 0, max(vertices - 1, 0)).astype(jnp.int32), exists
    known = np.asarray(faces)
    outside = np.flatnonzero(((known < 0) | (known >= vertices)).any(-1))
    if outside.size:
        row = outside[0]
        raise ValueError(
            f"faces[{row}] is {known[row].tolist()}, but {name} has {vertices} rows: each must be 0 to {vertices - 1}"
        )
    return array, known.astype(np.int32), np.ones(known.shape[0], bool)


@platforms.per_shard(grid=3)
def _listed(grid: Array) -> Array:
    *batch, height, width, channels = grid.shape
    return grid.reshape(*batch, height * width, channels)


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


@platforms.per_shard(vertices=2)
def _visible(vertices: Array, faces: Array, exists: Array, camera: Camera, samples: SampleGrid) -> Array:
    """Returns the visible triangle of each sample, `(..., n, m)`; -1 where there is none."""
    planes = _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)
    planes, near = jax.lax.stop_gradient((planes, jnp.asarray(camera.near, vertices.dtype)))
    missing = jnp.where(exists, 0, jnp.nan).astype(vertices.dtype)
    corners = tuple(tuple(plane[:, faces[:, k]] + missing for plane in planes) for k in range(3))
    visible = functools.partial(visibility.visible_mesh_triangles, shape=samples.shape)
    size = faces.shape[0] // 2 + math.prod(samples.shape) // 4
    near = jnp.broadcast_to(jnp.maximum(near, jnp.finfo(near.dtype).tiny), len(planes[0]))
    depth, triangle = join_batch(lambda *arrays: in_chunks(visible, *arrays, size=size))(corners, near)
    return jnp.where(depth < camera.far, triangle, -1).reshape(*vertices.shape[:-2], *samples.shape)


@platforms.per_shard(vertices=2, triangle=2)
def _surface(
    vertices: Array, triangle: Array, faces: Array, camera: Camera, samples: SampleGrid
) -> tuple[Array, Array]:
    """Returns barycentrics and depth of visible triangles at the samples, smooth functions of the vertices.

    Scaling by the area, held constant in derivatives, changes neither the value nor any derivative, as numerators and
    denominator scale alike, but it keeps the squares in them within range.
    """
    shape = triangle.shape
    triangle = triangle.reshape(-1, *shape[-2:])
    seen = triangle >= 0
    planes = [plane.reshape(-1) for plane in _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)]
    rows, columns = (jnp.arange(n, dtype=vertices.dtype) for n in samples.shape)
    x, y, z = [], [], []
    # Samples that see nothing get a stand-in triangle that is not part of the mesh.
    for index, stand_in in zip(_corner_indices(triangle, faces, vertices.shape[-2]), ((1, 0), (0, 1), (0, 0))):
        at_x, at_y, depth = (plane.at[index].get(mode="promise_in_bounds") for plane in planes)
        x.append(jnp.where(seen, at_x - columns * depth, stand_in[0]))
        y.append(jnp.where(seen, at_y - rows[:, None] * depth, stand_in[1]))
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


def _neighbours(corners: Any) -> Any:
    """Returns a triangle beyond the edge opposite each corner, -1 where there is none."""
    xp: Any = jnp if isinstance(corners, jax.core.Tracer) else np
    ends = xp.sort(xp.stack([corners[:, [1, 2, 0]].reshape(-1), corners[:, [2, 0, 1]].reshape(-1)]), axis=0)
    order = xp.lexsort(ends)
    same = (ends[:, order[1:]] == ends[:, order[:-1]]).all(0)
    before, after = (xp.concatenate(parts) for parts in ((xp.zeros(1, bool), same), (same, xp.zeros(1, bool))))
    partner = xp.where(after, xp.roll(order, -1), xp.where(before, xp.roll(order, 1), -1))
    return (partner[xp.argsort(order)].reshape(-1, 3) // 3).astype(np.int32)


@platforms.per_shard(values=3, triangle=2, depth=2, vertices=2)
def _blended(
    values: Array, triangle: Array, depth: Array, vertices: Array, topology: Any, camera: Camera, samples: SampleGrid
) -> Array:
    faces, beyond = map(jnp.asarray, topology)
    x, y, z = _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)
    drawn = z > camera.near
    x, y = (value / jnp.where(drawn, z, 1) for value in (x, y))
    whole = drawn[:, faces].all(-1)
    seen = triangle.reshape(-1, *triangle.shape[-2:])
    pictures = values.reshape(*seen.shape, -1), seen, jax.lax.stop_gradient(depth).reshape(seen.shape)
    rows = _change_of_rows(pictures, (x, y, whole, faces, beyond), diagonal=True)
    turned = jax.tree.map(lambda picture: jnp.swapaxes(picture, 1, 2), pictures)
    columns = _change_of_rows(turned, (y, x, whole, faces, beyond), diagonal=False)
    return values + (rows + jnp.swapaxes(columns, 1, 2)).reshape(values.shape)


def _change_of_rows(pictures: tuple[Array, Array, Array], mesh: Any, *, diagonal: bool) -> Array:
    """Returns what silhouettes between neighbours in a row change, if they lie across it rather than along.

    From the nearer one it is a walk towards the other, from triangle to triangle, that ends at a silhouette: near an
    outline, triangles are thin on screen.
    """
    (values, triangle, depth), (x, y, whole, faces, beyond) = pictures, mesh
    ahead = depth[..., :-1] <= depth[..., 1:]  # the left one is the nearer
    visited = jnp.maximum(jnp.where(ahead, triangle[..., :-1], triangle[..., 1:]), 0)
    image = jnp.arange(len(x))[:, None, None]
    row, column = jnp.arange(triangle.shape[1])[:, None], jnp.arange(triangle.shape[2] - 1) + ~ahead

    def away(x: Any, y: Any) -> Array:
        crosses = (y[0] <= row) != (y[1] <= row)
        place = x[0] + (row - y[0]) / jnp.where(crosses, y[1] - y[0], 1) * (x[1] - x[0])
        return jnp.where(crosses, jnp.where(ahead, place - column, column - place), -jnp.inf)

    def leaving(visited: Array, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        numbers = jnp.moveaxis(faces[visited], -1, 0)
        at_x, at_y = (jnp.stack([plane[image, number] for number in numbers]) for plane in (x, y))
        ways = [away((at_x[k - 2], at_x[k - 1]), (at_y[k - 2], at_y[k - 1])) for k in range(3)]
        last = jnp.argmax(jnp.stack(ways), 0)[None]
        turn = (last + np.arange(3)[:, None, None, None]) % 3  # first what is opposite the edge
        numbers, (x0, *xs), (y0, *ys) = (jnp.take_along_axis(array, turn, 0) for array in (numbers, at_x, at_y))
        following = jnp.take_along_axis(jnp.moveaxis(beyond[visited], -1, 0), last, 0)[0]
        third = faces[following].sum(-1) - numbers[1:].sum(0)
        across, down = xs[1] - xs[0], ys[1] - ys[0]
        places = (x0, y0), (x[image, third], y[image, third])
        one, other = (across * (v - ys[0]) - down * (u - xs[0]) for u, v in places)
        silhouette = whole[image, visited] & ((following < 0) | (one * other > 0))
        steep = jnp.abs(down) >= jnp.abs(across) if diagonal else jnp.abs(down) > jnp.abs(across)
        return following, away(xs, ys), silhouette, steep

    def walk(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        step, visited, on = state
        following, here, silhouette, _ = leaving(visited, *jax.lax.stop_gradient((x, y)))
        on &= whole[image, visited] & (here >= 0) & (here <= 1) & ~silhouette
        return step + 1, jnp.where(on, following, visited), on

    apart = triangle[..., :-1] != triangle[..., 1:]
    start = jnp.zeros((), int), visited, apart
    visited = jax.lax.while_loop(lambda state: (state[0] < _STEPS) & state[2].any(), walk, start)[1]
    _, here, silhouette, steep = leaving(visited, x, y)
    distance = jnp.where(apart & silhouette & steep & (here >= 0) & (here <= 1), here, 0.5)
    share = distance - 0.5  # of a cell, beyond the middle, that the nearer one covers
    change = (share * jnp.where(ahead, 1, -1))[..., None] * (values[..., :-1, :] - values[..., 1:, :])
    of_right = ((share > 0) == ahead)[..., None]
    left, right = jnp.where(of_right, 0, change), jnp.where(of_right, change, 0)
    rest = [(0, 0), (0, 0)]
    return jnp.pad(left, [*rest, (0, 1), (0, 0)]) + jnp.pad(right, [*rest, (1, 0), (0, 0)])


def _to_samples(vertices: Array, camera: Camera, samples: SampleGrid) -> tuple[Array, Array, Array]:
    """Returns x, y and z in homogeneous units of samples, `(B, V)` each: x / z and y / z lie on the lattice."""
    (scale_x, origin_x), (scale_y, origin_y) = rasterizer.to_lattice(camera, samples)
    x, y, z = (vertices[..., k] for k in range(3))
    return x * scale_x + origin_x * z, y * scale_y + origin_y * z, z


@platforms.per_shard(triangle=2, barycentric=3, attributes=2)
def _weighted(triangle: Array, barycentric: Array, attributes: Array, faces: Array) -> Array:
    """Returns the sum of weights times attributes at the visible triangles' corners; 0 where nothing is visible."""
    attributes = jnp.broadcast_to(attributes, (*triangle.shape[:-2], *attributes.shape[-2:]))
    flat = attributes.reshape(-1, attributes.shape[-1])
    corners = _corner_indices(triangle.reshape(-1, *triangle.shape[-2:]), faces, attributes.shape[-2])
    weights = barycentric.reshape(*corners[0].shape, 3)
    total = jnp.zeros((), flat.dtype)
    for k, index in enumerate(corners):
        total = total + weights[..., k, None] * flat.at[index].get(mode="promise_in_bounds")
    # Where nothing is seen the weights are 0, but the values they multiply need not be finite.
    return jnp.where(triangle[..., None] >= 0, total.reshape(*triangle.shape, -1), 0)


def _corner_indices(triangle: Array, faces: Array, vertices: int) -> list[Array]:
    """Returns flat (B V) indices of the visible triangles' corners; those of triangle 0 where there is none."""
    image = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None]
    number = jnp.maximum(triangle, 0)
    faces = jnp.asarray(faces)
    return [image * vertices + faces[:, k].at[number].get(mode="promise_in_bounds") for k in range(3)]
