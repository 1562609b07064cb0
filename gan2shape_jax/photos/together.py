"""One object in several photographs: which of them are usable, one shape from those, one `Reconstruction`.

`gather` looks at photographs one by one and says of each that is left out why; `reconstruct` fits one shape to the
others (`method.joint_refinement`) and makes the result of the one that was taken most from in front; `textured` gives
it the photographs' own colours.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from gan2shape_jax import program_cache
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import sample_crop
from gan2shape_jax.geometry.lighting import apply_shading, normals, shade
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.image_files import Picture, crop_and_resize, open_upright
from gan2shape_jax.method import joint_refinement
from gan2shape_jax.method.joint_refinement import Joint
from gan2shape_jax.method.reconstruction import appearance, scene
from gan2shape_jax.method.settings import Settings, changed
from gan2shape_jax.photos import judge, pipeline
from gan2shape_jax.photos.explain import Predictor
from gan2shape_jax.photos.find import LEAST_SIDE, Subject, find, is_found, subjects_of
from gan2shape_jax.photos.frames import chosen, frames, is_video
from gan2shape_jax.photos.people import likeness, same_person
from gan2shape_jax.photos.pipeline import PhotoModel
from gan2shape_jax.photos.texture import Seen, photo_textured, texture_from_all
from gan2shape_jax.results import Reconstruction
from gan2shape_jax.results.result import Photograph

MOST = 24  # photographs that a shape is fitted to: more take longer, and tell nothing new
_ALIKE_DEG = 30.0  # spread of the views below which none is from the side
_GREY = 3.0  # mean difference of a crop's colours, of 255, below which it is black and white
_FINER = 128  # pixels of a crop to which a joint shape is refined, if half of its photographs have as many
_FRAMES = 2 * MOST  # of a video, among which there is a choice
_joint_fit = program_cache.cached(joint_refinement.joint_fit, static_argnames=("camera", "rounds"))
_KNOWN = ("file", "alpha")  # sources of masks that somebody made
_LIKE = 0.15  # mean `likeness` of photographs of a face, below which they may show several people
_TOLD, _LISTED = 3, 10  # photographs that a verdict names, and an error


class Source(NamedTuple):
    """A photograph that was given."""

    name: str  # for messages
    open: Callable[[], Picture]  # raises `UserError`
    digest: str  # of its content
    video: str = ""  # the name of that of which it is a frame


def sources_of(
    paths: Sequence[pathlib.Path], *, names: Sequence[str] | None = None, foreign: bool = False
) -> list[Source]:
    """Returns the photographs in files, and frames of videos; opening one that was written to meanwhile is an error.

    `names` are what messages call the files, by default their own names; `foreign` ones come from strangers.
    """
    names = [path.name for path in paths] if names is None else names
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    sources: list[Source] = []
    for name, path in zip(names, paths, strict=True):
        sources += _frames_of(name, path) if is_video(path) else [_source(name, path, foreign=foreign)]
    return sources


def _frames_of(name: str, path: pathlib.Path) -> list[Source]:
    """Returns frames of a video; where it cannot be read, one photograph that cannot be opened."""
    digest = sha256(path)
    try:
        found = frames(path, _FRAMES)
    except UserError as error:
        return [Source(name, functools.partial(_refuse, error), digest)]
    stem = pathlib.Path(name).stem
    return [
        Source(f"{stem}-{at}", functools.partial(_given, picture), f"{digest} {number}", name)
        for number, (at, picture) in enumerate(found)
    ]


def _given(picture: Picture) -> Picture:
    return picture


def _refuse(error: UserError) -> Picture:
    raise error


def _source(name: str, path: pathlib.Path, *, foreign: bool) -> Source:
    def opened() -> Picture:
        try:
            picture = open_upright(path, least=LEAST_SIDE, foreign=foreign)
        except UserError as error:
            raise UserError(str(error).replace(str(path), name)) from error
        if sha256(path) != digest:
            raise UserError(f"{name} changed while it was processed: run the same command again")
        return picture

    try:
        digest = sha256(path)
    except OSError:  # which opening it reports
        digest = str(path)
    return Source(name, opened, digest)


@dataclasses.dataclass(frozen=True, eq=False)
class Shot:
    """The object in one photograph."""

    name: str
    result: Reconstruction  # what the model alone makes of it
    source: Source | None = None
    subject: Subject | None = None
    picture: Image.Image | None = None  # square, an image that is the crop itself, where there is no source

    @property
    def pixels(self) -> float:
        """How many pixels a side what it shows has."""
        if self.subject is not None:
            return self.subject.box.side
        return len(self.result.mask) if self.picture is None else self.picture.width

    def crop(self, size: int) -> Float[np.ndarray, "s s 3"]:
        """Returns the object as the networks' crop frames it, with `size` pixels a side, in [0, 1]."""
        if self.source is not None and self.subject is not None:
            crop = sample_crop(np.asarray(self.source.open().picture), self.subject.box, size)
        else:
            assert self.picture is not None
            crop = np.asarray(crop_and_resize(self.picture, None, size))
        return crop.astype(np.float32) / 255


