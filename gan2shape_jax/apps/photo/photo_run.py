"""From a photo to its result: crop, mask, drawing and record of every object in it, and the run over them."""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import pathlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.apps.export.texture import photo_texture, photo_textured
from gan2shape_jax.apps.photo import files as photo_files
from gan2shape_jax.apps.photo.crops import Cropper, Searched, assessed_in, other_kind, search
from gan2shape_jax.apps.photo.files import FOLDER
from gan2shape_jax.apps.photo.framing import framing_picture
from gan2shape_jax.apps.photo.masks import SOURCES, mask_of_crop
from gan2shape_jax.apps.photo.naming import place_of
from gan2shape_jax.config import to_json
from gan2shape_jax.config.schema import validate
from gan2shape_jax.detection.assessment import Assessment
from gan2shape_jax.detection.detector import PERHAPS, SURE, Detection, exposed, exposure_gain
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.io.arrays import load_latent
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.files import atomic_bytes, read_object, remove_folder, sha256
from gan2shape_jax.io.image_files import crop_and_resize, open_upright
from gan2shape_jax.io.image_lists import natural_key
from gan2shape_jax.io.output_folders import RUN, mark
from gan2shape_jax.results import AWAITS, Reconstruction
from gan2shape_jax.results.pictures import encoded
from gan2shape_jax.run import experiment, redraw, runner
from gan2shape_jax.run.folder import RunFolder, is_result
from gan2shape_jax.run.identity import identity_of
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.run.predict import load_kind as load_kind
from gan2shape_jax.training.decision import Redraw, Skip

with contextlib.suppress(ImportError):
    # Here, before there are other threads: its libraries let go of the interpreter while they are loaded, and wait for
    # ever if another thread then loads one of its own, as OpenCV.
    importlib.import_module("pxr.UsdUtils")

_EXPOSED = "image_exposed"
_AROUND, _LOOKED_AT = 2.0, 320  # of a crop in which a person is looked for: sides of the object's, pixels


def config_of(kind: ConfigDict, out: pathlib.Path, *, refine: bool) -> ConfigDict:
    """Returns the configuration of a run over the photos prepared in `out`; `kind` is that of `load_kind`.

    Raises `UserError`: photos cannot be refined, as the model was lifted from another GAN than the configuration's.
    """
    config = kind.copy_and_resolve_references().unlock()
    folder = out / FOLDER
    config.workdir, config.recipe = str(out), "refine" if refine else "predict"
    config.data.image_list, config.data.image_root = str(folder / "list.txt"), str(folder / "image")
    config.data.mask_root, config.data.mask_source = str(folder / "mask"), "file"
    config.data.latent_root, config.data.depth_root = str(folder / "latent") if refine else "", ""
    config.outputs.preset = "overview"  # the page rotates and relights the object
    config.logging.tensorboard = False
    config.runtime.hosts = "one"
    validate(config.lock())
    if refine:
        resolve(config).require_gan_of_model()
    return config


class NoDetectionError(UserError):
    """A photo does not show what the GAN draws; `candidate` says whether something came near."""

    def __init__(self, message: str, *, candidate: bool):
        super().__init__(message)
        self.candidate = candidate


def absence(shown: str, photo: np.ndarray, boxes: Sequence[CropBox], config: ConfigDict, cropper: Cropper) -> str:
    """Returns that a photo, which is `shown` by this name, has no object of the GAN's kind, and the kind that it has.

    `photo` are its pixels (h, w, 3), uint8, and `boxes` the candidates in them, the best first.
    """
    elsewhere = _elsewhere(other_kind(photo, boxes, config))
    return f"{shown}: no {cropper.kind} found, so it has no 3D result{elsewhere and f'; {elsewhere}'}"


def person_note(photo: np.ndarray, found: Detection, box: CropBox, config: ConfigDict) -> str:
    """Returns that what is `found` may be a person, for models of other kinds where they are unsure; '' if not.

    `photo` are its pixels (h, w, 3), uint8, and `box` is where in them it was found.
    """
    if found.score >= SURE or category_of(config.category).detector == "face":
        return ""
    around = sample_crop(photo, dataclasses.replace(box, side=_AROUND * box.side), _LOOKED_AT)
    return _elsewhere(other_kind(around, (), config))


def _elsewhere(other: tuple[str, str] | None) -> str:
    """Returns which model is for what a photo shows; '' if none is known."""
    return f"it shows {other[1]}: use --model {other[0]}" if other else ""


def refined_words(config: ConfigDict) -> str:
    """Returns what of a result a refinement changes."""
    return "light and colours" if config.refinement.freeze_geometry else "shape, view, light and colours"


