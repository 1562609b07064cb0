"""Draws the pictures of docs/how-to/exporting.md from a results folder.

    gan2shape-jax --config=ictface:predict --config.workdir=results/predicted
    python benchmarks/pages/export_pictures.py results/predicted/results/006

The bundled photos have 64 pixels: the photo projected here is one of them, enlarged. Writes
`docs/pictures/textured_NAME.jpg` (the plain mesh above, the photo's texture below it, then that lit from the side, and
where its colours come from) and `docs/pictures/solid_NAME.jpg`.
"""

import argparse
import pathlib

import cv2
import jax.numpy as jnp
import numpy as np
import trimesh
from PIL import Image

from gan2shape_jax.geometry import mesh_rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import centred_box
from gan2shape_jax.photos.texture import photo_texture, source_colours
from gan2shape_jax.results import Reconstruction, build_solid, load, pictures, surface, views
from gan2shape_jax.results.solid import cut_surface

PICTURES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "pictures"
_YAWS = (-60, -30, 0, 30, 60)
_SIDE, _SAMPLES = 220, 3
_ENLARGED = 1024
_LIGHT = (0.25, 0.75, 0.9, 0.2)
_SOLID_VIEWS = {"flat": ((0, 0), (35, 15), (90, 0)), "mirrored": ((35, 15), (90, 0))}  # yaw, pitch


def _textured(
    result: Reconstruction, texture: np.ndarray, yaw: float, light: tuple[float, ...] | None = None
) -> np.ndarray:
    """Draws the mesh with a texture over the canonical picture, float (s, s, 3)."""
    part = surface.surface(result)
    piece = cut_surface(part.depth, part.field, result.camera)
    center = np.array([0, 0, result.camera.rot_center_depth])
    rotation = surface.rotations(np.array([0, np.deg2rad(yaw), 0], np.float32))
    side = result.camera.image_size
    camera = Camera(_SIDE * _SAMPLES, fov_deg=result.camera.fov_deg * 1.2)
    faces = piece.faces.astype(np.int32)
    points = jnp.asarray((piece.points - center) @ rotation.T + center, jnp.float32)
    fragments = mesh_rasterizer.rasterize(points, camera, faces=faces)
    values = jnp.asarray(piece.pixels, jnp.float32)
    column, row = np.moveaxis(np.asarray(mesh_rasterizer.interpolate(fragments, values, faces=faces)), -1, 0)
    scale = len(texture) / side
    colours = cv2.remap(texture, (column + 0.5) * scale - 0.5, (row + 0.5) * scale - 0.5, cv2.INTER_LINEAR) / 255
    if light is not None:
        normal = cv2.remap(part.normal, column, row, cv2.INTER_LINEAR)
        colours = colours * surface.shading(normal, np.array(light, np.float32))[..., None]
    drawn = np.where((np.asarray(fragments.triangle) >= 0)[..., None], np.clip(colours, 0, 1), 1.0)
    return drawn.reshape(_SIDE, _SAMPLES, _SIDE, _SAMPLES, 3).mean((1, 3))


def _solid(mesh: trimesh.Trimesh, yaw: float, pitch: float) -> np.ndarray:
    """Draws a solid in grey, seen from above its bed, float (s, s, 3)."""
    camera = Camera(_SIDE * _SAMPLES, fov_deg=15.0)
    rotation = surface.rotations(np.deg2rad([pitch, -yaw, 0]).astype(np.float32))
    centred = (mesh.vertices - mesh.bounds.mean(axis=0)) / np.linalg.norm(mesh.extents) * 0.33
    turned = centred * (1, -1, -1) @ rotation.T + (0, 0, 1)
    fragments = mesh_rasterizer.rasterize(
        jnp.asarray(turned, jnp.float32), camera, faces=np.asarray(mesh.faces, np.int32)
    )
    triangle = np.asarray(fragments.triangle)
    facing = mesh.face_normals * (1, -1, -1) @ rotation.T
    light = np.array([-0.4, -0.5, -0.8]) / np.linalg.norm([0.4, 0.5, 0.8])
    grey = 0.2 + 0.7 * np.clip(facing @ light, 0, 1)
    drawn = np.where(triangle >= 0, grey[np.maximum(triangle, 0)], 1.0)
    return np.repeat(drawn.reshape(_SIDE, _SAMPLES, _SIDE, _SAMPLES).mean((1, 3))[..., None], 3, axis=-1)


def _save(rows: list[list[np.ndarray]], name: str) -> None:
    contact_sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(np.rint(contact_sheet * 255).astype(np.uint8)).save(PICTURES / f"{name}.jpg", quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("result", type=pathlib.Path)
    result = load(parser.parse_args().result)
    enlarged = pictures.enlarge(pictures.to_uint8(result.signed_image), _ENLARGED)
    made = photo_texture(result, enlarged, centred_box(_ENLARGED, _ENLARGED))
    plain = views.draw(result, views.sweep_views(yaw_deg=_YAWS), size=_SIDE, window=1.2)
    above = list(views.picture(plain, "image", light=result.light) / 255)
    rows = [above, [_textured(result, made.lit, yaw) for yaw in _YAWS]]
    rows.append([_textured(result, made.albedo, yaw, _LIGHT) for yaw in _YAWS])
    rows.append([_textured(result, source_colours(made.sources), yaw) for yaw in _YAWS])
    _save(rows, f"textured_{result.name}")
    solids = {back: build_solid(result, back=back).mesh for back in _SOLID_VIEWS}
    drawn = [_solid(solids[back], *view) for back, seen_from in _SOLID_VIEWS.items() for view in seen_from]
    _save([drawn], f"solid_{result.name}")


if __name__ == "__main__":
    main()
