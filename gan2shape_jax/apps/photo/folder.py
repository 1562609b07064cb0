"""Photos and their results in one folder: what is there of each, what is made of it, and how it is put there.

OUT/photos/image/NAME.png     the crop, as the GAN frames such objects
OUT/photos/mask/NAME.png      the object in it
OUT/photos/latent/NAME.npy    its latent, if one was given
OUT/photos/framing/NAME.jpg   the photo with the crop and the mask's outline drawn into it
OUT/photos/NAME.json          where all of it comes from
OUT/results/NAME/             the result, with the photo's own texture (`gan2shape-jax export texture`)
OUT/results/NAME/config.json  what the result was made with: a folder holds results of any models, refined or not
OUT/photos/.work/             latents and checkpoints of refinements under way

Of one result of several photographs, crop and mask are those of the one that was taken most from in front; the drawing
shows all, each with its crop and the object's outline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epy
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageOps

from gan2shape_jax.apps.photo.naming import names_for, place_of
from gan2shape_jax.config import to_json
from gan2shape_jax.config.schema import validate
from gan2shape_jax.detection.gan_detector import resized
from gan2shape_jax.errors import UserError, io_error
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, scaled_box
from gan2shape_jax.io.arrays import load_latent
from gan2shape_jax.io.files import (
    atomic_bytes,
    atomic_file,
    atomic_text,
    read_object,
    remove_folder,
    sha256,
    spare_unreadable,
)
from gan2shape_jax.io.image_lists import natural_key
from gan2shape_jax.lift import refinement
from gan2shape_jax.photos import explain, judge, pipeline, together
from gan2shape_jax.photos.find import SOURCES, Finder, Found, NoDetectionError, Request, Subject, search
from gan2shape_jax.photos.frames import is_video
from gan2shape_jax.photos.maps import photo_maps
from gan2shape_jax.photos.pipeline import PhotoModel
from gan2shape_jax.photos.together import Gathered, Shot, Source
from gan2shape_jax.plan.identity import Identity, digest, identity_of, read_identity
from gan2shape_jax.results import AWAITS, Reconstruction, load
from gan2shape_jax.results.files import add_files
from gan2shape_jax.results.pictures import encoded, strip
from gan2shape_jax.results.result import MAPS, load_metrics
from gan2shape_jax.run.folder import RunFolder, is_result
from gan2shape_jax.run.images import FAILURES, WorkItems, failures_of, redraw
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.training.resume import Decision, Existing, Requested, decide

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import cv2

FOLDER = "photos"
_DRAWN_SIDE = 1024  # pixels of the drawing's longer side, at most
_LEAST_DRAWN = 384  # small photos are enlarged, so that lines do not hide them
# Distinguishable with red-green colour blindness too (Okabe and Ito), and by their numbers.
_CHOSEN, _OTHER, _OUTLINE = (230, 159, 0), (86, 180, 233), (0, 158, 115)
_FRAMED, _IN_A_ROW = 320, 6  # pixels per side of a photograph in the drawing of several, and how many are in a row
_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def config_of(kind: ConfigDict, out: pathlib.Path, *, refine: bool) -> ConfigDict:
    """Returns what the results of photos in `out` say that they were made with; `kind` is that of `load_kind`."""
    config = kind.copy_and_resolve_references().unlock()
    folder = out / FOLDER
    config.workdir, config.recipe = str(out), "refine" if refine else "predict"
    config.data.image_list, config.data.image_root = str(folder / "list.txt"), str(folder / "image")
    config.data.mask_root, config.data.mask_source = str(folder / "mask"), "file"
    config.data.latent_root, config.data.depth_root = str(folder / "latent") if refine else "", ""
    config.outputs.preset = "overview"  # the page rotates and relights the object
    config.logging.tensorboard = False
    validate(config.lock())
    return config


def refined_words(config: ConfigDict) -> str:
    """Returns what of a result a refinement changes."""
    return "light and colours" if config.refinement.freeze_geometry else "shape, view, light and colours"


def refinement_line(config: ConfigDict) -> str:
    """Returns what to say before a refinement starts."""
    stay = "; the shape does not change" if config.refinement.freeze_geometry else ""
    return f"--refine fits {refined_words(config)} to each photo{stay}"


@dataclasses.dataclass(frozen=True)
class PhotoFolder:
    """A folder of photos and their results, and what these are made with."""

    config: ConfigDict  # that of `config_of`

    @functools.cached_property
    def run(self) -> RunFolder:
        """The same as the folder of a run."""
        return RunFolder.at(self.config)

    @functools.cached_property
    def identity(self) -> Identity:
        """What makes results that are made now themselves."""
        return identity_of(self.config)

    @property
    def photos(self) -> pathlib.Path:
        """Folder of what is kept of the photos."""
        return self.run.root / FOLDER

    def decided(self, name: str, is_same: Callable[[], bool]) -> Decision:
        """Returns what happens to a result; `is_same` says whether one that is there is of the same photo."""
        existing = self.run.existing(name)
        if existing.state != "nothing":
            try:
                _, own = read_identity(self.run.result(name) / "config.json")
                existing = dataclasses.replace(existing, made_with=own.computed, drawing=own.drawing)
                if not is_same():
                    existing = Existing(fault="it is of another photo, crop or mask")
            except (OSError, UserError, KeyError, TypeError) as error:
                existing = dataclasses.replace(existing, fault=str(error))
        return decide(existing, Requested(self.identity.computed, self.identity.drawing, replaces=True))

    def holds(self, photo: Prepared) -> bool:
        """Whether what is kept of a photo is what was prepared now."""
        there = [part for part in parts_of(photo.name) if (self.photos / part).is_file()]
        return {part: (self.photos / part).read_bytes() for part in there} == photo.files

    @contextlib.contextmanager
    def work(self, model: PhotoModel, **wanted: Any) -> Iterator[Work]:
        """Yields what makes results, as `wanted` by the fields of `Work`; the page shows all photos of the folder."""
        names = sorted(records_in(self.run.root), key=natural_key)
        with WorkItems(self.run, [f"{name}.png" for name in names], lambda line: None) as items:
            self.run.root.mkdir(parents=True, exist_ok=True)
            self.run.describe(self.config, self.identity)
            yield Work(self, model, items, **wanted)
            items.wait()

    def redraw(self, name: str) -> None:
        """Has a result drawn anew from what is kept of it."""
        redraw(self.run.result(name), self.config, self.identity.drawing)

    def put(self, name: str, result: Reconstruction, files: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
        """Puts a result in its place, and `parts`, what is kept of its photo; the record last. What was there goes.

        `files` are further ones of the result; `parts` are of those that `parts_of` names.
        """
        record = self.photos / f"{name}.json"
        tree = json.loads(to_json(self.config)) | {"identity": self.identity.record()}
        files = {**files, "config.json": f"{json.dumps(tree, indent=2, sort_keys=True)}\n"}
        spare_unreadable(record, lambda path: read_object(path, "the record of a photo"))
        record.unlink(missing_ok=True)
        made_with = {"configuration": self.identity.fingerprint, "drawing": self.identity.drawing}
        explain.write(result, self.run.result(name), self.config, extra=files, made_with=made_with)
        for part in parts_of(name):
            if part not in parts:
                (self.photos / part).unlink(missing_ok=True)
        _write(self.photos, parts)
        write_list(self.photos, records_in(self.run.root))  # which evaluating the results reads


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An object of a photo, cropped and masked, and the files that are kept of that."""

    request: Request
    subject: Subject
    files: Mapping[str, bytes] = dataclasses.field(repr=False)  # by their paths below `FOLDER`
    latent: np.ndarray | None  # of the crop, if it is known
    notes: tuple[str, ...]  # what the user should read: the crop and its mask, then what is wrong with a given mask
    version: tuple[int, int] | None  # of the photo's file, see `version_of`

    @property
    def name(self) -> str:
        """What the result is filed under."""
        return self.subject.name


