"""Photos from their names to their results: crop and mask as files, a record of both, the run over them, textures.

OUT/photos/image/NAME.png     the crop, as the GAN frames such objects
OUT/photos/mask/NAME.png      the object in it
OUT/photos/latent/NAME.npy    its latent, if one was given
OUT/photos/framing/NAME.jpg   the photo with the crop and the mask's outline drawn into it
OUT/photos/NAME.json          where all of it comes from
OUT/results/NAME/             the result, with the photo's own texture (apps/export/texture.py)
OUT/results/NAME/config.json  what the result was made with: a folder holds results of any models, refined or not
OUT/photos/.work/             the same of runs under way, until a photo's result is complete and replaces an earlier one

Masks are (s, s) float32 in [0, 1], in the frame of the crop.
"""

import contextlib
import dataclasses
import functools
import glob
import hashlib
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.export.texture import photo_texture, photo_textured
from gan2shape_jax.apps.photo.framing import framing_picture
from gan2shape_jax.config import to_json
from gan2shape_jax.config.schema import validate
from gan2shape_jax.detection import weights
from gan2shape_jax.detection.alignment import CROPS
from gan2shape_jax.detection.detector import PERHAPS, SIDE, SURE, Assessment, Detection, Detector
from gan2shape_jax.detection.learnt import LearntDetector, crops_of
from gan2shape_jax.errors import UserError, one_line, refused
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.arrays import load_latent
from gan2shape_jax.io.bundled import GAN, MODEL, names_of
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask, usual_file
from gan2shape_jax.io.files import atomic_bytes, atomic_folder, atomic_text, read_object, sha256
from gan2shape_jax.io.found_masks import found_mask
from gan2shape_jax.io.image_files import ENDINGS, Picture, grey_mask, open_upright, pictures_in, warn_if_inverted
from gan2shape_jax.io.image_lists import fault_of, filing_key
from gan2shape_jax.io.output_folders import RUN, mark
from gan2shape_jax.io.weights.tensors import listed
from gan2shape_jax.results import Result
from gan2shape_jax.results.pictures import encoded
from gan2shape_jax.results.result import replaceable
from gan2shape_jax.run import experiment, runner, runtime
from gan2shape_jax.run import prepare as run_prepare
from gan2shape_jax.run.folder import RunFolder, config_hash, is_result
from gan2shape_jax.run.predict import load_kind as load_kind

DEFAULT = "head"  # the model
FOLDER = "photos"
MASKS = {"file": "given", "alpha": "the photo's alpha channel", "found": "found", "usual": "the same for all photos"}
_LEAST = 16  # pixels of the shorter side of a photo, or a mask's file
_LEAST_OBJECT = 0.01  # share of a crop
_MOVES, _OTHERS = 6, 3  # of candidates that are looked at as another kind, and how many of them are
_ENLARGED = 1.5  # factor of enlargement of a crop above which the user is warned
_DARK = 64  # of 255: the user is warned if 99% of a crop's pixels are darker; the darkest of 112 test pictures has 91
_LONGEST = 60  # characters of a made-up name
_NUMBER = re.compile(r"-[0-9]+$")  # which tells a photo's objects apart


def expand(arguments: Sequence[str], *, say: Callable[[str], None]) -> list[pathlib.Path]:
    """Returns the files that the arguments name, each once: files as given, folders and patterns sorted.

    A pattern that the shell has not expanded (`*`, `?`, `[...]`; `**` for nested folders) is expanded here, unless
    there is a file of exactly that name. `say` is told what else a folder or pattern holds. Raises `UserError`: there
    is no such file, or a folder or pattern holds no picture.
    """
    files: dict[str, pathlib.Path] = {}
    for argument in arguments:
        path = pathlib.Path(argument)
        named, others = [path], list[str]()
        if os.path.isdir(path):
            named, others = pictures_in(path, below=False)
        elif not os.path.exists(path) and glob.has_magic(argument):
            every = [pathlib.Path(one) for one in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(one)]
            named = [one for one in every if one.suffix.lower() in ENDINGS]
            others = [str(one) for one in every if one not in named]
        elif not os.path.exists(path):
            raise UserError(f"there is no photo {argument}: check the path")
        if others:
            say(f"{argument}: {len(others)} that are no picture files are skipped: {listed(others, 10)}")
        if not named:
            raise UserError(f"{argument} holds no picture file ({', '.join(ENDINGS)})")
        for one in named:
            files.setdefault(os.path.realpath(one), one)
    return list(files.values())