def refinement_line(config: ConfigDict) -> str:
    """Returns what to say before a refinement starts."""
    stay = "; the shape does not change" if config.refinement.freeze_geometry else ""
    return f"--refine fits {refined_words(config)} to each photo{stay}"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An object of a photo, cropped and masked for a run."""

    name: str  # under which its results are filed
    path: pathlib.Path
    files: Mapping[str, bytes] = dataclasses.field(repr=False)  # what the run reads and keeps of it, see `files`
    detection: Detection  # in the pixels of the photo's file
    assessment: Assessment
    mask_source: str  # file, alpha, grabcut or mean
    notes: tuple[str, ...]  # what the user should read: the crop and its mask, then what is wrong with a given mask
    version: tuple[int, int] | None = None  # of the photo's file: size in bytes and time of change, ns


@dataclasses.dataclass(frozen=True)
class Request:
    """A photo and what the user says of it; by default, everything in it is searched for."""

    path: pathlib.Path
    name: str  # what everything is filed under, see `naming.names_for`; of several objects the first is NAME-1
    box: CropBox | None = None  # the crop, in the pixels of the photo's file
    which: int | None = None  # the only object to prepare, numbered from left to right
    mask: pathlib.Path | None = None  # white on the object, with the photo's proportions, or square, showing the crop
    latent: pathlib.Path | None = None  # of the crop
    anyway: bool = False  # whether the best candidate is prepared where no object was found
    source: str = ""  # where the photo is from, if `path` is a copy that was fetched from there


def prepare(request: Request, config: ConfigDict, cropper: Cropper) -> list[Prepared]:
    """Returns each object in a photo, ready for `run_over`; writes nothing of them.

    Raises:
      NoDetectionError: nothing was found; a drawing is written that shows the best candidate, if there is one.
      UserError: the photo, mask or latent is unusable, or the photo has no object with the chosen number.
    """
    searched = search(request.path, cropper, request.box)
    if request.box is None and not (request.anyway and searched.detections):
        _require_detection(request.name, searched, config, cropper)
    return [_prepare_one(request, searched, number, config, cropper) for number in _numbers(request, searched)]


def _numbers(request: Request, searched: Searched) -> list[int]:
    """Returns the numbers of the objects to prepare, from 1; `UserError` if the request fits none, or which is open."""
    count, which = len(searched.detections), request.which
    if which is not None and which > count:
        raise UserError(
            f"{request.path}: {count} object{'s were' if count > 1 else ' was'} found, so there is no number {which}; "
            "a run without --which draws their numbers, and --box names the square itself"
        )
    if which is None and count > 1 and (request.mask or request.latent):
        raise UserError(f"{request.path}: {count} objects were found: name the one of the mask or latent with --which")
    return list(range(1, count + 1)) if which is None else [which]


def _require_detection(name: str, searched: Searched, config: ConfigDict, cropper: Cropper) -> None:
    """Raises `NoDetectionError` if there is no object of the GAN's kind; the photo's drawing is left."""
    if any(detection.score >= PERHAPS for detection in searched.detections):
        return
    photo, boxes = searched.pixels, searched.boxes
    folder = pathlib.Path(config.workdir) / FOLDER
    if not (folder / f"{name}.json").exists():
        drawing = np.asarray(framing_picture(photo, boxes, 0, cropper.mean_mask))
        photo_files.write(folder, name, {f"framing/{name}.jpg": encoded(drawing, "JPEG", quality=90)})
    raise NoDetectionError(absence(searched.path.name, photo, boxes, config, cropper), candidate=bool(boxes))


def _prepare_one(request: Request, searched: Searched, number: int, config: ConfigDict, cropper: Cropper) -> Prepared:
    """Returns one object with its crop, mask, drawing, latent and record."""
    several, chosen, box = len(searched.detections) > 1, searched.detections[number - 1], searched.boxes[number - 1]
    name = f"{request.name}-{number}" if several else request.name
    crop = sample_crop(searched.pixels, box, cropper.side)
    mask, source, fault = mask_of_crop(crop, searched.picture, box, cropper, request.path, request.mask)
    drawing = np.asarray(framing_picture(searched.pixels, searched.boxes, number - 1, mask))
    content = {
        f"image/{name}.png": encoded(crop, "PNG"),
        f"mask/{name}.png": encoded(np.round(mask * 255).astype(np.uint8), "PNG"),
        f"framing/{name}.jpg": encoded(drawing, "JPEG", quality=90),
    }
    if request.latent is not None:
        latent = io.BytesIO()
        np.save(latent, load_latent(request.latent, cropper.style_dim))
        content[f"latent/{name}.npy"] = latent.getvalue()
    record = _record(request, searched, number) | {"mask": source, "made_with": photo_files.work_folder(config).name}
    photo_files.require_version(request.path, searched.version)
    content[f"{name}.json"] = _json_bytes(record)
    turned = f", turned by {chosen.box.roll_deg:.0f} degrees" if abs(chosen.box.roll_deg) >= 1 else ""
    where = f"{chosen.box.side:.0f} pixels around ({chosen.box.x:.0f}, {chosen.box.y:.0f}){turned}"
    person = person_note(searched.pixels, chosen, box, config)
    notes = [f"{where}; model: {config.category}; mask: {SOURCES[source]}", *filter(None, [fault, person])]
    label = name if several else request.path.name
    assessment = assessed_in(searched, number, cropper)
    told = tuple(f"{label}: {note}" for note in notes)
    return Prepared(name, request.path, content, chosen, assessment, source, told, searched.version)


def _json_bytes(record: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode()


def _record(request: Request, searched: Searched, number: int) -> dict[str, Any]:
    """Returns where the crop of an object comes from."""
    picture, chosen = searched.picture, searched.detections[number - 1]
    size = {"width": picture.picture.width * picture.reduction, "height": picture.picture.height * picture.reduction}
    place = request.source or place_of(request.path)
    file = {"name": request.name, "path": place, "sha256": sha256(request.path)}
    return {
        "photo": file | size,
        "box": dataclasses.asdict(chosen.box),
        "given": request.box is not None,
        "number": number,
        "certainty": chosen.score,
        "others": [dataclasses.asdict(detection.box) for detection in searched.detections if detection is not chosen],
    }


def run_over(
    config: ConfigDict,
    photos: Sequence[Prepared],
    cropper: Cropper | None = None,
    *,
    refused: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Runs over prepared photos that are not done, and puts results in their place; returns why photos failed.

    A photo's former result stays until the new one is complete. The page shows all photos of the folder, and names
    those that were `refused`, or have `failed` before, with the reasons. With `cropper`, which reads the photos,
    results get their photo's own texture. With `say`, for somebody who waits, a refinement of new photos shows first
    what the model makes of them, and says where.
    """
    work = photo_files.work_folder(config)
    decisions = {photo.name: photo_files.decided(config, photo.name, photo.files) for photo in photos}
    left = {photo.name: photo for photo in photos if not isinstance(decisions[photo.name], Skip | Redraw)}
    for name, decision in decisions.items():
        if isinstance(decision, Redraw):
            redraw.redraw(RunFolder.at(config).result(name), config, identity_of(config).drawing)
    for name, photo in left.items():
        photo_files.write(work, name, photo.files)
    unmade = refused or {}, failed or {}
    failures = _make(config, work, left, cropper, *unmade, say) if left or any(unmade) else {}
    remove_folder(work)
    with contextlib.suppress(OSError):
        work.parent.rmdir()
    return failures


