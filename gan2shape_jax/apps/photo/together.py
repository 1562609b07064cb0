"""`gan2shape-jax photo --together`: one result of one object in several photographs.

It lies in OUT/results/NAME like that of a single photo, and what is kept of the photographs below OUT/photos:

    image/NAME.png, mask/NAME.png   crop and mask of the photograph that was taken most from in front
    framing/NAME.jpg                all photographs that are shown, each with the crop and the object's outline
    NAME.json                       where all of it comes from
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from gan2shape_jax.apps.photo import folder, naming
from gan2shape_jax.apps.photo.folder import PhotoFolder, Work
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import read_object
from gan2shape_jax.photos import together
from gan2shape_jax.photos.frames import is_video
from gan2shape_jax.photos.maps import photo_maps
from gan2shape_jax.photos.together import Gathered, Shot, Source
from gan2shape_jax.results.pictures import encoded, strip
from gan2shape_jax.run import images
from gan2shape_jax.training.resume import Decision

_FRAMED = 320  # pixels per side of a photograph in the drawing of all
_IN_A_ROW = 6


def name_of(argument: str, path: pathlib.Path, out: pathlib.Path) -> tuple[str, pathlib.Path]:
    """Returns what a result is filed under and its place, by the first argument and the first photo of it.

    It is the folder's or video's name, or that of the photo with `-together`, which may have a result of its own.
    """
    place = pathlib.Path(argument)
    if not place.is_dir() and not is_video(place):
        place = path.with_name(f"{path.stem}-together")
    place = pathlib.Path(place.resolve())
    return naming.names_for([place], folder.names_in(out))[0], place


def digest_of(sources: Sequence[Source]) -> str:
    """Returns what a set of photographs is known again by, in any order."""
    return hashlib.sha256("\n".join(sorted({source.digest for source in sources})).encode()).hexdigest()


def decided(photo_folder: PhotoFolder, name: str, digest: str) -> Decision:
    """Returns what happens to the result of these photographs."""
    record = photo_folder.photos / f"{name}.json"
    return photo_folder.decided(name, lambda: read_object(record, "the record of a photo")["photo"]["sha256"] == digest)


def make(work: Work, gathered: Gathered, name: str, place: pathlib.Path, digest: str) -> dict[str, bytes]:
    """Makes the result of photographs and puts it in its place; returns what is kept of the photographs.

    Raises `UserError` if it cannot be made.
    """
    model = work.model
    try:
        result, shots = together.reconstruct(gathered, model.predictor, name=name)
        result, files = folder.sized(result, work.eyes), dict[str, Any]()
        if work.texture:
            result, files = together.textured(result, shots, mirror=model.mirror)
        if work.maps:
            assert shots[0].source is not None and shots[0].subject is not None
            files |= photo_maps(result, np.asarray(shots[0].source.open().picture), shots[0].subject.box)
        parts = _parts(name, place, digest, gathered, shots)
        work.folder.put(name, result, files, parts)
    except images.FAILURES as error:
        raise UserError(images.failures_of([name], error)[name]) from error
    work.items.expect([name])
    return parts


def _parts(name: str, place: pathlib.Path, digest: str, gathered: Gathered, shots: Sequence[Shot]) -> dict[str, bytes]:
    """Returns what is kept of photographs besides their result; the first is the one that it shows."""
    framed, photographs = list[np.ndarray](), list[dict[str, Any]]()
    for shot in shots:
        assert shot.source is not None and shot.subject is not None
        picture, subject = shot.source.open(), shot.subject
        drawing = folder.framing_picture(np.asarray(picture.picture), [subject.box], 0, subject.mask / 255)
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
