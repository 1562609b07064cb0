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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.apps.export.texture import photo_texture, photo_textured
from gan2shape_jax.apps.photo.framing import Frame, find_frames, framing_picture
from gan2shape_jax.config import to_json
from gan2shape_jax.config.schema import validate
from gan2shape_jax.errors import UserError, one_line, refused
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.arrays import load_latent
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
from gan2shape_jax.run import experiment, runner, runtime, trust
from gan2shape_jax.run import prepare as run_prepare
from gan2shape_jax.run.folder import RunFolder, config_hash, is_result
from gan2shape_jax.run.guide import CROPS, PERHAPS, SIDE, Seen, Sight, guide_of, sight_by
from gan2shape_jax.run.predict import load_kind as load_kind

DEFAULT = "head"  # the model
FOLDER = "photos"
MASKS = {"file": "given", "alpha": "the photo's alpha channel", "found": "found", "usual": "the same for all photos"}
_LEAST = 16  # pixels of the shorter side of a photo, or a mask's file
_LEAST_OBJECT = 0.01  # share of a crop
_ENLARGED = 1.5  # factor of enlargement of a crop above which the user is warned
_DARK = 64  # of 255: the user is warned if 99% of a crop's pixels are darker; the darkest of 112 test pictures has 91
_LONGEST = 60  # characters of a made-up name


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
    in front of it, or a number if they are in the same folder.
    """
    names, reals = {real: name for name, real in taken.items()}, [os.path.realpath(path) for path in paths]
    homes = {filing_key(name): os.path.dirname(real) for real, name in names.items()}
    for path, real in zip(paths, reals, strict=True):
        if real not in names:
            base, home = _name_of(path.stem), os.path.dirname(real)
            parts = [path.stem, *(folder.name for folder in pathlib.Path(os.path.abspath(path)).parents if folder.name)]
            if homes.get(filing_key(base)) == home:
                parts = [path.stem]
            inside = map(_name_of, itertools.accumulate(parts, lambda stem, folder: f"{folder}-{stem}"))
            numbered = (f"{base}-{number}" for number in itertools.count(2))
            names[real] = next(name for name in itertools.chain(inside, numbered) if filing_key(name) not in homes)
            homes[filing_key(names[real])] = home
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
class Framer:
    """What finding crops and masks relies on."""

    side: int  # of the written crops, pixels
    style_dim: int  # of the GAN's latents
    sight: Sight
    kind: str  # what the GAN draws, in a word
    usual_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of a crop, in [0, 1]
    finds_masks: bool  # whether GrabCut finds a crop's mask from the usual one; else that is every crop's
    foreign: bool = False  # whether photos come from strangers, see `open_upright`

    def opened(self, path: pathlib.Path) -> Picture:
        """Returns a photo, upright and possibly reduced."""
        return open_upright(path, least=_LEAST, foreign=self.foreign)

    def frames(self, photo: Picture) -> list[Frame]:
        """Returns the objects in a photo, with boxes in the pixels of its file, the best first."""
        found = find_frames(np.asarray(photo.picture), self.sight)
        return [frame._replace(box=scaled_box(frame.box, photo.reduction)) for frame in found]


def load_framer(config: ConfigDict, *, say: Callable[[str], None], foreign: bool = False) -> Framer:
    """Starts the runtime, loads the GAN and returns what frames photos; raises `UserError` if the GAN is unusable."""
    runtime.set_up_runtime(config)
    gan = run_prepare.load_gan(config)
    found = guide_of(pathlib.Path(config.gan.checkpoint), *gan, say=say)
    side = config.lift.cropped_from if config.data.crop else config.gan.size
    if config.lift.usual_mask:
        usual = load_mask(pathlib.Path(config.lift.usual_mask), side)
    else:
        usual = np.asarray(Image.fromarray(found.usual_mask).resize((side, side), Image.Resampling.BILINEAR))
    kind, sight = str(category_of(config.category)), sight_by(found, *gan, size=CROPS)
    return Framer(side, config.gan.style_dim, sight, kind, usual, not usual_file(config), foreign)


class NothingFoundError(UserError):
    """A photo does not show what the GAN draws."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A photo whose crop and mask are files."""

    name: str  # under which its results are filed
    path: pathlib.Path
    frame: Frame  # that was taken, in the pixels of the photo's file
    mask_source: str  # file, alpha, found or usual
    notes: tuple[str, ...]  # what the user should read: the crop and its mask, then what is unusual about them
    version: tuple[int, int] | None = None  # of the photo's file: size in bytes and time of change, ns


