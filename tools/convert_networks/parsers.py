"""Checkpoints of scene parsers: BiSeNet for faces, PSPNet for VOC and ADE20K."""

import jax
import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import parsing
from gan2shape_jax.io.categories import Parser, parsers
from gan2shape_jax.io.image_files import crop_and_resize
from gan2shape_jax.results import pictures

from .record import Converted, Source, tensors_of

__all__ = ["convert_parser"]

_TILE = 256
_SIZE = 128  # of the picture shown to the parser, as in a run
_LICENCE = {
    "bisenet": "MIT, Copyright (c) 2019 zll (github.com/zllrunning/face-parsing.PyTorch); trained on CelebAMask-HQ, "
    "which is for non-commercial research only",
    "pspnet": "MIT, Copyright (c) 2019 Hengshuang Zhao (github.com/hszhao/semseg)",
}


def convert_parser(source: Source) -> Converted:
    """Converts a parser.

    Raises:
        UserError: a tensor is missing, unknown, misshapen or not finite; the message lists all of them.
    """
    state, beside = tensors_of(source.content, source.path)
    arch = parsing.infer_architecture(state)
    if arch is None:
        raise UserError(
            f"{source.path}: its first or last layer is missing or misshapen "
            f"({source.family.title if source.family else 'a parser'} was expected)"
        )
    try:
        params = parsing.params_from_torch(arch, state)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from error
    fitting = {category: parser for category, parser in parsers().items() if parser.fits(arch)}
    notes = (
        [f"For the categories {', '.join(fitting)}: --config.parsing.weights=OUT"]
        if fitting
        else [f"No category has a parser of {arch.classes} labels: it can be converted, and is of no use here."]
    )
    header = {**parsing.header_of(arch), "license": _LICENCE[arch.family], "source_sha256": source.sha256}
    return Converted(
        summary=f"{_title(arch, fitting)}, width {arch.width}, blocks {' '.join(map(str, arch.blocks))}",
        tensors=params,
        header=header,
        draw=lambda picture: _sheet(picture, arch, params, fitting),
        ignored=(*parsing.ignored_names(state), *beside),
        notes=tuple(notes),
    )


def _title(arch: parsing.Architecture, fitting: dict[str, Parser]) -> str:
    return str(next(iter(fitting.values()))) if fitting else f"{arch.family} of {arch.classes} labels"


def _sheet(
    picture: Image.Image, arch: parsing.Architecture, params: dict[str, np.ndarray], fitting: dict[str, Parser]
) -> Image.Image:
    """Draws a picture, its pixel labels, and the mask that each category derives from them."""
    shown = np.asarray(crop_and_resize(picture, None, _SIZE), np.float32) / 127.5 - 1
    tiles = [pictures.Tile(pictures.enlarge(pictures.to_uint8(shown), _TILE), "the picture")]
    weights = jax.tree.map(jax.numpy.asarray, params)
    for side, normalize in _ways(arch, fitting):
        labels = parsing.find_labels(weights, shown, arch, side=side, normalize=normalize)
        present = ", ".join(map(str, np.unique(labels)[:8]))
        tiles.append(pictures.Tile(_coloured(labels), f"labels {present}{' (normalised)' if normalize else ''}"))
        for category, parser in fitting.items():
            if parser.normalize == normalize:
                mask = parsing.mask_of_labels(labels, parser, _SIZE)
                text = f"{category}: {100 * mask.mean():.0f}% of the picture"
                tiles.append(pictures.Tile(pictures.enlarge(pictures.colour_mask(mask), _TILE), text))
    return pictures.sheet([("What the parser finds in a picture", tiles)], title=_title(arch, fitting))


def _ways(arch: parsing.Architecture, fitting: dict[str, Parser]) -> list[tuple[int, bool]]:
    """Returns the input sides and normalisations that the categories use."""
    ways = {(parser.side, parser.normalize) for parser in fitting.values()}
    return sorted(ways) or [(512 if arch.family == "bisenet" else 473, True)]


def _coloured(labels: np.ndarray) -> np.ndarray:
    import matplotlib  # slow to import

    colours = np.asarray(matplotlib.colormaps["tab20"].colors) * 255  # type: ignore[attr-defined]
    colours[0] = 0  # label 0 is the background in most sets
    picture = Image.fromarray(colours[labels % len(colours)].astype(np.uint8))
    return np.asarray(picture.resize((_TILE, _TILE), Image.Resampling.NEAREST))