@dataclasses.dataclass(frozen=True, eq=False)
class Gathered:
    """The usable photographs of those that were given."""

    shots: Sequence[Shot]
    given: int  # their number, without those that are there twice
    left_out: Sequence[str] = ()  # why others were left out, a sentence each


def gather(sources: Iterable[Source], model: PhotoModel, *, log: Callable[[str], None]) -> Gathered:
    """Finds the object that is in all photographs, and what the model makes of it in each.

    `log` is told why photographs are left out, one by one, and whether there are too many; of a video's frames, only
    where none of them is usable. Raises `UserError`: none is usable; the message says why of each.
    """
    left_out: list[str] = []
    useless: dict[str, list[str]] = {}  # why frames are left out, by their video

    def leave_out(sentence: str, video: str = "") -> None:
        if video:
            useless.setdefault(video, []).append(sentence)
            return
        left_out.append(sentence.partition("; ")[0])  # what may be done about it is too long for a verdict
        log(sentence)

    found: list[tuple[Source, list[Subject]]] = []
    every: list[list[Reconstruction]] = []
    known: dict[str, str] = {}  # the names of photographs by their digests
    for source in sources:
        if source.digest in known:
            first = known[source.digest]
            leave_out(f"{source.name} is the same picture as {first}, and counts once", source.video)
            continue
        known[source.digest] = source.name
        try:
            picture = source.open()
            detections = find(picture, model.finder)
            if not is_found(detections):
                leave_out(f"{source.name} shows no {model.finder.kind}", source.video)
                continue
            subjects = subjects_of(source.name, picture, detections, model.finder, photo=source.name)
            found.append((source, subjects))
            every.append([pipeline.explained(subject, model) for subject in subjects])
        except UserError as error:
            leave_out(str(error), source.video)
    numbers, sure = same_person(every, [[one.detection.box.side for one in subjects] for _, subjects in found])
    if not sure:
        log(f"which {model.finder.kind} is in all photographs is not sure: the largest of those that may be is taken")
    shots: list[Shot] = []
    for (source, subjects), results, number in zip(found, every, numbers, strict=True):
        assert number is not None  # of photographs without an object
        result = results[number]
        if result.metrics["trust"]["grade"] == "no":
            leave_out(f"{source.name} is no use: {result.metrics['trust']['warnings'][0]}", source.video)
            continue
        shots.append(Shot(source.name, result, source, subjects[number]))
    shots = _in_colour(shots, leave_out)
    seen_in = {shot.source.video for shot in shots if shot.source}
    for video in [video for video in useless if video not in seen_in]:
        leave_out(f"no frame of {video} can be used: {useless[video][0]}")
    if not shots:
        more = f"; and {len(left_out) - _LISTED} more" if len(left_out) > _LISTED else ""
        raise UserError(f"none of these photographs can be used: {'; '.join(left_out[:_LISTED])}{more}")
    if len(some := spread(shots)) < len(shots):
        log(f"{len(some)} of {len(shots)} photographs are used: sharp ones, spread over the views")
    return Gathered(some, len(known), left_out)


def _in_colour(shots: list[Shot], leave_out: Callable[[str, str], None]) -> list[Shot]:
    """Leaves out photographs that are black and white, if others are not: one albedo has to explain all of them."""
    coloured = [np.ptp(shot.subject.crop, axis=-1).mean() > _GREY if shot.subject else True for shot in shots]
    if not any(coloured):
        return shots
    for shot in itertools.compress(shots, np.logical_not(coloured)):
        leave_out(f"{shot.name} is black and white, and others are not", shot.source.video if shot.source else "")
    return list(itertools.compress(shots, coloured))


def spread(shots: Sequence[Shot]) -> list[Shot]:
    """Returns `MOST` photographs at most, sharp ones, evenly over the views."""
    blur = [shot.result.metrics.get("trust", {}).get("measured", {}).get("blur", 0.0) for shot in shots]
    sharpness = np.clip(1 - np.array(blur), 0, None)
    return [shots[k] for k in chosen(np.stack([shot.result.view for shot in shots]), sharpness, MOST)]