def names_for(paths: Sequence[pathlib.Path], taken: Mapping[str, str]) -> list[str]:
    """Returns a name for each photo: its file name without the ending if usable, else one made from it.

    `taken` are names in use, each with its photo's real path, which keeps it. Others of the same name get their folders
    in front of it, or a number if they are in the same folder. So do photos whose name another one's objects might
    have: those of `a` are filed under `a-1`, `a-2`, ...
    """
    names, reals = {real: name for name, real in taken.items()}, [os.path.realpath(path) for path in paths]
    homes = {filing_key(name): os.path.dirname(real) for real, name in names.items()}
    numbered = {_NUMBER.sub("", key) for key in homes if _NUMBER.search(key)}

    def is_free(name: str) -> bool:
        key = filing_key(name)
        return key not in homes and key not in numbered and _NUMBER.sub("", key) not in homes

    for path, real in zip(paths, reals, strict=True):
        if real not in names:
            base, home = _name_of(path.stem), os.path.dirname(real)
            parts = [path.stem, *(folder.name for folder in pathlib.Path(os.path.abspath(path)).parents if folder.name)]
            if homes.get(filing_key(base)) == home:
                parts = [path.stem]
            inside = map(_name_of, itertools.accumulate(parts, lambda stem, folder: f"{folder}-{stem}"))
            counted = (f"{base}_{number}" for number in itertools.count(2))
            names[real] = next(name for name in itertools.chain(inside, counted) if is_free(name))
            key = filing_key(names[real])
            homes[key] = home
            numbered |= {_NUMBER.sub("", key)} if _NUMBER.search(key) else set()
    return [names[real] for real in reals]


def _name_of(stem: str) -> str:
    stem = unicodedata.normalize("NFC", stem)
    if stem == one_line(stem) and not fault_of(f"{stem}.png"):
        return stem
    plain = re.sub(r"[^\w-]+", "-", stem, flags=re.ASCII).strip("-_")[:_LONGEST]
    return f"{plain or 'photo'}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:6]}"


def config_of(kind: ConfigDict, out: pathlib.Path, *, refine: bool) -> ConfigDict:
    """Returns the configuration of a run over the photos prepared in `out`; `kind` is that of `load_kind`."""
    config = kind.copy_and_resolve_references().unlock()
    folder = out / FOLDER
    config.workdir, config.mode = str(out), "instance" if refine else "predict"
    config.data.image_list, config.data.image_root = str(folder / "list.txt"), str(folder / "image")
    config.data.mask_root, config.data.mask_source = str(folder / "mask"), "file"
    config.data.latent_root, config.data.depth_root = str(folder / "latent") if refine else "", ""
    config.outputs.preset = "overview"  # the page rotates and relights the object
    config.logging.tensorboard = False
    config.runtime.hosts = "one"
    validate(config)
    return config.lock()


@dataclasses.dataclass(frozen=True)
class Cropper:
    """What finding crops and masks relies on."""

    side: int  # of the written crops, pixels
    style_dim: int  # of the GAN's latents
    detector: Detector
    kind: str  # what the GAN draws, in a word
    mean_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of a crop, in [0, 1]
    finds_masks: bool  # whether GrabCut finds a crop's mask from the mean one; else that is every crop's
    foreign: bool = False  # whether photos come from strangers, see `open_upright`

    def opened(self, path: pathlib.Path) -> Picture:
        """Returns a photo, upright and possibly reduced."""
        return open_upright(path, least=_LEAST, foreign=self.foreign)

    def detect(self, photo: Picture) -> list[Detection]:
        """Returns the objects in a photo, see `Detector.detect`, with boxes in the pixels of its file."""
        found = self.detector.detect(np.asarray(photo.picture))
        return [one._replace(box=scaled_box(one.box, photo.reduction)) for one in found]


def load_cropper(config: ConfigDict, *, say: Callable[[str], None], foreign: bool = False) -> Cropper:
    """Starts the runtime, loads the GAN and returns what crops photos; raises `UserError` if the GAN is unusable."""
    runtime.set_up_runtime(config)
    gan, category = run_prepare.load_gan(config), category_of(config.category)
    known = weights.weights_of(pathlib.Path(config.gan.checkpoint), *gan, category.detector, say=say)
    side = config.lift.cropped_from if config.data.crop else config.gan.size
    if config.lift.usual_mask:
        mask = load_mask(pathlib.Path(config.lift.usual_mask), side)
    else:
        mask = np.asarray(Image.fromarray(known.mean_mask).resize((side, side), Image.Resampling.BILINEAR))
    detector = weights.detector_by(known, *gan, batch=CROPS)
    return Cropper(side, config.gan.style_dim, detector, str(category), mask, not usual_file(config), foreign)


