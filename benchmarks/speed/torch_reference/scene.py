"""Views, shading and warped depth in PyTorch; frames and units are those of `geometry.camera`.

The rasteriser is a z-buffer made by one scatter, with the exact gradient of the visible surface: every triangle of the
grid mesh is tested at the samples of its own screen box, whatever its size, in vectorised operations; the nearest is
found by a scatter-minimum of depth and triangle number packed into 64 bits. The gradient holds each sample's triangle
fixed, as the published CUDA rasteriser and ours do.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import ViewRange

# What the published code adds to a normal's length.
_PUBLISHED_EPSILON = 1e-7
# Samples this far outside an edge, as a share of the triangle's area, still belong to it: more than rounding.
_SLACK = 1e-5
_NOTHING = torch.iinfo(torch.int64).max
_SHIFT = {"centred": 0.0, "half": 0.5}


def depth_from_raw(raw: torch.Tensor, camera: Camera) -> torch.Tensor:
    """(N, S, S) of any range to [min_depth, max_depth]."""
    unit = torch.tanh(raw - raw.mean((-2, -1), keepdim=True))
    return (1 + unit) / 2 * camera.max_depth + (1 - unit) / 2 * camera.min_depth


def blend_border(depth: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Moves the two outermost columns on each side to the border depth, with weight 1.02 as published."""
    weight = depth.new_zeros(depth.shape[-1])
    weight[:2] = weight[-2:] = 1.02
    return depth * (1 - weight) + weight * (0.7 * camera.max_depth + 0.3 * camera.min_depth)


def view_from_raw(raw: torch.Tensor, scale: ViewRange) -> torch.Tensor:
    """Network units to radians and scene units."""
    angle = math.radians(scale.rotation_deg)
    return raw * raw.new_tensor([angle, angle, angle, scale.xy, scale.xy, scale.z])


def light_from_raw(raw: torch.Tensor) -> torch.Tensor:
    """Ambient and diffuse strength from [-1, 1] to [0, 1]; the direction stays."""
    return torch.cat([raw[:, :2] / 2 + 0.5, raw[:, 2:]], 1)


def back_project(depth: torch.Tensor, camera: Camera) -> torch.Tensor:
    """(N, S, S) to points (N, S, S, 3)."""
    slope = torch.arange(depth.shape[-1], dtype=depth.dtype, device=depth.device) - camera.intrinsics[2]
    slope = slope / camera.focal_length
    return torch.stack([depth * slope, depth * slope[:, None], depth], -1)


def _rotation(view: torch.Tensor) -> torch.Tensor:
    """Rz Ry Rx, (N, 3, 3)."""
    (sx, sy, sz), (cx, cy, cz) = view[:, :3].sin().unbind(1), view[:, :3].cos().unbind(1)
    return torch.stack(
        [
            cz * cy,
            cz * sy * sx - sz * cx,
            cz * sy * cx + sz * sx,
            sz * cy,
            sz * sy * sx + cz * cx,
            sz * sy * cx - cz * sx,
            -sy,
            cy * sx,
            cy * cx,
        ],
        1,
    ).reshape(-1, 3, 3)