def version_of(path: pathlib.Path) -> tuple[int, int] | None:
    """Returns what differs once a file was written to; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    return None


def require_version(path: pathlib.Path, version: tuple[int, int] | None) -> None:
    """Raises `UserError` if a file was written to since it had this version."""
    if version_of(path) != version:
        raise UserError(f"{path} changed while it was processed: run the same command again")


def prepare(request: Request, folder: PhotoFolder, finder: Finder) -> list[Prepared]:
    """Returns each object in a photo, ready for `Work.make`; writes nothing of them.

    Raises:
      NoDetectionError: nothing was found; a drawing is written that shows the best candidate, if there is one.
      UserError: the photo, mask or latent is unusable, or the photo has no object with the chosen number.
    """
    version = version_of(request.path)
    try:
        found = search(request, finder)
    except NoDetectionError as error:
        if error.picture is not None:
            drawing = framing_picture(np.asarray(error.picture.picture), error.boxes, 0, finder.mean_mask)
            _draw(folder.photos, request.name, encoded(np.asarray(drawing), "JPEG", quality=90))
        raise
    latent = None if request.latent is None else load_latent(request.latent, folder.config.gan.style_dim)
    if latent is not None and request.which is None and len(found.detections) > 1:
        raise UserError(f"{request.path}: {len(found.detections)} objects were found: name the latent's with --which")
    prepared = []
    for subject in found.subjects:
        box = subject.detection.box
        turned = f", turned by {box.roll_deg:.0f} degrees" if abs(box.roll_deg) >= 1 else ""
        where = f"{request.label(subject)}: {box.side:.0f} pixels around ({box.x:.0f}, {box.y:.0f}){turned}"
        framed = f"{where}; model: {folder.config.category}; mask: {SOURCES[subject.mask_source]}"
        files = _files(request, subject, found, latent)
        prepared.append(Prepared(request, subject, files, latent, (framed, *found.notes[subject.name]), version))
    require_version(request.path, version)
    return prepared


def _draw(photos: pathlib.Path, name: str, drawing: bytes) -> None:
    """Writes the drawing of what was searched in a photo, unless it has one of its result."""
    if not (photos / f"{name}.json").exists():
        _write(photos, {f"framing/{name}.jpg": drawing})


def _files(request: Request, subject: Subject, found: Found, latent: np.ndarray | None) -> dict[str, bytes]:
    """Returns what is kept of an object besides its result."""
    picture, name, number = found.picture, subject.name, found.detections.index(subject.detection) + 1
    boxes = [detection.box for detection in found.detections]
    seen = [scaled_box(box, 1 / picture.reduction) for box in boxes]
    drawing = framing_picture(np.asarray(picture.picture), seen, number - 1, subject.mask / 255)
    size = {"width": picture.picture.width * picture.reduction, "height": picture.picture.height * picture.reduction}
    place = request.source or place_of(request.path)
    record = {
        "photo": {"name": request.name, "path": place, "sha256": sha256(request.path)} | size,
        "box": dataclasses.asdict(subject.detection.box),
        "given": request.box is not None,
        "number": number,
        "certainty": subject.detection.score,
        "others": [dataclasses.asdict(box) for box in boxes[: number - 1] + boxes[number:]],
        "mask": subject.mask_source,
    }
    files = {
        f"image/{name}.png": encoded(subject.crop, "PNG"),
        f"mask/{name}.png": encoded(subject.mask, "PNG"),
        f"framing/{name}.jpg": encoded(np.asarray(drawing), "JPEG", quality=90),
    }
    if latent is not None:
        content = io.BytesIO()
        np.save(content, latent)
        files[f"latent/{name}.npy"] = content.getvalue()
    return files | {f"{name}.json": f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode()}


def framing_picture(
    photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], chosen: int, mask: Float[np.ndarray, "s s"]
) -> Image.Image:
    """Returns a photo with its crops, numbered from 1, and the outline of `mask`, in [0, 1], in the chosen one."""
    longer = max(photo.shape)
    factor = min(_DRAWN_SIDE / longer, max(1.0, _LEAST_DRAWN / longer))
    picture = Image.fromarray(resized(photo, factor))
    pen, line = ImageDraw.Draw(picture), max(2, max(picture.size) // 256)

    def draw(points: np.ndarray, box: CropBox, side: int, **style: Any) -> tuple[float, float]:
        """Draws a closed line through points of a crop; returns where it begins."""
        places = [(float(x), float(y)) for x, y in crop_to_photo(points, scaled_box(box, factor), side)]
        pen.line([*places, places[0]], **style)
        return places[0]

    for number, box in enumerate(boxes):
        colour = _CHOSEN if number == chosen else _OTHER
        x, y = draw(_CORNERS, box, 1, fill=colour, width=line, joint="curve")
        if len(boxes) > 1:
            pen.text((x + 2 * line, y + line), str(number + 1), fill=colour, font_size=8 * line)
    if not boxes:
        return picture
    outlines, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if len(outline) > 2:
            draw(outline[:, 0] + 0.5, boxes[chosen], len(mask), fill=_OUTLINE, width=max(1, line // 2))
    return picture


def parts_of(name: str) -> list[str]:
    """Returns the files that a photo may have below `FOLDER`, the record last."""
    return [f"image/{name}.png", f"mask/{name}.png", f"framing/{name}.jpg", f"latent/{name}.npy", f"{name}.json"]


def _write(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
    try:
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            atomic_bytes(folder / file, content)
    except OSError as error:
        raise io_error(error, f"{folder} cannot be written") from error


def records_in(out: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns what a folder's records say of photos, by the results' names; those that cannot be read are skipped."""
    records: dict[str, dict[str, Any]] = {}
    for file in sorted((out / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, UserError, KeyError, TypeError):
            photo = read_object(file, "the record of a photo")["photo"]
            records[file.stem] = {"name": file.stem, "path": photo["path"]} | photo
    return records


def names_in(out: pathlib.Path) -> dict[str, str]:
    """Returns the names of a folder's photos, of which one may have several results, with their places."""
    return {photo["name"]: photo["path"] for photo in records_in(out).values()}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a command makes of photos in a folder; made by `PhotoFolder.work`."""

    folder: PhotoFolder
    model: PhotoModel
    items: WorkItems
    texture: bool = True  # whether results wear their photos' texture
    maps: bool = False  # whether they get maps of the photo's size; those that are there get them, too
    eyes: float | None = None  # mm from one to the other; those that are there and have another distance are made again
    awaiting: bool = False  # whether the results are to be replaced by refined ones

    def refuse(self, refused: Mapping[str, str]) -> None:
        """Has the page name photos that are not used, and why; those with a former result keep it."""
        lacking = {name: why for name, why in refused.items() if not is_result(self.folder.run.result(name))}
        self.items.expect(lacking)
        self.items.refuse(lacking)

    def make(self, photos: Sequence[Prepared], log: Callable[[str], None] | None = None) -> dict[str, NoDetectionError]:
        """Makes the results of photos that are not done; returns why there are none where a closer look found nothing.

        A photo's former result stays until the new one is complete; `items.failures` has why photos failed. With `log`,
        for somebody who waits, it says which are done, and a refinement of new photos shows first what the model makes
        of them, and says where.
        """
        run, left = self.folder.run, list[Prepared]()
        for photo in photos:
            decision = self.folder.decided(photo.name, functools.partial(self.folder.holds, photo))
            if decision.exists and log:
                log(f"{photo.name}: finished before, {'skipped' if decision is Decision.SKIP else 'drawn anew'}")
                with contextlib.suppress(UserError):
                    if sentence := judge.sentence_of(photo.name, load_metrics(run.result(photo.name))):
                        log(sentence)
            if decision is Decision.REDRAW:
                self.folder.redraw(photo.name)
            left += [] if decision.exists and has(run.result(photo.name), eyes=self.eyes) else [photo]
        mapped = [p for p in photos if p not in left and not has(run.result(p.name), maps=self.maps)]
        if not left and not mapped:
            return {}
        self.items.expect(photo.name for photo in left)
        undetected: dict[str, NoDetectionError] = {}
        try:
            new = [photo for photo in left if not is_result(run.result(photo.name))]
            if self.model.refiner is not None and log and new:
                predicting = PhotoFolder(config_of(self.folder.config, run.root, refine=False))
                unrefined = dataclasses.replace(self.model, refiner=None)
                first = dataclasses.replace(self, folder=predicting, model=unrefined, awaiting=True)
                undetected = first._make(new, None)
                left = [photo for photo in left if photo.name not in undetected]
                log(f"page: {run.root / 'index.html'}, as the model sees them; refining each now")
            undetected |= self._make(left, log)
            for photo in mapped:
                self.items.write({photo.name: functools.partial(self._add_maps, photo)})
        finally:
            self.items.wait()
        return undetected

    def _make(self, photos: Sequence[Prepared], log: Callable[[str], None] | None) -> dict[str, NoDetectionError]:
        """Makes results, which are textured and written in another thread while the next ones are made.

        Returns why photos have none in which there is no object by the verdict.
        """
        refiner, undetected = self.model.refiner, dict[str, NoDetectionError]()
        schedule = () if refiner is None else refiner.plan.schedule
        with Monitor(schedule, None) as monitor:
            monitor.expect(len(photos))
            for photo in photos:
                monitor.check()
                try:
                    result, files = self._result(photo, monitor)
                    if not photo.request.anyway:
                        pipeline.require_found(result, photo.subject, self.model)
                except NoDetectionError as error:
                    undetected[photo.name] = error
                    _draw(self.folder.photos, photo.name, photo.files[f"framing/{photo.name}.jpg"])
                    self.refuse({photo.name: str(error)})
                    continue
                except FAILURES as error:
                    self.items.fail(failures_of([photo.name], error))
                    continue
                if sentence := judge.sentence_of(photo.name, result.metrics):
                    monitor.log(sentence)
                if sentence := refinement.outcome(result.metrics):
                    monitor.log(f"{photo.name}: {sentence}")
                self.items.write({photo.name: functools.partial(self._put, photo, result, files)})
        self.items.wait()
        return undetected

    def _result(self, photo: Prepared, monitor: Monitor) -> tuple[Reconstruction, dict[str, bytes]]:
        if (refiner := self.model.refiner) is None:
            return pipeline.explained(photo.subject, self.model), {}
        work = self._work(photo)
        if (latent := photo.latent) is None:
            kept = work / "latent.npy"
            if not kept.is_file():
                monitor.log(f"{photo.name}: latent by inversion")
                found = pipeline.invert(photo.subject, refiner)
                atomic_file(kept, lambda part: np.save(part, found), parents=True)
            latent = np.load(kept)
        with monitor.watch(photo.name) as watcher:
            return pipeline.refined(photo.subject, refiner, latent, folder=work / "checkpoints", watcher=watcher)

    def _work(self, photo: Prepared) -> pathlib.Path:
        """Returns the folder of a refinement under way: another of every crop, mask, latent and model."""
        sums = {part: hashlib.sha256(content).hexdigest() for part, content in photo.files.items()}
        return self.folder.photos / ".work" / digest([self.folder.identity.fingerprint, sums])

    def _put(self, photo: Prepared, result: Reconstruction, files: Mapping[str, Any]) -> None:
        """Puts a photo's files and result in their place."""
        result = sized(result, self.eyes)
        if self.awaiting:
            result = dataclasses.replace(result, metrics=result.metrics | {AWAITS: True})
        if self.texture:
            picture = photo.request.opened()
            require_version(photo.request.path, photo.version)
            result, own = pipeline.textured(result, photo.subject, picture, mirror=self.model.mirror)
            files = {**files, **own}
        if self.maps and not self.awaiting:
            files = {**files, **_maps(photo, result)}
        self.folder.put(photo.name, result, files, photo.files)
        if self.model.refiner is not None:
            self._tidy(photo)
        self.items.note(photo.name)

    def _add_maps(self, photo: Prepared) -> None:
        """Adds the maps of a photo's size to its result."""
        folder = self.folder.run.result(photo.name)
        add_files(folder, _maps(photo, load(folder)))
        self.items.note(photo.name)

    def _tidy(self, photo: Prepared) -> None:
        """Keeps the latent that a refinement has found, and removes what else it has left."""
        work, latents = self._work(photo), self.folder.run.latents
        if (work / "latent.npy").is_file():
            latents.mkdir(exist_ok=True)
            (work / "latent.npy").replace(latents / f"{photo.name}.npy")
        remove_folder(work)
        with contextlib.suppress(OSError):
            work.parent.rmdir()


def has(folder: pathlib.Path, *, maps: bool = False, eyes: float | None = None) -> bool:
    """Whether a result has the maps of its photo's size, if they are wanted, and eyes so many mm apart, if given."""
    there = not maps or all((folder / name).is_file() for name in MAPS)
    return there and (eyes is None or read_object(folder / "result.json", "a result").get("eyes_mm") == eyes)


def sized(result: Reconstruction, eyes: float | None) -> Reconstruction:
    """Returns a result whose eyes are so many mm apart, if that is given."""
    return result if eyes is None else dataclasses.replace(result, eyes_mm=eyes)


def _maps(photo: Prepared, result: Reconstruction) -> dict[str, bytes]:
    picture = photo.request.opened()
    require_version(photo.request.path, photo.version)
    return photo_maps(result, np.asarray(picture.picture), photo.subject.box)


def write_list(folder: pathlib.Path, names: Iterable[str]) -> None:
    """Writes the image list of photos, by their names."""
    quoted = (f"{name}.png".replace("\\", "\\\\").replace('"', '\\"') for name in names)
    atomic_text(folder / "list.txt", "".join(f'"{name}"\n' for name in quoted))


# --- one result of several photographs ---------------------------------------------------------------------------


def together_name(argument: str, path: pathlib.Path, out: pathlib.Path) -> tuple[str, pathlib.Path]:
    """Returns what a result is filed under and its place, by the first argument and the first photo of it.

    It is the folder's or video's name, or that of the photo with `-together`, which may have a result of its own.
    """
    place = pathlib.Path(argument)
    if not place.is_dir() and not is_video(place):
        place = path.with_name(f"{path.stem}-together")
    place = pathlib.Path(place.resolve())
    return names_for([place], names_in(out))[0], place


def digest_of(sources: Sequence[Source]) -> str:
    """Returns what a set of photographs is known again by, in any order."""
    return hashlib.sha256("\n".join(sorted({source.digest for source in sources})).encode()).hexdigest()


def together_decided(photo_folder: PhotoFolder, name: str, digest: str) -> Decision:
    """Returns what happens to the result of these photographs."""
    record = photo_folder.photos / f"{name}.json"
    return photo_folder.decided(name, lambda: read_object(record, "the record of a photo")["photo"]["sha256"] == digest)


def make_together(work: Work, gathered: Gathered, name: str, place: pathlib.Path, digest: str) -> dict[str, bytes]:
    """Makes the result of photographs and puts it in its place; returns what is kept of the photographs.

    Raises `UserError` if it cannot be made.
    """
    model = work.model
    try:
        result, shots = together.reconstruct(gathered, model.predictor, name=name)
        result, files = sized(result, work.eyes), dict[str, Any]()
        if work.texture:
            result, files = together.textured(result, shots, mirror=model.mirror)
        if work.maps:
            assert shots[0].source is not None and shots[0].subject is not None
            files |= photo_maps(result, np.asarray(shots[0].source.open().picture), shots[0].subject.box)
        parts = _together_parts(name, place, digest, gathered, shots)
        work.folder.put(name, result, files, parts)
    except FAILURES as error:
        raise UserError(failures_of([name], error)[name]) from error
    work.items.expect([name])
    return parts


def _together_parts(
    name: str, place: pathlib.Path, digest: str, gathered: Gathered, shots: Sequence[Shot]
) -> dict[str, bytes]:
    """Returns what is kept of photographs besides their result; the first is the one that it shows."""
    framed, photographs = list[np.ndarray](), list[dict[str, Any]]()
    for shot in shots:
        assert shot.source is not None and shot.subject is not None
        picture, subject = shot.source.open(), shot.subject
        drawing = framing_picture(np.asarray(picture.picture), [subject.box], 0, subject.mask / 255)
        framed.append(np.asarray(ImageOps.pad(drawing, (_FRAMED, _FRAMED), Image.Resampling.LANCZOS, "white")))
        photographs.append(
            {
                "name": shot.name,
                "sha256": shot.source.digest,
                "box": dataclasses.asdict(subject.detection.box),
                "certainty": subject.detection.score,
                "mask": subject.mask_source,
            }
        )
    front = shots[0].subject
    assert front is not None
    sheet = strip([framed[k : k + _IN_A_ROW] for k in range(0, len(framed), _IN_A_ROW)])
    record = {
        "photo": {"name": name, "path": str(place), "sha256": digest},
        "box": photographs[0]["box"],
        "photographs": photographs,
        "left_out": list(gathered.left_out),
    }
    return {
        f"image/{name}.png": encoded(front.crop, "PNG"),
        f"mask/{name}.png": encoded(front.mask, "PNG"),
        f"framing/{name}.jpg": encoded(sheet, "JPEG", quality=90),
        f"{name}.json": f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode(),
    }