def reconstruct(gathered: Gathered, predictor: Predictor, *, name: str) -> tuple[Reconstruction, list[Shot]]:
    """Returns one result from several photographs, and these in the order of its `photographs`.

    The first is the one that was taken most from in front; albedo, masks and light are what the model makes of it.
    """
    shots, config = gathered.shots, predictor.plan.config
    alone = [shot.result for shot in shots]
    like = likeness(alone) if category_of(config.category).detector == "face" else np.ones((len(alone),) * 2)
    symmetric = any(config.schedule.flip3)
    joint = _fitted(shots, _of_others(like), symmetric=symmetric)
    settings = predictor.settings
    pixels = np.median([shot.pixels for shot in itertools.compress(shots, joint.used)])
    if joint.better and pixels >= _FINER and not config.data.crop:
        camera = joint_refinement.enlarged_camera(alone[0].camera, _FINER)
        region, alone = alone[0].mask, [_enlarged(shot, camera) for shot in shots]
        joint = joint_refinement.refine(
            joint, *_pictures(shots, alone), region, camera, symmetric=symmetric, fit=_joint_fit
        )
        settings = changed(settings, camera=camera)
    different = bool(_of_others(like[np.ix_(joint.used, joint.used)]).mean() < _LIKE)
    angles = np.where(joint.used, np.linalg.norm(joint.views[:, :2], axis=1), np.inf)
    order = sorted(range(len(shots)), key=lambda k: (k != int(np.argmin(angles)), k))
    photographs = tuple(
        Photograph(
            name=shots[k].name,
            signed_image=alone[k].signed_image,
            mask=alone[k].input_mask,
            view=joint.views[k],
            size=float(joint.sizes[k]),
            light=joint.lights[k],
            errors=(float(joint.errors[k, 0]), float(joint.errors[k, 1]))
            if np.isfinite(joint.errors[k]).all()
            else None,
            used=bool(joint.used[k]),
        )
        for k in order
    )
    front = alone[order[0]]
    view = photographs[0].seen_from(front.camera)
    inputs = joint.depth, front.signed_albedo, view, front.light
    input_depth, picture, valid, canonical = map(np.asarray, _drawn(*map(jnp.asarray, inputs), settings=settings))
    differs = np.abs(picture - front.signed_image).mean(-1)
    l1 = float((differs * valid).sum() / max(valid.sum(), 1))
    told = _told(gathered, joint, front, photographs, predictor, different=different)
    result = dataclasses.replace(
        front,
        name=name,
        depth=joint.depth,
        view=view,
        input_depth=input_depth,
        reconstruction=picture,
        canonical=canonical,
        photographs=photographs,
        metrics=front.metrics | {"reconstruction_l1": l1} | told,
    )
    return result, [shots[k] for k in order]


