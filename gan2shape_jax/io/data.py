"""What a run reads for each image: picture, object mask, ground-truth depth, latent.

Images are `(S, S, 3)` float32 in [-1, 1], masks `(S, S)` in [0, 1], depths `(S, S)` in scene units,
latents `(1, W)` or `(1, L, W)`. A name in the image list such as `001.png` stands for
`IMAGE_ROOT/001.png`, `MASK_ROOT/001.png`, `DEPTH_ROOT/001.npy` (or `.png`) and `LATENT_ROOT/001.pt` (or `.npy`).
A mask may also come from the image's alpha channel, its category's parser, or a common one: the prior's box and the
losses' masks are made from them (GAN2Shape, section 3.2); the published implementation parses every image. Any problem
with a file is a `UserError` that names it.
"""

import dataclasses
import json
import os
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io import image_files
from gan2shape_jax.io.arrays import load_depth, load_latent
from gan2shape_jax.io.categories import Parser, category_of
from gan2shape_jax.io.files import MISSING, content_of
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.weights import open_safetensors, short

# Below this, the prior sees no object (`prior.ellipsoid`).
_OBJECT = 0.7
PARSER_FORMAT = "gan2shape-jax/parser/1"
_CONVERT = "convert the published weights with `gan2shape-jax convert` (docs/how-to/converting-weights.md)"
_ADVICE = "use a mask file (--config.data.mask_root=FOLDER) or another image"

Image = Float[np.ndarray, "s s 3"]
Mask = Float[np.ndarray, "s s"]
LATENT_KINDS = (".pt", ".pth", ".npy")
_DEPTH_KINDS = (".npy", ".png")


@dataclasses.dataclass(frozen=True)
class Item:
    """One image with what is known about it."""

    name: str  # the name in the image list without its ending (`image_lists.stem_of`)
    image: Float[np.ndarray, "s s 3"]  # (S, S, 3) in [-1, 1]
    mask: Float[np.ndarray, "s s"]  # (S, S) in [0, 1], ones if no mask was requested
    # Ground-truth depth (S, S) in scene units with the background at the greatest depth, or None.
    depth: Float[np.ndarray, "s s"] | None
    latent: Float[np.ndarray, "..."] | None  # (1, W) or (1, L, W), or None if the GAN has to be inverted
    original_size: int  # side of the image before cropping, pixels; the shorter one if they differ


def find_latent(root: str, stem: str) -> pathlib.Path | None:
    """Returns an image's latent file below `root`, or None; `stem` is the image's name without its ending."""
    return find(root, stem, LATENT_KINDS)


def find_depth(root: str, stem: str) -> pathlib.Path | None:
    """Returns an image's ground-truth depth file below `root`, or None; of `01_image` also `01_depth`.

    The published rendered faces are named like this: https://github.com/XingangPan/GAN2Shape/issues/26.
    """
    return find(root, stem, _DEPTH_KINDS) or find(root, stem.replace("image", "depth"), _DEPTH_KINDS)


def find(root: str, stem: str, kinds: Iterable[str]) -> pathlib.Path | None:
    """Returns the file for an image name without its ending below `root`, trying endings in order, or None."""
    paths = (os.path.join(root, stem + kind) for kind in kinds)
    return next((pathlib.Path(path) for path in paths if os.path.isfile(path)), None)


def open_picture(config: ConfigDict, name: str, *, expected: int | None = None) -> image_files.Picture:
    """Returns an image from the list as an upright square, not yet cropped to `config.data.crop`.

    If there is such a crop, a picture that is not square is cropped to its largest centred square. Warns of a side
    below `expected` pixels; raises `UserError` for a file that is missing or unusable.
    """
    cut = config.data.crop is not None
    return image_files.open_square(pathlib.Path(config.data.image_root) / name, expected=expected, cut=cut)


def load_item(config: ConfigDict, name: str, *, run_parser: bool = True) -> Item:
    """Reads everything for one image in the list; raises `UserError` for a file that is missing or unusable.

    Without `run_parser`, files are only checked: a mask that a parser would have to find is all ones.
    """
    data, size, stem = config.data, config.image_size, stem_of(name)
    square = open_picture(config, name, expected=data.crop or size)
    image = np.asarray(image_files.crop_and_resize(square.picture, data.crop, size), np.float32) / 255 * 2 - 1
    latent = depth = None
    if data.latent_root and (path := find_latent(data.latent_root, stem)):
        latent = load_latent(path, config.gan.style_dim)
    if data.depth_root:
        if (file := find_depth(data.depth_root, stem)) is None:
            missing = f"{pathlib.Path(data.depth_root) / stem}{' or '.join(_DEPTH_KINDS)}"
            raise UserError(f"the true depth of {name} is missing: {missing}")
        depth = load_depth(file, size, data.crop, config.camera.min_depth, config.camera.max_depth)
    mask, source = find_mask(config, name, square, image, run_parser=run_parser)
    if square.transparent and source != "alpha":
        path = pathlib.Path(data.image_root) / name
        warnings.warn(f"{path} is partly transparent and was composited over white", stacklevel=2)
    return Item(stem, image, mask, depth, latent, square.picture.width)