def _make(
    config: ConfigDict,
    work: pathlib.Path,
    photos: Mapping[str, Prepared],
    cropper: Cropper | None,
    refused: Mapping[str, str],
    failed: Mapping[str, str],
    say: Callable[[str], None] | None,
) -> dict[str, str]:
    """Runs over photos, by their names, and puts results in their place."""
    out = pathlib.Path(config.workdir)
    unmade = refused.keys() | failed.keys()
    every = sorted(photo_files.records_in(out).keys() | photos.keys() | unmade, key=natural_key)
    with runner.WorkItems(RunFolder.at(config), [f"{name}.png" for name in every], lambda line: None) as folder:
        there = {name for name in unmade if is_result(out / "results" / name)}
        folder.refuse({name: why for name, why in refused.items() if name not in there})
        folder.fail({name: why for name, why in failed.items() if name not in there})
        try:
            if say and config.recipe == "refine" and _predict_first(config, photos, cropper, folder):
                say(f"page: {out / 'index.html'}, as the model sees them; refining each now")
            failures = _run(config, work, photos, cropper, folder) if photos else {}
            folder.fail({name: why for name, why in failures.items() if not folder.folder.is_finished(name)})
        finally:
            folder.summarize()
        folder.folder.describe(config, identity_of(config))
    return failures