def _of_others(like: Float[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Returns how like each object is to the others, on average; one alone is like itself."""
    return (like.sum(axis=1) - 1) / (len(like) - 1) if len(like) > 1 else np.ones(1)


def _fitted(shots: Sequence[Shot], like: Float[np.ndarray, " k"], *, symmetric: bool) -> Joint:
    """Returns the joint fit to what the model makes of each photograph; of a single one, only that."""
    alone = [shot.result for shot in shots]
    start = np.stack([result.depth for result in alone]).mean(axis=0)
    views = np.stack([result.view for result in alone])
    if len(alone) > 1:
        known = start, views, *_pictures(shots, alone), alone[0].mask, alone[0].camera
        return joint_refinement.reconstruct(*known, symmetric=symmetric, likeness=like, fit=_joint_fit)
    light = np.zeros((1, 9, 3), np.float32)
    light[:, 0] = 1
    albedo, unknown = alone[0].albedo, np.full((1, 2), np.nan, np.float32)
    return Joint(start, views, np.zeros(1, np.float32), albedo, light, np.ones(1, bool), False, 0.0, unknown)


def _pictures(
    shots: Sequence[Shot], alone: Sequence[Reconstruction]
) -> tuple[Float[np.ndarray, "k s s 3"], Float[np.ndarray, "k s s"]]:
    """Returns photographs and masks for a joint fit.

    Outlines count in photographs that came with a mask: one that was found misses hair too often.
    """
    images, masks = (np.stack([getattr(result, key) for result in alone]) for key in ("image", "input_mask"))
    masks[[shot.subject is not None and shot.subject.mask_source not in _KNOWN for shot in shots]] = 1
    return images, masks


def _enlarged(shot: Shot, camera: Camera) -> Reconstruction:
    """Returns what the model makes of a photograph with more pixels, of which only those of the photograph are new."""
    result, larger = shot.result, dict[str, Any]()
    for name in ("mask", "input_mask", "uncertainty", "signed_albedo", "canonical", "reconstruction", "gan_image"):
        if (values := getattr(result, name)) is not None:
            larger[name] = resample.resize(values.reshape(*values.shape[:2], -1), camera.image_size).squeeze()
    for name in ("depth", "input_depth"):
        larger[name] = joint_refinement.enlarged_depth(getattr(result, name), camera)
    picture = 2 * shot.crop(camera.image_size) - 1
    return dataclasses.replace(result, camera=camera, signed_image=picture, true_depth=None, **larger)


@program_cache.jit
def _drawn(
    depth: Float[Array, "s s"],
    albedo: Float[Array, "s s 3"],
    view: Float[Array, "6"],
    light: Float[Array, "4"],
    *,
    settings: Settings,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns depth and picture in a view, where they are known, and the lit texture in the canonical frame."""
    geometry = scene(depth[None], view[None], light[None], settings)
    shading, _ = shade(normals(depth, settings.camera, unit=settings.unit_normals), light)
    lit = jnp.clip(apply_shading(albedo, shading), -1, 1)
    return geometry.warped[0, 0], appearance(geometry, albedo[None])[0, 0], geometry.valid[0], lit


def _told(
    gathered: Gathered,
    joint: Joint,
    front: Reconstruction,
    photographs: Sequence[Photograph],
    predictor: Predictor,
    *,
    different: bool,
) -> dict[str, Any]:
    """Returns the metrics that several photographs change: `photographs`, and `trust` where it is known."""
    config = predictor.plan.config
    kind, used = str(category_of(config.category)), [one for one in photographs if one.used]
    strangers = [f"{one.name} does not show the same {kind}" for one in photographs if not one.used]
    left_out = [*gathered.left_out, *strangers]
    facts = {"given": gathered.given, "used": len(used), "left_out": left_out}
    known = [one.errors for one in used if one.errors is not None]
    if known:
        start, fitted = np.mean(known, axis=0).tolist()
        facts |= {"better": joint.better, "spread_deg": joint.spread_deg, "error_start": start, "error": fitted}
    said = _sentences(gathered, joint, len(used), config.category, left_out)
    if different:
        said += "; they may show different people: look at them yourself"
    if not (trust := front.metrics.get("trust")):
        return {"photographs": facts}
    record = predictor.grader.record
    told = judge.verdict(
        trust["category"],
        trust["measured"],
        kind=kind,
        side=None if record is None else record.side,
        widths=judge.widths(front.camera),
        own=joint.better and joint.spread_deg >= _ALIKE_DEG and not different,
        worse=bool(front.metrics.get("worse_than_prior")),
    )
    told["verdict"] += f"; {said}"
    return {"photographs": facts, "trust": trust | told | {"photographs": said}}


def _sentences(gathered: Gathered, joint: Joint, used: int, category: str, left_out: Sequence[str]) -> str:
    """Returns what several photographs gave a shape, which were left out, and what to do where they are too alike."""
    said = f"from {used} of {gathered.given} photograph{'s' * (gathered.given > 1)}"
    if used == 1:
        said += ": one alone does not tell a shape"
    elif not joint.better:
        said += ", which do not tell the shape better than the model alone does"
    if used > 1 and joint.spread_deg < _ALIKE_DEG:
        turn = "turn the head" if category_of(category).detector == "face" else "take some from other sides"
        said += f"; {turn}: nothing here is seen from the side"
    if left_out:
        said += f"; {'; '.join(left_out[:_TOLD])}"
        said += f"; {len(left_out) - _TOLD} more were left out" if len(left_out) > _TOLD else ""
    return said


def textured(result: Reconstruction, shots: Sequence[Shot], *, mirror: bool) -> tuple[Reconstruction, dict[str, Any]]:
    """Returns the result of `reconstruct` with one texture from its photographs, and the files that go with that.

    `shots` are in the order of the result's `photographs`. How much of the texture is from which, the metrics tell.
    """
    used = [(shot, one) for shot, one in zip(shots, result.photographs, strict=True) if one.used]
    seen = [_seen(*each) for each in used]
    texture = texture_from_all(result, seen, mirror=mirror)
    shares = {one.name: round(float(share), 3) for (_, one), share in zip(used, texture.shares)}
    facts = result.metrics["photographs"] | {"texture_shares": shares}
    result = dataclasses.replace(result, metrics=result.metrics | {"photographs": facts})
    front = shots[0]
    assert front.source is not None and front.subject is not None
    return photo_textured(result, np.asarray(front.source.open().picture), texture, front.subject.box)


def _seen(shot: Shot, photograph: Photograph) -> Seen:
    """Returns a photograph for the texture, of which only what is around the object is kept."""
    assert shot.source is not None and shot.subject is not None
    pixels, box = np.asarray(shot.source.open().picture), shot.subject.box
    (top, below), (left, right) = (
        (max(math.floor(middle - box.side), 0), math.ceil(middle + box.side)) for middle in (box.y, box.x)
    )
    moved = dataclasses.replace(box, x=box.x - left, y=box.y - top)
    around = np.ascontiguousarray(pixels[top:below, left:right])
    return Seen(around, moved, photograph.view, photograph.size, photograph.mask)