def inputs_of(config: ConfigDict, name: str) -> dict[str, str]:
    """Returns the SHA-256 of an image's own files, `image`, `mask`, `latent`, `depth`; `MISSING` of those it lacks."""
    data, stem = config.data, stem_of(name)
    masked, latents = data.mask_source in ("auto", "file") and data.mask_root, config.recipe != "predict"
    return {
        "image": content_of(pathlib.Path(data.image_root) / name),
        "mask": content_of(pathlib.Path(data.mask_root) / f"{stem}.png") if masked else MISSING,
        "latent": content_of(find_latent(data.latent_root, stem) or "") if latents and data.latent_root else MISSING,
        "depth": content_of(find_depth(data.depth_root, stem) or "") if data.depth_root else MISSING,
    }


def needs_masks(config: ConfigDict) -> bool:
    """Whether a run needs object masks: for the ellipsoid prior, or to restrict losses to the object (`use_mask`)."""
    return config.recipe != "predict" and (config.schedule.use_mask or not config.networks.pretrained)


def mean_mask_file(config: ConfigDict) -> str:
    """Returns the file that is the mask of every image without its own; '' if the category has none."""
    return str(config.lift.mean_mask) if "mean" in (config.lift.masks, config.data.mask_source) else ""


def required_source(config: ConfigDict, names: Sequence[str] = ()) -> Literal["file", "parser", "mean", ""]:
    """Returns what a run needs for its masks, judging by the files' headers: mask files, the parser, or neither.

    If all of the named images have an alpha channel, 'auto' needs nothing else.
    """
    data = config.data
    if data.mask_source in ("file", "parser", "mean"):
        return data.mask_source  # type: ignore[no-any-return]
    if data.mask_source == "auto" and data.mask_root:
        return "file"
    if data.mask_source == "alpha" or not needs_masks(config):
        return ""
    if names and all(image_files.has_alpha(pathlib.Path(data.image_root) / name) for name in names):
        return ""
    if config.parsing.weights and category_of(config.category).parser:
        return "parser"
    return "mean" if mean_mask_file(config) else "file"


def find_mask(
    config: ConfigDict, name: str, picture: image_files.Picture, image: Image, *, run_parser: bool = True
) -> tuple[Mask, str]:
    """Returns an image's object mask, and where it is from, as in `config.data.mask_source`; 'none' where all is 1.

    `picture` is the image before cropping, `image` as the networks see it. Without `run_parser`, ones stand in for what
    the parser would find. Raises `UserError` for a mask that is missing, unusable or shows no object.
    """
    data, size, source = config.data, config.image_size, config.data.mask_source
    file = pathlib.Path(data.mask_root) / f"{stem_of(name)}.png" if data.mask_root else None
    if source in ("auto", "file") and file is not None and file.is_file():
        return load_mask(file, size, data.crop, picture.picture.width), "file"
    if source in ("auto", "alpha") and picture.alpha is not None:
        channel = f"the alpha channel of {pathlib.Path(data.image_root) / name}"
        alpha = image_files.shrunk_mask(picture.alpha, data.crop, size, channel)
        if alpha.max() < _OBJECT:
            raise UserError(f"{channel} shows no object inside the cropped square: {_ADVICE}")
        return alpha, "alpha"
    whole = np.ones((size, size), np.float32)
    weights = config.parsing.weights if category_of(config.category).parser else ""
    # Where masks are needed, missing weights are reported.
    if source == "parser" or (source == "auto" and weights and (needs_masks(config) or os.path.isfile(weights))):
        return _parsed(config, name, image) if run_parser else whole, "parser"
    mean = mean_mask_file(config)
    if mean and (source == "mean" or (source == "auto" and not data.mask_root)):
        return load_mask(pathlib.Path(mean), size), "mean"
    if source != "auto" or data.mask_root or needs_masks(config):
        raise UserError(_absence(config, name, file))
    return whole, "none"


