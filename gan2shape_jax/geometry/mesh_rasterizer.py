"""Differentiable rasterisation of triangle meshes: any vertices, faces and attributes, with gradients to both.

Vertices `(..., V, 3)` are points as of `camera` (x right, y down, z away, scene units), faces `(F, 3)` their numbers.
`rasterize` returns what each sample sees, `interpolate` the values there of attributes given at the vertices:

    fragments = rasterize(vertices, camera, faces=faces, supersample=2)
    colours = interpolate(fragments, vertex_colours, faces=faces)      # (..., H, W, C)

Without faces the vertices are a grid `(..., H, W, 3)`, as from a depth map, with two triangles per cell (`grid_faces`);
they take the faster path of `rasterizer`. Depth, barycentrics and interpolated values are differentiable, any
number of times, forward and backward, with the visible triangle of each sample held fixed: no gradient flows through
visibility, so none moves a silhouette. GAN2Shape, section 3.1, takes this derivative of its depth renderer.

A batch of different meshes has faces `(..., F, 3)`, padded to as many; `count` `(...)` says how many, the first, exist.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, resample, visibility
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.rasterizer import Fragments, SampleGrid
from gan2shape_jax.geometry.visibility import in_chunks, join_batch

_STAND_IN = (1, 0), (0, 1), (0, 0)
_STEPS = 32  # triangles from a sample to a silhouette within a sample's distance, at most
_ROUNDING = 1e-3  # by how much, of the distance between samples, rounding moves a place on screen, at most


@platforms.arrays
def rasterize(
    vertices: Float[Array, "*shape 3"],
    camera: Camera,
    *,
    faces: Integer[Array, "*each f 3"] | None = None,
    count: Integer[Array, "*each"] | None = None,
    supersample: int = 1,
    size: int | None = None,
    sampling: str = "centred",
    samples: SampleGrid | None = None,
    cull: str | None = None,
    layers: int | None = None,
    derivatives: bool = False,
) -> Fragments:
    """Rasterises triangle meshes, or grids of vertices.

    Triangles are drawn, both sides, where their depth lies between camera.near and camera.far, so one that reaches
    behind the camera is clipped at the near plane; in grids, triangles with a vertex at or before it are dropped, but
    not if the camera is orthographic, or `cull` or `layers` is given. Triangles without area or with a vertex that is
    not finite are not drawn. Where depths are equal, the triangle with the lowest number is visible. Work and memory
    are bounded by the number of 4 x 4 tiles that the triangles' boxes cover on screen, whatever their sizes. Outside of
    `jax.jit`, a mesh in front of the camera that lies before `near` or beyond `far` as a whole is warned of; with an
    orthographic camera, one behind it, too.

    Args:
      vertices: `(..., V, 3)` with faces, `(..., H, W, 3)` without; floating point.
      camera: the camera.
      faces: the three vertices of each triangle; not needed for grids. Under `jax.jit`, where values are not known, a
        triangle that names a nonexistent vertex is not drawn.
      count: how many faces, of the first, are to be drawn; all if not given.
      supersample: samples along each side of a pixel.
      size: pixels in a row of the picture; camera.width if not given.
      sampling: where samples lie, see `SampleGrid.over`.
      samples: where to sample, in place of these three.
      cull: "back" or "front", the side of triangles that is not drawn; the front is the one from which their corners
        go counter-clockwise, as from outside a mesh whose normals point outwards.
      layers: as many surfaces, one behind the other, as a first axis of what is returned (depth peeling).
      derivatives: whether to return `.slopes` too, for derivatives along the picture in `interpolate`.

    Returns:
      What each of the n x m samples sees; all but `.triangle` is differentiable in the vertices.

    Raises:
      ValueError: a shape or type is wrong, or a face whose values are known names a nonexistent vertex.
    """
    if cull not in (None, "back", "front"):
        raise ArgumentError(f"cull is {cull!r}; it must be 'back', 'front' or None")
    if layers is not None and (not isinstance(layers, Integral) or layers < 1):
        raise ArgumentError(f"layers is {layers}; it must be a whole number, at least 1")
    samples = samples or SampleGrid.over(camera, supersample=supersample, size=size, sampling=sampling)
    options: dict[str, Any] = {"samples": samples, "cull": cull, "layers": layers, "derivatives": derivatives}
    if faces is not None and faces.ndim > 2:
        _mesh("vertices", vertices, faces, count)

        def draw(vertices: Array, faces: Array, count: Array | None) -> Fragments:
            return rasterize(vertices, camera, faces=faces, count=count, **options)

        return cast(Fragments, _each_mesh(draw, *_meshes(vertices, faces, count), at=0 if layers is None else 1))
    finite = jnp.isfinite(vertices).all(-1, keepdims=True)
    vertices = camera_lib.to_camera(jnp.where(finite, vertices, 0), camera)
    camera = dataclasses.replace(camera, extrinsics=None)
    shown = jnp.where(finite, vertices, jnp.nan)
    points, numbers, exists = _mesh("vertices", vertices, faces, count)
    shape = (*points.shape[:-2], *samples.shape)
    if layers is not None:
        points = jnp.broadcast_to(points, (layers, *points.shape))
        shape = (layers, *shape)
    if math.prod(shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{math.prod(shape):,} samples are more than 2,147,483,647: rasterise fewer images at once")
    if not (numbers.shape[0] and math.prod(shape)):
        empty = rasterizer.nothing_visible(shape, vertices.dtype, camera, samples)
        slopes = jnp.zeros((*shape, 3, 2), vertices.dtype) if derivatives else None
        return dataclasses.replace(empty, slopes=slopes)
    if faces is None and min(vertices.shape[-3:-1]) > 1 and not (camera.orthographic or cull or layers):
        fragments = rasterizer.rasterize(shown, camera, samples=samples)
        barycentric, _, slopes = _surface(points, fragments.triangle, numbers, camera, samples, derivatives)
        return dataclasses.replace(fragments, barycentric=barycentric, slopes=slopes)
    rasterizer.warn_if_out_of_range(shown[..., 2], camera)
    triangle = _visible(shown.reshape(*shape[bool(layers) : -2], -1, 3), numbers, exists, camera, samples, cull, layers)
    triangle = triangle if layers is None else jnp.moveaxis(triangle, -3, 0)
    barycentric, depth, slopes = _surface(points, triangle, numbers, camera, samples, derivatives)
    return Fragments(triangle, barycentric, depth, slopes, samples)


@platforms.arrays
def interpolate(
    fragments: Fragments,
    attributes: Float[Array, "*shape c"],
    *,
    faces: Integer[Array, "*each f 3"] | None = None,
    count: Integer[Array, "*each"] | None = None,
    supersample: int | None = None,
    derivatives: bool = False,
) -> Any:
    """Interpolates values at vertices to pixels, the means of their samples.

    Attributes are `(..., V, C)` with the faces, and `count`, that the fragments were rasterised with, `(..., H, W, C)`
    without; leading axes broadcast to those of the fragments, or a `ValueError` is raised. With a `supersample` of 1,
    the values of the samples themselves are returned.

    Returns:
      The values `(..., n, m, C)`, 0 where nothing is seen, differentiable in attributes and, through the barycentrics,
      in vertices. A pixel's value is the mean over all its samples, including those that see nothing, so it is
      multiplied by the pixel's coverage: attributes of 1 give that coverage. With `derivatives`, which `rasterize`
      needs too, a pair: the values and `(..., n, m, C, 2)`, their derivatives along x and y of the picture, per pixel.
    """
    lattice = fragments.samples
    supersample = supersample if supersample is not None else lattice.supersample if lattice else 1
    *batch, rows, columns = fragments.triangle.shape
    if lattice and supersample not in (1, lattice.supersample):
        raise ArgumentError(f"supersample is {supersample}; the fragments have {lattice.supersample} a side of a pixel")
    if not isinstance(supersample, Integral) or supersample < 1 or rows % supersample or columns % supersample:
        raise ArgumentError(f"supersample is {supersample}; it must divide the {rows} x {columns} samples")
    if derivatives and fragments.slopes is None:
        raise ArgumentError("fragments has no derivatives: `rasterize` makes them with derivatives=True")
    if faces is not None and faces.ndim > 2:
        _mesh("attributes", attributes, faces, count)

        def each(fragments: Fragments, attributes: Array, faces: Array, count: Array | None) -> Any:
            options: dict[str, Any] = {"supersample": supersample, "derivatives": derivatives}
            return interpolate(fragments, attributes, faces=faces, count=count, **options)

        return _each_mesh(each, (fragments, len(batch)), *_meshes(attributes, faces, count))
    attributes, faces, _ = _mesh("attributes", attributes, faces, count)
    try:
        if np.broadcast_shapes(attributes.shape[:-2], batch) != tuple(batch):
            raise ValueError
    except ValueError:
        raise ValueError(f"attributes has leading axes {attributes.shape[:-2]}, the fragments {tuple(batch)}") from None

    def shown(weights: Array) -> Array:
        if not (faces.shape[0] and fragments.triangle.size):
            values = jnp.zeros((*fragments.triangle.shape, attributes.shape[-1]), attributes.dtype)
        else:
            values = _weighted(fragments.triangle, weights, jnp.asarray(attributes), faces)
        return resample.average_cells(values, supersample) if supersample > 1 else values

    values = shown(fragments.barycentric)
    if not derivatives or fragments.slopes is None:
        return values
    return values, jnp.stack([shown(fragments.slopes[..., axis]) for axis in (0, 1)], -1)


@platforms.arrays
def antialias(
    values: Float[Array, "*batch n m c"],
    fragments: Fragments,
    vertices: Float[Array, "*shape 3"],
    camera: Camera,
    *,
    faces: Integer[Array, "*each f 3"] | None = None,
    count: Integer[Array, "*each"] | None = None,
    samples: SampleGrid | None = None,
) -> Float[Array, "*batch n m c"]:
    """Blends samples' values where a silhouette passes between neighbours, which gives silhouettes a gradient.

    Where neighbours see different triangles, the nearer one's surface may end between them: at an edge beyond which
    there is none, or which folds back. What it covers of either's cell, from the middle of one to that of the other,
    has the nearer one's value. So the sum of a mask follows the area that a mesh covers, and values are differentiable
    in the vertices through the place of the silhouette (S. Laine et al., Modular Primitives for High-Performance
    Differentiable Rendering, 2020, section 3.7).

    Every value becomes a mean of its own and its neighbours', so none leaves the range of the picture's. A mask's sum
    and its derivatives are only near those of the area: a silhouette counts where it crosses the middle of a row or
    column of cells, so at each corner they are off by up to one crossing, but for sides that lie along the axes. What
    no sample sees is missed. Only silhouettes are blended: not the lines in which surfaces intersect, whose place has
    no gradient. A vertex that exists twice, as at a texture's seam, makes one: give faces in which it exists once.
    Blend final colours: what is shaded or looked up later has its old outlines.

    `values` are one for each sample, background included; what else is given is what `rasterize` was given and
    returned. An `ArgumentError` if a shape or type is wrong, or `samples` are not those of the fragments.
    """
    if samples and fragments.samples and samples != fragments.samples:
        raise ArgumentError("samples is not what the fragments were rasterised with: leave it out")
    samples = samples or fragments.samples or SampleGrid.over(camera)
    if faces is not None and faces.ndim > 2:
        _mesh("vertices", vertices, faces, count)

        def each(values: Array, fragments: Fragments, vertices: Array, faces: Array, count: Array | None) -> Array:
            return antialias(values, fragments, vertices, camera, faces=faces, count=count, samples=samples)

        pictures = (values, values.ndim - 3), (fragments, fragments.triangle.ndim - 2)
        return cast(Array, _each_mesh(each, *pictures, *_meshes(vertices, faces, count)))
    finite = jnp.isfinite(vertices).all(-1, keepdims=True)
    vertices = camera_lib.to_camera(jnp.where(finite, vertices, 0), camera)
    camera = dataclasses.replace(camera, extrinsics=None)
    points, faces, exists = _mesh("vertices", vertices, faces, count)
    shape = (*points.shape[:-2], *samples.shape)
    if not fragments.triangle.shape == values.shape[:-1] == shape:
        raise ArgumentError(f"values has shape {values.shape}, fragments {fragments.triangle.shape}: both need {shape}")
    if not (faces.shape[0] and values.size):
        return values
    drawn = finite.reshape(points.shape[:-1])
    topology = faces, _neighbours(faces, exists, points.shape[-2])
    return _blended(values, fragments.triangle, fragments.depth, points, drawn, topology, camera, samples)


def _meshes(array: Array, faces: Array, count: Any) -> list[tuple[Any, int]]:
    """Returns what vertices have, their faces and how many these are, each with its number of leading axes."""
    return [(array, array.ndim - 2), (faces, faces.ndim - 2), (count, 0 if count is None else count.ndim)]


def _each_mesh(function: Callable[..., Any], *arguments: tuple[Any, int], at: int = 0) -> Any:
    """Maps a function over meshes; arguments, trees of arrays, come with how many leading axes are a batch's.

    These broadcast, and become axis `at` of results and the ones that follow.
    """
    batch = np.broadcast_shapes(*(leaf.shape[:axes] for tree, axes in arguments for leaf in jax.tree.leaves(tree)))

    def listed(leaf: Array, axes: int) -> Array:
        return jnp.broadcast_to(leaf, (*batch, *leaf.shape[axes:])).reshape(math.prod(batch), *leaf.shape[axes:])

    trees = [jax.tree.map(functools.partial(listed, axes=axes), tree) for tree, axes in arguments]
    results = jax.vmap(function, out_axes=at)(*trees)
    return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:at], *batch, *leaf.shape[at + 1 :]), results)


def _mesh(name: str, array: Array, faces: Any, count: Any = None) -> tuple[Array, Any, Any]:
    """Returns what vertices have as a list, its faces, clipped to its numbers, and which of them exist.

    They are those of a grid if none are given. Values that are known, as those of a jitted function's arguments are
    not, stay on the host; there, a number outside 0 to vertices - 1 raises `ValueError`.
    """
    if faces is None:
        if array.ndim < 3:
            raise ValueError(f"{name} has shape {array.shape}; without faces it must be (..., H, W, {array.shape[-1]})")
        faces, array = grid_faces(*array.shape[-3:-1]), _listed(array)
    vertices = array.shape[-2]
    traced = isinstance(faces, jax.core.Tracer) or isinstance(count, jax.core.Tracer)
    faces, xp = (faces, jnp) if traced else (np.asarray(faces), np)
    inside = ((faces >= 0) & (faces < vertices)).all(-1)
    wanted = True if count is None else np.arange(faces.shape[-2]) < xp.asarray(count)[..., None]
    if not traced and not (inside | ~np.asarray(wanted)).all():
        row = tuple(np.argwhere(~inside & wanted)[0])
        at = ", ".join(map(str, row))
        raise ValueError(
            f"faces[{at}] is {faces[row].tolist()}, but {name} has {vertices} rows: each must be 0 to {vertices - 1}"
        )
    return array, xp.clip(faces, 0, max(vertices - 1, 0)).astype(np.int32), inside & wanted


@platforms.per_shard(grid=3)
def _listed(grid: Array) -> Array:
    *batch, height, width, channels = grid.shape
    return grid.reshape(*batch, height * width, channels)


@functools.cache
def grid_faces(height: int, width: int) -> np.ndarray:
    """Returns the faces `(2 (H-1)(W-1), 3)` of a grid of vertices numbered row by row, in the order of `visibility`.

    Examples:
      >>> grid_faces(2, 2).tolist()
      [[0, 2, 1], [1, 2, 3]]
    """
    number = np.arange(height * width, dtype=np.int32).reshape(height, width)
    upper_left, upper_right = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    lower_left, lower_right = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    first = np.stack([upper_left, lower_left, upper_right], -1)
    faces = np.concatenate([first, np.stack([upper_right, lower_left, lower_right], -1)])
    faces.setflags(write=False)
    return faces


@platforms.per_shard(vertices=2)
def _visible(
    vertices: Array,
    faces: Array,
    exists: Array,
    camera: Camera,
    samples: SampleGrid,
    cull: str | None,
    layers: int | None,
) -> Array:
    """Returns the visible triangles of each sample, `(..., n, m)` or `(..., layers, n, m)`; -1 where there is none."""
    if cull:
        first, second, third = (vertices[..., faces[:, k], :] for k in range(3))
        normal = jnp.cross(second - first, third - first)  # towards the front
        away = normal[..., 2] if camera.orthographic else (normal * first).sum(-1)
        exists = exists & ((away < 0) == (cull == "back"))
    planes = _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)
    near = camera_lib.near_plane(planes[-1], camera)
    planes, near = jax.lax.stop_gradient((planes, near[:, 0] if near.ndim == 2 else near))
    missing = jnp.where(exists, 0, jnp.nan).astype(vertices.dtype).reshape(-1, faces.shape[0])
    corners = tuple(tuple(plane[:, faces[:, k]] + missing for plane in planes) for k in range(3))
    visible = functools.partial(visibility.visible_mesh_triangles, shape=samples.shape, layers=layers or 0)
    size = faces.shape[0] // 2 + math.prod(samples.shape) // 4
    near = jnp.broadcast_to(jnp.maximum(near, jnp.finfo(near.dtype).tiny), len(planes[0]))
    depth, triangle = join_batch(lambda *arrays: in_chunks(visible, *arrays, size=size))(corners, near)
    return jnp.where(depth < camera.far, triangle, -1).reshape(*vertices.shape[:-2], *depth.shape[1:])


@platforms.per_shard(vertices=2, triangle=2)
def _surface(
    vertices: Array, triangle: Array, faces: Array, camera: Camera, samples: SampleGrid, derivatives: bool
) -> tuple[Array, Array, Array | None]:
    """Returns barycentrics and depth of visible triangles at the samples, smooth functions of the vertices.

    With `derivatives`, those of the barycentrics along x and y of the picture too. Scaling by the area, held constant
    in derivatives, changes neither the value nor any derivative, as numerators and denominator scale alike, but it
    keeps the squares in them within range.
    """
    shape = triangle.shape
    triangle = triangle.reshape(-1, *shape[-2:])
    covered = triangle >= 0
    planes = [plane.reshape(-1) for plane in _to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples)]
    corners = [
        [plane.at[index].get(mode="promise_in_bounds") for plane in planes]
        for index in _corner_indices(triangle, faces, vertices.shape[-2])
    ]

    def at(columns: Array, rows: Array) -> tuple[Array, Array]:
        # Samples that see nothing get a stand-in triangle that is not part of the mesh.
        x, y = (
            [jnp.where(covered, corner[k] - place * corner[2], side[k]) for corner, side in zip(corners, _STAND_IN)]
            for k, place in enumerate((columns, rows[:, None]))
        )
        parts = [x[a] * y[b] - y[a] * x[b] for a, b in ((1, 2), (2, 0), (0, 1))]
        area = jax.lax.stop_gradient(parts[0] + parts[1] + parts[2])
        # On an edge, rounding must not decide the gradient: max(part, 0) with the derivative of the part.
        parts = [part / area for part in parts]
        parts = [part + jax.lax.stop_gradient(jnp.maximum(part, 0) - part) for part in parts]
        total = parts[0] + parts[1] + parts[2]
        weights = [part / total for part in parts]
        z = [jnp.where(covered, corner[-1], 1) for corner in corners]
        depth = weights[0] * z[0] + weights[1] * z[1] + weights[2] * z[2]
        return jnp.where(covered[..., None], jnp.stack(weights, -1), 0), depth

    rows, columns = (jnp.arange(n, dtype=vertices.dtype) for n in samples.shape)
    barycentric, depth = at(columns, rows)
    slopes = None
    if derivatives:
        steps = (jnp.ones_like(columns), 0 * rows), (0 * columns, jnp.ones_like(rows))
        along = [jax.jvp(at, (columns, rows), step)[1][0] for step in steps]
        slopes = (jnp.stack(along, -1) / samples.spacing).reshape(*shape, 3, 2)
    depth = jnp.where(covered, depth, jnp.asarray(camera.far, depth.dtype))
    return barycentric.reshape(*shape, 3), depth.reshape(shape), slopes


def _neighbours(corners: Any, exists: Any, vertices: int) -> Any:
    """Returns a triangle beyond the edge opposite each corner, -1 where there is none."""
    xp: Any = jnp if isinstance(exists, jax.core.Tracer) else np
    proper = exists & (corners != xp.roll(corners, 1, -1)).all(-1)  # a vertex twice: a line, which ends no surface
    corners = xp.where(proper[:, None], corners, vertices)  # what does not exist has edges of its own
    ends = xp.sort(xp.stack([corners[:, [1, 2, 0]].reshape(-1), corners[:, [2, 0, 1]].reshape(-1)]), axis=0)
    order = xp.lexsort(ends)
    same = (ends[:, order[1:]] == ends[:, order[:-1]]).all(0)
    before, after = (xp.concatenate(parts) for parts in ((xp.zeros(1, bool), same), (same, xp.zeros(1, bool))))
    partner = xp.where(after, xp.roll(order, -1), xp.where(before, xp.roll(order, 1), -1))
    return (partner[xp.argsort(order)].reshape(-1, 3) // 3).astype(np.int32)


@platforms.per_shard(values=3, triangle=2, depth=2, vertices=2, drawn=1)
def _blended(
    values: Array,
    triangle: Array,
    depth: Array,
    vertices: Array,
    drawn: Array,
    topology: Any,
    camera: Camera,
    samples: SampleGrid,
) -> Array:
    faces, beyond = map(jnp.asarray, topology)
    x, y, w, *_, z = (*_to_samples(vertices.reshape(-1, *vertices.shape[-2:]), camera, samples), vertices[..., 2])
    most = w * float(jnp.finfo(w.dtype).tiny) ** -0.25  # beyond it, squares of places on screen are not finite
    z = z.reshape(w.shape)
    drawn = drawn.reshape(w.shape) & (z > camera_lib.near_plane(z, camera)) & (jnp.abs(x) < most) & (jnp.abs(y) < most)
    x, y = (jnp.where(drawn, value, 0) / jnp.where(drawn, w, 1) for value in (x, y))
    whole = drawn[:, faces].all(-1)
    triangles = triangle.reshape(-1, *triangle.shape[-2:])
    pictures = values.reshape(*triangles.shape, -1), triangles, jax.lax.stop_gradient(depth).reshape(triangles.shape)
    rows, of_rows = _change_of_rows(pictures, (x, y, whole, faces, beyond), diagonal=True)
    turned = jax.tree.map(lambda picture: jnp.swapaxes(picture, 1, 2), pictures)
    changes = _change_of_rows(turned, (y, x, whole, faces, beyond), diagonal=False)
    columns, of_columns = (jnp.swapaxes(change, 1, 2) for change in changes)
    # The mean of both orders of blending along one axis and then the other: a mean of values, however much is blended.
    blended = pictures[0] + rows * (1 - of_columns / 2) + columns * (1 - of_rows / 2)
    low, high = (of(pictures[0], (1, 2), keepdims=True) for of in (jnp.nanmin, jnp.nanmax))
    blended += jax.lax.stop_gradient(jnp.clip(blended, low, high) - blended)  # but for rounding
    return blended.reshape(values.shape)


def _change_of_rows(pictures: tuple[Array, Array, Array], mesh: Any, *, diagonal: bool) -> tuple[Array, Array]:
    """Returns what silhouettes between neighbours in a row change, if they lie across it rather than along.

    And which share of each sample's value they replace, from 0 to 1.

    From the nearer one it is a walk towards the other, from triangle to triangle, that ends at a silhouette: near an
    outline, triangles are thin on screen.
    """
    (values, triangle, depth), (x, y, whole, faces, beyond) = pictures, mesh
    ahead = depth[..., :-1] <= depth[..., 1:]  # the left one is the nearer
    visited = jnp.maximum(jnp.where(ahead, triangle[..., :-1], triangle[..., 1:]), 0)
    image = jnp.arange(len(x))[:, None, None]
    least = float(jnp.finfo(x.dtype).tiny) ** 0.25  # shorter edges have no finite derivatives
    row, column = jnp.arange(triangle.shape[1])[:, None], jnp.arange(triangle.shape[2] - 1) + ~ahead

    def away(x: Any, y: Any) -> Array:
        crosses = ((y[0] <= row) != (y[1] <= row)) & (jnp.abs(y[1] - y[0]) > least)
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
        first, other = (across * (v - ys[0]) - down * (u - xs[0]) for u, v in places)
        silhouette = whole[image, visited] & ((following < 0) | (first * other > 0))
        across, down = jnp.abs(across), jnp.abs(down)
        steep = down >= across * (1 - _ROUNDING) if diagonal else down * (1 - _ROUNDING) > across
        return following, away(xs, ys), silhouette, steep

    def between(here: Array) -> Array:
        return (here >= -_ROUNDING) & (here <= 1 + _ROUNDING)

    def walk(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        step, visited, on = state
        following, here, silhouette, _ = leaving(visited, *fixed)
        on &= whole[image, visited] & between(here) & ~silhouette
        return step + 1, jnp.where(on, following, visited), on

    fixed = jax.lax.stop_gradient((x, y))  # out here: a loop's body must not have it in second derivatives
    apart = triangle[..., :-1] != triangle[..., 1:]
    start = jnp.zeros((), int), visited, apart
    visited = jax.lax.while_loop(lambda state: (state[0] < _STEPS) & state[2].any(), walk, start)[1]
    _, here, silhouette, steep = leaving(visited, x, y)
    blends = apart & silhouette & steep & between(here)
    here = jnp.where(blends, here, 0.5)
    here += jax.lax.stop_gradient(jnp.clip(here, 0, 1) - here)  # and the derivative of what was not rounded
    share = here - 0.5  # of a cell, beyond the middle, that the nearer one covers
    change = (share * jnp.where(ahead, 1, -1))[..., None] * (values[..., :-1, :] - values[..., 1:, :])
    of_right = ((share > 0) == ahead)[..., None]

    def at_samples(change: Array) -> Array:
        left, right = jnp.where(of_right, 0, change), jnp.where(of_right, change, 0)
        rest = [(0, 0), (0, 0)]
        return jnp.pad(left, [*rest, (0, 1), (0, 0)]) + jnp.pad(right, [*rest, (1, 0), (0, 0)])

    return at_samples(change), at_samples(jnp.where(share > 0, share, -share)[..., None])


def _to_samples(vertices: Array, camera: Camera, samples: SampleGrid) -> tuple[Array, ...]:
    """Returns x, y and z in homogeneous units of samples, `(B, V)` each: x / z and y / z lie on the lattice.

    Of an orthographic camera, x, y, 1 and depth.
    """
    (scale_x, origin_x), (scale_y, origin_y) = rasterizer.to_lattice(camera, samples)
    x, y, z = (vertices[..., k] for k in range(3))
    if camera.orthographic:
        return x * scale_x + origin_x, y * scale_y + origin_y, jnp.ones_like(z), z

    def rounded(product: Array) -> Array:
        return jnp.where(jnp.isfinite(product), product, jnp.nan)

    # Products are rounded before they are summed, compiled or not: it decides whether a sample lies on an edge.
    return rounded(x * scale_x) + rounded(origin_x * z), rounded(y * scale_y) + rounded(origin_y * z), z


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