def prepare(
    path: pathlib.Path,
    name: str,
    config: ConfigDict,
    framer: Framer,
    *,
    box: CropBox | None = None,
    which: int = 1,
    mask: pathlib.Path | None = None,
    latent: pathlib.Path | None = None,
    anyway: bool = False,
) -> Prepared:
    """Writes what a run reads of a photo, beside what is there of it, which `run_over` replaces.

    `name` is what everything is filed under, see `names_for`. `box` is the crop, in the pixels of the photo's file;
    without one it is searched for, and `which` is the number of the object, 1 for the surest. `mask` is a file, white
    on the object, with the photo's proportions, or square, showing the crop; `latent` a file of the crop's latent.
    `anyway` says whether a photo in which nothing was found is prepared all the same.

    Raises:
      NothingFoundError: nothing was found; of a photo without a record, the drawing of the nearest is left.
      UserError: the photo, mask or latent is unusable, or the photo has no object with the chosen number.
    """
    version, seen = _version_of(path), framer.opened(path)
    photo, small = np.asarray(seen.picture), 1 / seen.reduction
    if box is None:
        frames = framer.frames(seen)
    else:
        crop = sample_crop(photo, scaled_box(box, small), SIDE)
        frames = [Frame(box, *framer.sight.look(crop[None])[0])]
    objects = f"{len(frames)} object{'s were' if len(frames) > 1 else ' was'} found"
    if which > len(frames):
        raise UserError(
            f"{path}: {objects}, so --which={which} names none; look at the numbers in the drawing that a run without "
            "--which leaves, or give the square itself with --box"
        )
    boxes, chosen = [scaled_box(frame.box, small) for frame in frames], frames[which - 1]
    crop = sample_crop(photo, boxes[which - 1], framer.side)
    values, source = mask_of_crop(crop, seen, boxes[which - 1], framer, path, mask)
    drawing = np.asarray(framing_picture(photo, boxes, which - 1, values))
    drawn = f"framing/{name}.jpg", encoded(drawing, "JPEG", quality=90)
    if box is None and chosen.certainty < PERHAPS and not anyway:
        folder = pathlib.Path(config.workdir) / FOLDER
        if not (folder / f"{name}.json").exists():
            _write(folder, name, dict([drawn]))
        raise NothingFoundError(
            f"{path.name}: {trust.found_words(chosen.certainty, framer.kind)}, so there is no 3D of it"
        )
    files = {
        f"image/{name}.png": encoded(crop, "PNG"),
        f"mask/{name}.png": encoded(np.round(values * 255).astype(np.uint8), "PNG"),
    } | dict([drawn])
    if latent is not None:
        content = io.BytesIO()
        np.save(content, load_latent(latent, framer.style_dim))
        files[f"latent/{name}.npy"] = content.getvalue()
    size = {"width": seen.picture.width * seen.reduction, "height": seen.picture.height * seen.reduction}
    record = {
        "photo": {"path": os.path.realpath(path), "sha256": sha256(path)} | size,
        "box": dataclasses.asdict(chosen.box),
        "given": box is not None,
        "atypicality": chosen.atypicality,
        "certainty": chosen.certainty,
        "others": [dataclasses.asdict(frame.box) for frame in frames if frame is not chosen],
        "mask": source,
        "made_with": _work_folder(config).name,
    }
    _require_version(path, version)
    files[f"{name}.json"] = f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode()
    _write(_work_folder(config), name, files)
    taken = chosen.box
    turned = f", turned by {taken.roll_deg:.0f} degrees" if abs(taken.roll_deg) >= 1 else ""
    where = f"{taken.side:.0f} pixels around ({taken.x:.0f}, {taken.y:.0f}){turned}"
    notes = [f"{where}; model: {config.category}; mask: {MASKS[source]}"]
    if len(frames) > 1:
        typical = " (the surest)" if which == 1 else ""
        notes.append(f"{objects}, number {which} is taken{typical}; --which chooses another")
    if (pixels := boxes[which - 1].side) * _ENLARGED < framer.side:
        notes.append(f"the object has {pixels:.0f} pixels and is enlarged to {framer.side}: expect a soft result")
    light = int(np.percentile(np.asarray(Image.fromarray(crop).convert("L")), 99))
    if light < _DARK:
        notes.append(
            f"the crop is very dark (99% of it is below {light + 1} of 255): lighten it, or expect a wrong shape"
        )
    return Prepared(name, path, chosen, source, tuple(f"{path.name}: {note}" for note in notes), version)


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
    framer: Framer,
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
    elif framer.finds_masks:
        values, source = found_mask(crop.astype(np.float32) / 127.5 - 1, framer.usual_mask), "found"
    else:
        values, source = framer.usual_mask, "usual"
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