def _moved(points: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    return (points.flatten(1, 2) @ rotation).reshape(points.shape)


def transform(points: torch.Tensor, view: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Moves canonical points into views: rotates about the rotation centre, then translates."""
    center = points.new_tensor([0, 0, camera.rot_center_depth])
    return _moved(points - center, _rotation(view).transpose(1, 2)) + (center + view[:, None, None, 3:])


def _grid(points: torch.Tensor, camera: Camera) -> torch.Tensor:
    pixels = points[..., :2] / points[..., 2:] * camera.focal_length + camera.intrinsics[2]
    return pixels * (2 / (camera.image_size - 1)) - 1


def warped_grid(depth: torch.Tensor, view: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Where each canonical pixel lands in the view's image, (N, S, S, 2)."""
    return _grid(transform(back_project(depth, camera), view, camera), camera)


def inverse_warped_grid(warped: torch.Tensor, view: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Where in the canonical image each pixel of the view comes from, (N, S, S, 2)."""
    center = warped.new_tensor([0, 0, camera.rot_center_depth])
    points = back_project(warped, camera) - (center + view[:, None, None, 3:])
    return _grid(_moved(points, _rotation(view)) + center, camera)


def normals(depth: torch.Tensor, camera: Camera, *, unit: bool) -> torch.Tensor:
    """(N, S, S, 3) from central differences; the border is (0, 0, 1)."""
    points = back_project(depth, camera)
    along_x = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    along_y = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    scale = camera.focal_length if unit else 1.0  # in units of pixels, squares stay far from underflow
    inside = torch.linalg.cross(along_x * scale, along_y * scale)
    inside = inside / (torch.linalg.vector_norm(inside, dim=-1, keepdim=True) + (0.0 if unit else _PUBLISHED_EPSILON))
    framed = torch.zeros_like(points)
    framed[..., 2] = 1.0
    framed[:, 1:-1, 1:-1] = inside
    return framed


def diffuse_shading(normal: torch.Tensor, direction_xy: torch.Tensor) -> torch.Tensor:
    """max(0, n . d) with d = (x, y, 1) normalised; normal (N or 1, S, S, 3), direction (N, 2)."""
    direction = torch.cat([direction_xy, torch.ones_like(direction_xy[:, :1])], 1)
    direction = direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    return (normal * direction[:, None, None]).sum(-1).clamp(min=0)


def warp_depth(depth: torch.Tensor, view: torch.Tensor, camera: Camera, *, sampling: str) -> torch.Tensor:
    """Depth maps (N, S, S) as seen in views (N, 6): 2 x 2 samples per pixel, averaged and clamped."""
    points = transform(back_project(depth, camera), view, camera)
    inverse = 1 / points[..., 2]
    origin = camera.intrinsics[2] + 0.25 - _SHIFT[sampling]
    x, y = ((points[..., k] * inverse * camera.focal_length + origin) * 2 for k in (0, 1))
    visible = _Visible.apply(x, y, inverse, 2 * camera.image_size, camera.far)
    average = functional.avg_pool2d(visible, 2)
    return average.clamp(camera.min_depth - camera.margin, camera.background_depth)


def _corners(grid: torch.Tensor) -> torch.Tensor:
    """The corners of the triangles of grids (N, S, S): (3, N, 2, S-1, S-1)."""
    upper_left, upper_right = grid[:, :-1, :-1], grid[:, :-1, 1:]
    lower_left, lower_right = grid[:, 1:, :-1], grid[:, 1:, 1:]
    first = torch.stack([upper_left, upper_right], 1)
    return torch.stack([first, torch.stack([lower_left, lower_left], 1), torch.stack([upper_right, lower_right], 1)])


def _add_corners(parts: torch.Tensor) -> torch.Tensor:
    """The transpose of `_corners`."""
    _, count, _, cells, _ = parts.shape
    total = parts.new_zeros(count, cells + 1, cells + 1)
    total[:, :-1, :-1] += parts[0, :, 0]
    total[:, :-1, 1:] += parts[0, :, 1] + parts[2, :, 0]
    total[:, 1:, :-1] += parts[1, :, 0] + parts[1, :, 1]
    total[:, 1:, 1:] += parts[2, :, 1]
    return total


class _Visible(torch.autograd.Function):
    """x and y in samples and 1 / z of vertices (N, S, S) to the depth (N, n, n) of n x n samples."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor, inverse: torch.Tensor, count: int, far: float):
        planes = _planes(*(_corners(plane).flatten(1) for plane in (x, y, inverse)), count)
        nearest = _nearest(planes, len(x), count, far)
        visible = nearest < _NOTHING
        depth = torch.where(visible, (nearest >> 32).int().view(torch.float32), far)
        ctx.save_for_backward(depth, torch.where(visible, nearest & 0xFFFFFFFF, -1), *planes)
        ctx.vertices = x.shape
        return depth.reshape(len(x), count, count)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor):
        depth, triangle, *planes = ctx.saved_tensors
        number, side, _ = ctx.vertices
        count = cotangent.shape[-1]
        place = torch.nonzero(triangle >= 0).squeeze(1)
        triangle = triangle[place]
        left, top, _, _, *fields = planes
        row = place // count
        across, down = place - row * count - left[triangle], row % count - top[triangle]
        first, second = (_at(field, triangle, across, down) for field in (fields[:3], fields[3:6]))
        change = -cotangent.reshape(-1)[place] * depth[place].square()  # of 1 / z at the sample
        sums = [
            torch.zeros_like(fields[0]).index_add_(0, triangle, weight * change)
            for weight in (first, second, 1 - first - second)
        ]
        parts = torch.stack(sums)
        shape = 3, number, 2, side - 1, side - 1
        _, slope_x, slope_y = fields[6:]
        gradients = (_add_corners(part.reshape(shape)) for part in (-parts * slope_x, -parts * slope_y, parts))
        return *gradients, None, None


def _planes(x: torch.Tensor, y: torch.Tensor, inverse: torch.Tensor, count: int) -> list[torch.Tensor]:
    """What a triangle's samples need, from its corners (3, T); each (T,).

    First sample's column and row, width and height of the box in samples (0 if not drawn), then three planes
    over the box: the weights of the first two corners and 1 / z, each as the value at the first sample and the steps
    along x and y.
    """
    low = [plane.amin(0).ceil().clamp(0, count) for plane in (x, y)]
    high = [plane.amax(0).floor().clamp(-1, count - 1) for plane in (x, y)]
    (x0, x1, x2), (y0, y1, y2) = x - low[0], y - low[1]
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    drawn = (inverse.amin(0) > 0) & (area.abs() > torch.finfo(area.dtype).tiny)
    size = [torch.where(drawn, b - a + 1, 0).clamp(min=0).long() for a, b in zip(low, high, strict=True)]
    scale = 1 / torch.where(drawn, area, 1)
    first = (x1 * y2 - y1 * x2) * scale, (y1 - y2) * scale, (x2 - x1) * scale
    second = (x2 * y0 - y2 * x0) * scale, (y2 - y0) * scale, (x0 - x2) * scale
    by_first, by_second = inverse[0] - inverse[2], inverse[1] - inverse[2]
    depth = [a * by_first + b * by_second for a, b in zip(first, second, strict=True)]
    depth[0] = depth[0] + inverse[2]
    return [low[0].long(), low[1].long(), *size, *first, *second, *depth]


def _at(
    plane: Sequence[torch.Tensor], triangle: torch.Tensor, across: torch.Tensor, down: torch.Tensor
) -> torch.Tensor:
    """A plane's values at samples of triangles, `across` and `down` from the box's first."""
    value, step_x, step_y = (field[triangle] for field in plane)
    return value + step_x * across + step_y * down


def _nearest(planes: Sequence[torch.Tensor], images: int, count: int, far: float) -> torch.Tensor:
    """The minimum of depth (bits) and triangle number in one integer for each sample of all images, or `_NOTHING`."""
    left, top, wide, high, *fields = planes
    number = wide * high
    triangle = torch.repeat_interleave(number)  # every triangle once for each sample of its box
    index = torch.arange(len(triangle), device=number.device) - (number.cumsum(0) - number)[triangle]
    wide = wide[triangle]
    down = index // wide
    across = index - down * wide
    first, second = (_at(field, triangle, across, down) for field in (fields[:3], fields[3:6]))
    inverse = _at(fields[6:], triangle, across, down)
    covered = torch.minimum(torch.minimum(first, second), 1 - first - second) >= -_SLACK
    chosen = torch.nonzero(covered & (inverse > 1 / far)).squeeze(1)
    triangle = triangle[chosen]
    image = torch.arange(images, device=number.device).repeat_interleave(len(left) // images)
    start = (image * count + top) * count + left
    position = start[triangle] + down[chosen] * count + across[chosen]
    key = ((1 / inverse[chosen]).view(torch.int32).long() << 32) | triangle
    empty = torch.full((images * count * count,), _NOTHING, device=number.device)
    return empty.scatter_reduce_(0, position, key, "amin")