class NothingFoundError(UserError):
    """A photo does not show what the GAN draws; `candidate` says whether something came near."""

    def __init__(self, message: str, *, candidate: bool):
        super().__init__(message)
        self.candidate = candidate


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An object of a photo whose crop and mask are files."""

    name: str  # under which its results are filed
    path: pathlib.Path
    detection: Detection  # in the pixels of the photo's file
    mask_source: str  # file, alpha, found or usual
    notes: tuple[str, ...]  # what the user should read: the crop and its mask, then what is unusual about them
    version: tuple[int, int] | None = None  # of the photo's file: size in bytes and time of change, ns


@dataclasses.dataclass(frozen=True)
class _Searched:
    """A photo in which objects were detected, or one was given."""

    path: pathlib.Path
    name: str  # of the photo
    picture: Picture
    detections: list[Detection]  # from left to right, boxes in the pixels of the photo's file
    given: bool  # whether the user gave the box
    version: tuple[int, int] | None  # of the photo's file

    @property
    def boxes(self) -> list[CropBox]:
        """The boxes in the pixels of the picture, which may be reduced."""
        return [scaled_box(one.box, 1 / self.picture.reduction) for one in self.detections]


def prepare(
    path: pathlib.Path,
    name: str,
    config: ConfigDict,
    cropper: Cropper,
    *,
    box: CropBox | None = None,
    which: int | None = None,
    mask: pathlib.Path | None = None,
    latent: pathlib.Path | None = None,
    anyway: bool = False,
) -> list[Prepared]:
    """Writes what a run reads of each object in a photo, beside what is there of it, which `run_over` replaces.

    `name` is what everything is filed under, see `names_for`; of several objects, numbered from left to right, the
    first is NAME-1. `box` is the crop, in the pixels of the photo's file; without one it is searched for, and `which`
    is the number of the only object to prepare. `mask` is a file, white on the object, with the photo's proportions,
    or square, showing the crop; `latent` a file of the crop's latent. `anyway` says whether the best candidate is
    prepared where no object was found.

    Raises:
      NothingFoundError: nothing was found; the drawing shows the best candidate, if there is one.
      UserError: the photo, mask or latent is unusable, or the photo has no object with the chosen number.
    """
    version, picture = _version_of(path), cropper.opened(path)
    if box is None:
        detections = cropper.detect(picture)
    else:
        crop = sample_crop(np.asarray(picture.picture), scaled_box(box, 1 / picture.reduction), SIDE)
        detections = [Detection(box, *cropper.detector.assess(crop[None])[0])]
    searched = _Searched(path, name, picture, detections, box is not None, version)
    if not searched.given and not (anyway and detections):
        _require_found(searched, config, cropper)
    numbers = range(1, len(detections) + 1) if which is None else [which]
    if which is not None and which > len(detections):
        objects = f"{len(detections)} object{'s were' if len(detections) > 1 else ' was'} found"
        raise UserError(
            f"{path}: {objects}, so --which={which} names none; look at the numbers in the drawing that a run without "
            "--which leaves, or give the square itself with --box"
        )
    if which is None and len(detections) > 1 and (mask or latent):
        raise UserError(
            f"{path}: {len(detections)} objects were found: name the one whose mask or latent it is, by --which"
        )
    names = {number: f"{name}-{number}" if len(detections) > 1 else name for number in numbers}
    return [
        _prepare_one(searched, number, names[number], config, cropper, mask=mask, latent=latent) for number in numbers
    ]


def _require_found(searched: _Searched, config: ConfigDict, cropper: Cropper) -> None:
    """Raises `NothingFoundError` if there is no object of the GAN's kind; the photo's drawing is left."""
    if any(one.score >= PERHAPS for one in searched.detections):
        return
    photo, boxes = np.asarray(searched.picture.picture), searched.boxes
    folder = pathlib.Path(config.workdir) / FOLDER
    if not (folder / f"{searched.name}.json").exists():
        drawing = np.asarray(framing_picture(photo, boxes, 0, cropper.mean_mask))
        _write(folder, searched.name, {f"framing/{searched.name}.jpg": encoded(drawing, "JPEG", quality=90)})
    other = _other_kind(photo, boxes, config)
    raise NothingFoundError(
        f"{searched.path.name}: no {cropper.kind} found, so there is no 3D of it"
        + (f"; it shows {other[1]}: --model {other[0]} reconstructs that" if other else ""),
        candidate=bool(boxes),
    )


def _other_kind(photo: np.ndarray, boxes: Sequence[CropBox], config: ConfigDict) -> tuple[str, str] | None:
    """Returns model and kind of what a photo shows in one of these boxes, if a bundled model is for that."""
    if category_of(config.category).detector != "face":
        return None
    for name, gan_file in names_of(GAN).items():
        kind = category_of(name)
        if kind.detector == "face" or name not in names_of(MODEL) or not boxes:
            continue
        if (known := weights.known_weights(gan_file, kind.detector)) is not None:
            detector = weights.detector_by(known, *stylegan2.load(gan_file))
            assert isinstance(detector, LearntDetector)
            moved = [detector.moved(photo, [box], _MOVES, upright=box.roll_deg)[0] for box in boxes[:_OTHERS]]
            if max(one.score for one in detector.assess(crops_of(photo, moved))) >= SURE:
                return name, f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"
    return None


def _prepare_one(
    searched: _Searched,
    number: int,
    name: str,
    config: ConfigDict,
    cropper: Cropper,
    *,
    mask: pathlib.Path | None,
    latent: pathlib.Path | None,
) -> Prepared:
    """Writes crop, mask, drawing, latent and record of one object."""
    path, picture, chosen = searched.path, searched.picture, searched.detections[number - 1]
    photo, box = np.asarray(picture.picture), searched.boxes[number - 1]
    crop = sample_crop(photo, box, cropper.side)
    values, source = mask_of_crop(crop, picture, box, cropper, path, mask)
    drawing = np.asarray(framing_picture(photo, searched.boxes, number - 1, values))
    files = {
        f"image/{name}.png": encoded(crop, "PNG"),
        f"mask/{name}.png": encoded(np.round(values * 255).astype(np.uint8), "PNG"),
        f"framing/{name}.jpg": encoded(drawing, "JPEG", quality=90),
    }
    if latent is not None:
        content = io.BytesIO()
        np.save(content, load_latent(latent, cropper.style_dim))
        files[f"latent/{name}.npy"] = content.getvalue()
    size = {"width": picture.picture.width * picture.reduction, "height": picture.picture.height * picture.reduction}
    record = {
        "photo": {"name": searched.name, "path": os.path.realpath(path), "sha256": sha256(path)} | size,
        "box": dataclasses.asdict(chosen.box),
        "given": searched.given,
        "number": number,
        "atypicality": chosen.atypicality,
        "certainty": chosen.score,
        "others": [dataclasses.asdict(one.box) for one in searched.detections if one is not chosen],
        "mask": source,
        "made_with": _work_folder(config).name,
    }
    _require_version(path, searched.version)
    files[f"{name}.json"] = f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode()
    _write(_work_folder(config), name, files)
    notes = _notes(chosen.box, box, crop, config, cropper, MASKS[source])
    label = path.name if len(searched.detections) == 1 else name
    return Prepared(name, path, chosen, source, tuple(f"{label}: {note}" for note in notes), searched.version)


def _notes(
    taken: CropBox, box: CropBox, crop: np.ndarray, config: ConfigDict, cropper: Cropper, mask: str
) -> Iterator[str]:
    """Yields where a crop lies in the photo's file, and what is unusual about it; `box` is in the picture's pixels."""
    turned = f", turned by {taken.roll_deg:.0f} degrees" if abs(taken.roll_deg) >= 1 else ""
    where = f"{taken.side:.0f} pixels around ({taken.x:.0f}, {taken.y:.0f}){turned}"
    yield f"{where}; model: {config.category}; mask: {mask}"
    if box.side * _ENLARGED < cropper.side:
        yield f"the object has {box.side:.0f} pixels and is enlarged to {cropper.side}: expect a soft result"
    light = int(np.percentile(np.asarray(Image.fromarray(crop).convert("L")), 99))
    if light < _DARK:
        yield f"the crop is very dark (99% of it is below {light + 1} of 255): lighten it, or expect a wrong shape"


def _version_of(path: pathlib.Path) -> tuple[int, int] | None:
    """Returns what differs once a file was written to; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    return None