def records_in(out: pathlib.Path) -> dict[str, str]:
    """Returns the names of a folder's photos, with the photos' real paths; records that cannot be read are skipped."""
    found: dict[str, str] = {}
    for file in sorted((out / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, UserError, KeyError, TypeError):
            found[file.stem] = read_object(file, "the record of a photo")["photo"]["path"]
    return found


def is_done(config: ConfigDict, name: str) -> bool:
    """Returns whether a prepared photo has a result of the same crop, mask, latent and configuration."""
    out = pathlib.Path(config.workdir)
    return is_result(out / "results" / name) and _content(out / FOLDER, name) == _content(_work_folder(config), name)


def run_over(config: ConfigDict, photos: Sequence[Prepared], framer: Framer | None = None) -> dict[str, str]:
    """Runs over prepared photos that are not done, and puts results in their place; returns why photos failed.

    A photo's former result stays until the new one is complete. The page shows all photos of the folder. With `framer`,
    which reads the photos, results get their photo's own texture.
    """
    work, left = _work_folder(config), {photo.name: photo for photo in photos if not is_done(config, photo.name)}
    failed = _make(config, work, left, framer) if left else {}
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.parent.rmdir()
    return failed


def _make(
    config: ConfigDict, work: pathlib.Path, photos: Mapping[str, Prepared], framer: Framer | None
) -> dict[str, str]:
    """Runs over photos, by their names, and puts results in their place."""
    out = pathlib.Path(config.workdir)
    mark(work, RUN)
    staged = config.copy_and_resolve_references().unlock()
    staged.workdir, staged.data.image_list = str(work), str(work / "list.txt")
    for field in ("image", "mask", "latent"):
        root = str(work / field) if (work / field).is_dir() else ""  # without latents, the run finds them by inversion
        staged.data[f"{field}_root"] = root if config.data[f"{field}_root"] else ""
    _write_list(work, photos)
    every = sorted(records_in(out).keys() | photos.keys())
    with runner.Units(RunFolder.at(config), [f"{name}.png" for name in every], lambda line: None) as folder:

        def dress(result: Result) -> tuple[Result, dict[str, Any]]:
            made_with = {"config.json": to_json(config) + "\n"}
            if framer is None:
                return result, made_with
            seen = framer.opened(photos[result.name].path)
            _require_version(photos[result.name].path, photos[result.name].version)
            photo, box = np.asarray(seen.picture), scaled_box(photos[result.name].frame.box, 1 / seen.reduction)
            result, files = photo_textured(result, photo, photo_texture(result, photo, box), box)
            return result, files | made_with

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "object mask .* inverted")  # which was said of the file that was given
            known = {name: Seen(*photo.frame[1:]) for name, photo in photos.items()}
            experiment.run(staged.lock(), runner.Handover(known, dress, functools.partial(_put, config, folder)))
        for name in photos:
            if is_result(work / "results" / name) and not is_done(config, name):
                _put(config, folder, name)  # of an earlier run, which was killed before it did so
        failures = work / "failures.json"
        failed = read_object(failures, "a run's failures") if failures.is_file() else {}
        folder.fail({name: why for name, why in failed.items() if not is_result(out / "results" / name)})
        folder.summarize()
        folder.folder.describe(config)
    return failed


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