def _predict_first(
    config: ConfigDict, photos: Mapping[str, Prepared], cropper: Cropper | None, work_items: runner.WorkItems
) -> bool:
    """Shows what the model makes of photos that have no result yet, if any, and returns whether there are such."""
    out = pathlib.Path(config.workdir)
    if not (new := {name: photo for name, photo in photos.items() if not is_result(out / "results" / name)}):
        return False
    prediction = config.copy_and_resolve_references().unlock()
    prediction.recipe, prediction.data.latent_root = "predict", ""
    work = photo_files.work_folder(prediction)
    for name, photo in new.items():
        record = json.loads(photo.files[f"{name}.json"]) | {"made_with": work.name}
        photo_files.write(work, name, {**photo.files, f"{name}.json": _json_bytes(record)})
    try:
        _run(prediction.lock(), work, new, cropper, work_items, awaiting=True)  # what fails, fails again when refined
    finally:
        remove_folder(work)
    work_items.summarize()
    return True


def _run(
    config: ConfigDict,
    work: pathlib.Path,
    photos: Mapping[str, Prepared],
    cropper: Cropper | None,
    work_items: runner.WorkItems,
    *,
    awaiting: bool = False,
) -> dict[str, str]:
    """Runs over the photos in the folder `work`; returns why photos failed.

    `awaiting` says whether the results are to be replaced by refined ones.
    """
    mark(work, RUN)
    staged = config.copy_and_resolve_references().unlock()
    staged.workdir, staged.data.image_list = str(work), str(work / "list.txt")
    for field in ("image", "mask", "latent"):
        root = str(work / field) if (work / field).is_dir() else ""  # without latents, the run finds them by inversion
        staged.data[f"{field}_root"] = root if config.data[f"{field}_root"] else ""
    dark = _expose(work, photos)
    staged.data.image_root = str(work / _EXPOSED)
    photo_files.write_list(work, photos)

    def decorate(result: Reconstruction) -> tuple[Reconstruction, dict[str, Any]]:
        tree = json.loads(to_json(config)) | {"identity": identity_of(config).record()}
        made_with = {"config.json": f"{json.dumps(tree, indent=2, sort_keys=True)}\n"}
        if awaiting:
            result = dataclasses.replace(result, metrics=result.metrics | {AWAITS: True})
        result = _in_own_light(result, dark[result.name], config) if result.name in dark else result
        if cropper is None:
            return result, made_with
        prepared = photos[result.name]
        picture = cropper.opened(prepared.path)
        photo_files.require_version(prepared.path, prepared.version)
        photo, place = np.asarray(picture.picture), scaled_box(prepared.detection.box, 1 / picture.reduction)
        texture = photo_texture(result, photo, place, mirror=any(config.schedule.flip3))
        result, files = photo_textured(result, photo, texture, place)
        return result, files | made_with

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "object mask .* inverted")  # as was already said of the file
        assessed = {name: photo.assessment for name, photo in photos.items()}
        experiment.run_experiment(
            staged.lock(), runner.RunHooks(assessed, decorate, functools.partial(_put, config, work_items))
        )
    for name, photo in photos.items():
        done = isinstance(photo_files.decided(config, name, photo.files), Skip)
        if is_result(work / "results" / name) and not done:
            _put(config, work_items, name)  # of an earlier run, which was killed before it did so
    failures = work / "failures.json"
    return read_object(failures, "a run's failures") if failures.is_file() else {}


def _expose(work: pathlib.Path, names: Iterable[str]) -> dict[str, Image.Image]:
    """Writes crops as the networks are to see them; returns, by name, those that were lightened, as they are."""
    (work / _EXPOSED).mkdir(exist_ok=True)
    dark = {}
    for name in names:
        path = work / f"image/{name}.png"
        content, crop = path.read_bytes(), open_upright(path, least=1).picture
        if exposure_gain(np.asarray(crop)) != 1:
            dark[name], content = crop, encoded(exposed(np.asarray(crop)), "PNG")
        atomic_bytes(work / f"{_EXPOSED}/{name}.png", content)
    return dark


def _in_own_light(result: Reconstruction, crop: Image.Image, config: ConfigDict) -> Reconstruction:
    """Returns the result of a crop that was lightened as one of the crop itself, under a light that much darker."""
    gain = exposure_gain(np.asarray(crop))
    picture = np.asarray(crop_and_resize(crop, config.data.crop, result.camera.image_size), np.float32)
    lit = {"canonical": result.canonical, "reconstruction": result.reconstruction, "gan_image": result.gan_image}
    darker: dict[str, Any] = {name: None if values is None else (values + 1) / gain - 1 for name, values in lit.items()}
    light = result.light / np.array([gain, gain, 1, 1], np.float32)
    return dataclasses.replace(result, signed_image=picture / 127.5 - 1, light=light, **darker)


def _put(config: ConfigDict, work_items: runner.WorkItems, name: str) -> None:
    """Puts a photo's files and result in their place, and has the summaries follow."""
    photo_files.put(config, name)
    work_items.note(name)