def _require_version(path: pathlib.Path, version: tuple[int, int] | None) -> None:
    if _version_of(path) != version:
        raise UserError(f"{path} was changed while it was worked on: run the same command again")


def mask_of_crop(
    crop: UInt8[np.ndarray, "s s 3"],
    photo: Picture,
    box: CropBox,
    cropper: Cropper,
    path: pathlib.Path,
    file: pathlib.Path | None,
) -> tuple[Float[np.ndarray, "s s"], str]:
    """Returns a crop's mask and its source, the first available of: file, alpha channel, GrabCut, the usual mask.

    `box` is the crop's place in the photo. Raises `UserError` if the file is unusable or the mask shows no object.
    """
    side, where = len(crop), str(path)
    if file is not None:
        source, where = "file", f"the mask {file}"
        picture, (width, height) = grey_mask(open_upright(file, least=_LEAST), where), photo.picture.size
        factor = picture.width / width
        whole = abs(picture.height - factor * height) <= 1
        if not whole and picture.width != picture.height:
            raise UserError(
                f"{where} has {picture.width} x {picture.height} pixels: it must have the photo's proportions, "
                f"{width} x {height}, or be square and show the crop"
            )
        place = scaled_box(box, factor) if whole else centred_box(*picture.size)
        values = sample_crop(np.asarray(picture), place, side).astype(np.float32) / 255
    elif photo.alpha is not None:
        values, source = sample_crop(np.asarray(photo.alpha), box, side).astype(np.float32) / 255, "alpha"
        where = f"the alpha channel of {path}"
    elif cropper.finds_masks:
        values, source = found_mask(crop.astype(np.float32) / 127.5 - 1, cropper.mean_mask), "found"
    else:
        values, source = cropper.mean_mask, "usual"
    if (values > 0.5).mean() < _LEAST_OBJECT:
        raise UserError(f"{where} shows no object inside the crop: give another --mask or --box")
    if source in ("file", "alpha"):
        warn_if_inverted(values, where)
    return values, source