def load_mask(path: pathlib.Path, size: int, crop: int | None = None, image_size: int | None = None) -> Mask:
    """Returns the object mask in a file as (size, size) in [0, 1], resized by area averaging; see `grey_mask`.

    A mask with the same side as the image before cropping, `image_size`, or of the whole image (None), is cropped like
    it; any other is taken to show the cropped square. Warns of an inverted one. Raises `UserError` for a file that is
    not a picture, not square (without a crop, or for an image of another size), or black.
    """
    shorter, longer = image_files.picture_sides(path)
    if shorter != longer and crop is not None and image_size not in (None, shorter):
        sides = f"its shorter side has {shorter} pixels, the image {image_size}"
        raise UserError(f"object mask {path} is neither square nor as large as its image: {sides}")
    picture = image_files.grey_mask(image_files.open_square(path, least=1, cut=crop is not None), f"object mask {path}")
    cropped = crop if image_size in (None, picture.width) else None
    mask = image_files.shrunk_mask(picture, cropped, size, f"object mask {path}")
    if not mask.any():
        raise UserError(f"object mask {path} is empty: all of it is black")
    return mask


def parse_mask(config: ConfigDict, image: Image) -> Mask:
    """Returns the mask that the category's parser finds for an image in [-1, 1], all zero if it sees no object.

    Raises `UserError` if the parser's weights are missing, damaged or those of another parser.
    """
    from gan2shape_jax.networks import parsing  # imports jax, which merely checking files should not wait for

    parser, arch, params = load_parser_of(config)
    labels = parsing.find_labels(params, image, arch, side=parser.side, normalize=parser.normalize)
    return parsing.mask_of_labels(labels, parser.values, image.shape[0])


def load_parser_of(config: ConfigDict) -> tuple[Parser, Any, Any]:
    """Returns the parser of the configuration's category, its architecture and parameters; raises like `parse_mask`."""
    parser, weights = category_of(config.category).parser, config.parsing.weights
    assert parser is not None  # masks come from a parser only where the category has one
    arch, params = load_parser(weights)
    if not parser.fits(arch):
        needed = f"the category {config.category!r} needs {parser}: name its file with --config.parsing.weights"
        raise UserError(f"parser weights {weights} are {arch.family} with {arch.classes} labels, but {needed}")
    return parser, arch, params


def load_parser(path: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
    """Reads a converted parser: its `ParserArchitecture` and its parameters.

    The file is safetensors; its header holds the architecture as JSON, the licence note of the source and its SHA-256.
    Raises `UserError`: the file is missing, damaged, not a parser, or its tensors do not match its header.
    """
    import jax.numpy as jnp

    from gan2shape_jax.networks.parsing import ParserArchitecture, parameter_shapes

    with open_safetensors(path, f"parser weights (config.parsing.weights): {_CONVERT}") as file:
        try:
            if file.metadata["format"] != PARSER_FORMAT:
                raise ValueError(f"its format is {short(file.metadata['format'])}")
            fields = json.loads(file.metadata["architecture"])
            arch = ParserArchitecture(**{**fields, "blocks": tuple(fields["blocks"])})
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {one_line(str(error)[:300])}"
            raise UserError(f"{path} does not hold a parser ({why}); {_CONVERT}") from error
        fault = f"parser weights {path} do not match their header ({_CONVERT})"
        tensors = file.read_all(parameter_shapes(arch), fault)
    return arch, {name: jnp.asarray(value, jnp.float32) for name, value in tensors.items()}


def _parsed(config: ConfigDict, name: str, image: Image) -> Mask:
    mask = parse_mask(config, image)
    if mask.max() >= _OBJECT:
        return mask
    nothing = f"{category_of(config.category).parser} finds no {config.category} in {name}, or only a very small one"
    if config.data.mask_source == "parser" or needs_masks(config):
        raise UserError(f"{nothing}: {_ADVICE}")
    warnings.warn(f"{nothing}: the whole square is used, and its mesh is not cut", stacklevel=2)
    return np.ones_like(mask)


def _absence(config: ConfigDict, name: str, file: pathlib.Path | None) -> str:
    if config.data.mask_source == "alpha":
        return f"{name} has no alpha channel that shows an object (config.data.mask_source is 'alpha')"
    if file is not None:
        return f"the object mask of {name} is missing: {file}"
    parser = ", or name the parser's weights with --config.parsing.weights" * bool(category_of(config.category).parser)
    files = "put PNG files, white on the object, into a folder and name it with --config.data.mask_root=FOLDER"
    return f"{name} has no object mask: {files}, or save the image with an alpha channel{parser}"
