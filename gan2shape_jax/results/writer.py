"""All files of one result, in one folder that appears whole or not at all."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.io.atomic_files import atomic_folder
from gan2shape_jax.results import folder_record, host, mesh, pictures, strips
from gan2shape_jax.results.gan_views import GanViews, Projection, draw_gan_views
from gan2shape_jax.results.overview import draw_overview
from gan2shape_jax.results.page.fragment import write_fragment
from gan2shape_jax.results.result import Result, save_arrays
from gan2shape_jax.results.table import complete_metrics, write_metrics

__all__ = ["OutputOptions", "write_outputs"]

_SMALLEST_PICTURE = 192  # below this, the overview's captions do not fit
_LARGEST_TILE = 256  # above this, the overview does not fit on a screen


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """What to write besides the arrays.

    Attributes:
      picture_size: side of the pictures drawn from the mesh, pixels; 0 means max(S, 192).
      turntable_frames: frames of one swing of the turntable, and of one circle of the light.
      mesh_full: True keeps the whole sheet in the mesh, False cuts it at the object mask.
      animation: True also writes GIF and MP4.
      views: False leaves out views from other sides, relighting and the overview, but not the mesh and maps.
      strips: False leaves out the strips of views and lights, but not the overview.
      gan_batch: pictures that go through the GAN together.
    """

    picture_size: int = 0
    turntable_frames: int = 24
    mesh_full: bool = False
    animation: bool = True
    views: bool = True
    strips: bool = True
    gan_batch: int = 8


def write_outputs(
    result: Result,
    folder: str | os.PathLike,
    *,
    gan_project: Projection | None = None,
    options: OutputOptions = OutputOptions(),
    extra: Mapping[str, bytes] | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Writes arrays, pictures, strips, animations, meshes, metrics and the overview of a result.

    Args:
      result: the reconstruction.
      folder: written anew as a whole; existing contents are replaced only once everything is written.
      gan_project: the GAN's rendition of pictures (n, S, S, 3) in [-1, 1]; without it the files whose
        names end in `_gan` are not made.
      options: what to write and how large.
      extra: contents of further files by name, such as the networks' weights.
      made_with: what the result was made with, for the folder's record.

    Raises:
      UserError: the file system refuses.
    """
    size = options.picture_size or max(result.camera.image_size, _SMALLEST_PICTURE)
    gan = None
    if gan_project is not None and options.views:
        gan = draw_gan_views(result, gan_project, batch=options.gan_batch)
    result = dataclasses.replace(result, metrics=complete_metrics(result))
    with atomic_folder(folder) as fresh:
        save_arrays(result, fresh)
        write_metrics(fresh / "metrics.json", result.metrics)
        for name, content in (extra or {}).items():
            (fresh / name).write_bytes(content)
        _write_pictures(result, fresh)
        mesh.write_mesh(result, fresh, full=options.mesh_full)
        if options.views:
            _write_views(result, gan, fresh, options, size)
        write_fragment(result, fresh, full=options.mesh_full)
        folder_record.write_record(fresh, made_with or {})


def _write_views(result: Result, gan: GanViews | None, folder: pathlib.Path, options: OutputOptions, size: int) -> None:
    """Writes the result from other sides and under other lights, and the overview of everything."""
    if options.strips:
        strips.write_mesh_strips(result, folder, size=size)
    if options.animation:
        strips.write_mesh_animations(result, folder, size=size, frames=options.turntable_frames)
    if gan is not None:
        strips.write_gan_strips(gan, folder, size=size, animate=options.animation)
    tile = min(max(size, _SMALLEST_PICTURE), _LARGEST_TILE)
    draw_overview(result, gan=gan, size=tile).save(folder / "overview.png")


def _write_pictures(result: Result, folder: pathlib.Path) -> None:
    """Writes the maps of the result at their own size, one pixel per value."""
    near, far = pictures.depth_range(result.depth, result.mask)
    normal = host.normals(result.depth, result.camera)
    shown = {
        "normals": pictures.colour_normals(normal),
        "mask": pictures.colour_mask(result.mask),
        "input_mask": pictures.colour_mask(result.input_mask),
    }
    for key, name in (
        ("image", "input"),
        ("albedo", "albedo"),
        ("canonical", "canonical"),
        ("reconstruction", "reconstruction"),
        ("gan_image", "gan_image"),
    ):
        if getattr(result, key) is not None:
            shown[name] = pictures.to_uint8(getattr(result, key))
    for name, picture in shown.items():
        pictures.write_png(folder / f"{name}.png", picture)
    if result.depth_spread is not None:
        greatest = max(float(result.depth_spread.max()), 1e-9)
        pictures.write_png(
            folder / "spread.png",
            pictures.colour_depth(-result.depth_spread, -greatest, 0.0, mask=result.mask),
            {"Description": f"how far depth may be off, scene units: black 0, brightest {greatest:.6f}"},
        )
    pictures.write_png(
        folder / "depth.png",
        pictures.colour_depth(result.depth, near, far, mask=result.mask),
        {
            "Description": f"depth in scene units: brightest {near:.6f} or nearer, darkest "
            f"{far:.6f} or farther; pale outside the object mask"
        },
    )