def _work_folder(config: ConfigDict) -> pathlib.Path:
    """Returns the folder of the run that makes results before they are put in their place."""
    placeless = config.copy_and_resolve_references().unlock()
    for field in ("image_list", "image_root", "mask_root", "latent_root"):
        placeless.data[field] = ""
    return pathlib.Path(config.workdir) / FOLDER / ".work" / config_hash(placeless)


def _parts(name: str) -> list[str]:
    return [f"image/{name}.png", f"mask/{name}.png", f"framing/{name}.jpg", f"latent/{name}.npy", f"{name}.json"]


def _write(work: pathlib.Path, name: str, files: dict[str, bytes]) -> None:
    """Writes a photo's files unless they are there; what an interrupted run has made of others is removed first."""
    if _content(work, name) == files:
        return
    try:
        for stale in (work / "results" / name, work / "checkpoints" / name):
            shutil.rmtree(stale, ignore_errors=True)
        for stale in (work / "latents" / f"{name}.npy", work / f"latent/{name}.npy"):
            stale.unlink(missing_ok=True)
        for file, content in files.items():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            atomic_bytes(work / file, content)
    except OSError as error:
        raise refused(error, f"{work} cannot hold what is made of {name}") from error


def _content(folder: pathlib.Path, name: str) -> dict[str, bytes]:
    """Returns the files that are there of a photo."""
    return {part: (folder / part).read_bytes() for part in _parts(name) if (folder / part).is_file()}


