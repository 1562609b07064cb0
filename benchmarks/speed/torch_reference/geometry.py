"""Camera, views, sampling grids, normals and shading in PyTorch; frames and units are those of `geometry.camera`."""

import math

import torch

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import ViewRange

# What the published code adds to a normal's length.
_PUBLISHED_EPSILON = 1e-7


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