def records_in(out: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns what a folder's records say of photos, by the results' names; those that cannot be read are skipped."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((out / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, UserError, KeyError, TypeError):
            photo = read_object(file, "the record of a photo")["photo"]
            found[file.stem] = {"name": file.stem, "path": photo["path"]} | photo
    return found


def names_in(out: pathlib.Path) -> dict[str, str]:
    """Returns the names of a folder's photos, of which one may have several results, with their real paths."""
    return {photo["name"]: photo["path"] for photo in records_in(out).values()}


def is_done(config: ConfigDict, name: str) -> bool:
    """Returns whether a prepared photo has a result of the same crop, mask, latent and configuration."""
    out = pathlib.Path(config.workdir)
    return is_result(out / "results" / name) and _content(out / FOLDER, name) == _content(_work_folder(config), name)


def run_over(
    config: ConfigDict,
    photos: Sequence[Prepared],
    cropper: Cropper | None = None,
    *,
    refused: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Runs over prepared photos that are not done, and puts results in their place; returns why photos failed.

    A photo's former result stays until the new one is complete. The page shows all photos of the folder, and names
    those that were `refused`, with the reasons. With `cropper`, which reads the photos, results get their photo's own
    texture.
    """
    work, left = _work_folder(config), {photo.name: photo for photo in photos if not is_done(config, photo.name)}
    failed = _make(config, work, left, cropper, refused or {}) if left or refused else {}
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.parent.rmdir()
    return failed


def _make(
    config: ConfigDict,
    work: pathlib.Path,
    photos: Mapping[str, Prepared],
    cropper: Cropper | None,
    refused: Mapping[str, str],
) -> dict[str, str]:
    """Runs over photos, by their names, and puts results in their place."""
    out = pathlib.Path(config.workdir)
    every = sorted(records_in(out).keys() | photos.keys() | refused.keys())
    with runner.Units(RunFolder.at(config), [f"{name}.png" for name in every], lambda line: None) as folder:
        folder.fail({name: why for name, why in refused.items() if not is_result(out / "results" / name)})
        try:
            failed = _run(config, work, photos, cropper, folder) if photos else {}
            folder.fail({name: why for name, why in failed.items() if not is_result(out / "results" / name)})
        finally:
            folder.summarize()
        folder.folder.describe(config)
    return failed


def _run(
    config: ConfigDict,
    work: pathlib.Path,
    photos: Mapping[str, Prepared],
    cropper: Cropper | None,
    folder: runner.Units,
) -> dict[str, str]:
    """Runs over the photos in the folder `work`; returns why photos failed."""
    mark(work, RUN)
    staged = config.copy_and_resolve_references().unlock()
    staged.workdir, staged.data.image_list = str(work), str(work / "list.txt")
    for field in ("image", "mask", "latent"):
        root = str(work / field) if (work / field).is_dir() else ""  # without latents, the run finds them by inversion
        staged.data[f"{field}_root"] = root if config.data[f"{field}_root"] else ""
    _write_list(work, photos)

    def decorate(result: Result) -> tuple[Result, dict[str, Any]]:
        made_with = {"config.json": to_json(config) + "\n"}
        if cropper is None:
            return result, made_with
        picture, box = cropper.opened(photos[result.name].path), photos[result.name].detection.box
        _require_version(photos[result.name].path, photos[result.name].version)
        photo, place = np.asarray(picture.picture), scaled_box(box, 1 / picture.reduction)
        result, files = photo_textured(result, photo, photo_texture(result, photo, place), place)
        return result, files | made_with

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "object mask .* inverted")  # which was said of the file that was given
        known = {name: Assessment(*photo.detection[1:]) for name, photo in photos.items()}
        experiment.run(staged.lock(), runner.Handover(known, decorate, functools.partial(_put, config, folder)))
    for name in photos:
        if is_result(work / "results" / name) and not is_done(config, name):
            _put(config, folder, name)  # of an earlier run, which was killed before it did so
    failures = work / "failures.json"
    return read_object(failures, "a run's failures") if failures.is_file() else {}


def _put(config: ConfigDict, units: runner.Units, name: str) -> None:
    """Puts a photo's files and result in their place, the record last; what was made of others goes."""
    out, work = pathlib.Path(config.workdir), _work_folder(config)
    place, files = out / FOLDER, _content(work, name)
    (place / f"{name}.json").unlink(missing_ok=True)
    with atomic_folder(out / "results" / name, replaces=replaceable(out / "results" / name)) as fresh:
        shutil.copytree(work / "results" / name, fresh, dirs_exist_ok=True)
    found = work / "latents" / f"{name}.npy"
    latents = {out / "latents" / f"{name}.npy": found.read_bytes()} if found.is_file() else {}
    for part in _parts(name):
        if part not in files:
            (place / part).unlink(missing_ok=True)
    for path, content in ({place / part: content for part, content in files.items()} | latents).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_bytes(path, content)
    _write_list(place, records_in(out))  # which evaluating the results reads
    units.note(name)


def _write_list(folder: pathlib.Path, names: Iterable[str]) -> None:
    quoted = (f"{name}.png".replace("\\", "\\\\").replace('"', '\\"') for name in names)
    atomic_text(folder / "list.txt", "".join(f'"{name}"\n' for name in quoted))
