"""The files of photos: what a run reads of each, the record of where it comes from, and results put in their place.

OUT/photos/image/NAME.png     the crop, as the GAN frames such objects
OUT/photos/mask/NAME.png      the object in it
OUT/photos/latent/NAME.npy    its latent, if one was given
OUT/photos/framing/NAME.jpg   the photo with the crop and the mask's outline drawn into it
OUT/photos/NAME.json          where all of it comes from
OUT/results/NAME/             the result, with the photo's own texture (apps/export/texture.py)
OUT/results/NAME/config.json  what the result was made with: a folder holds results of any models, refined or not
OUT/photos/.work/             the same of runs under way, until a result is complete and replaces an earlier one;
                              image_exposed/NAME.png is the crop as the networks see it
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io.files import (
    MISSING,
    atomic_bytes,
    atomic_folder,
    atomic_text,
    parsed,
    read_object,
    remove_folder,
    spare_unreadable,
)
from gan2shape_jax.results.files import replaceable
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.run.identity import digest, identity_of, read_identity
from gan2shape_jax.training.decision import Decision, There, Wanted, decide

FOLDER = "photos"


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


def work_folder(config: ConfigDict) -> pathlib.Path:
    """Returns the folder of the run that makes results before they are put in their place."""
    identity = identity_of(config)
    return pathlib.Path(config.workdir) / FOLDER / ".work" / digest([identity.fingerprint, identity.drawing])


def parts_of(name: str) -> list[str]:
    """Returns the files that a photo may have below `FOLDER`, the record last."""
    return [f"image/{name}.png", f"mask/{name}.png", f"framing/{name}.jpg", f"latent/{name}.npy", f"{name}.json"]


def write(work: pathlib.Path, name: str, files: Mapping[str, bytes]) -> None:
    """Writes a photo's files unless they are there; what an interrupted run has made of others is removed first."""
    if content_of(work, name) == files:
        return
    try:
        for stale in (work / "results" / name, work / "checkpoints" / name):
            remove_folder(stale)
        for stale in (work / "latents" / f"{name}.npy", work / f"latent/{name}.npy"):
            stale.unlink(missing_ok=True)
        for file, content in files.items():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            atomic_bytes(work / file, content)
    except OSError as error:
        raise refused(error, f"{work} cannot hold the files of {name}") from error


def content_of(folder: pathlib.Path, name: str) -> dict[str, bytes]:
    """Returns the files that are there of a photo."""
    return {part: (folder / part).read_bytes() for part in parts_of(name) if (folder / part).is_file()}


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


def decided(config: ConfigDict, name: str, files: Mapping[str, bytes]) -> Decision:
    """Returns what happens to a photo's result; `files` are its crop, mask, latent and record, as for `write`."""
    identity = identity_of(config)
    wanted = dict(identity.computed) | _facts(name, files)
    return decide(_there(config, name), Wanted(wanted, identity.drawing, replaces=True))


def _there(config: ConfigDict, name: str) -> There:
    """Returns what is there of a photo's result, which says itself what it was made with."""
    out, folder = pathlib.Path(config.workdir), RunFolder.at(config)
    if (there := folder.there(name)).state == "nothing":
        return there
    try:
        _, identity = read_identity(folder.result(name) / "config.json")
    except (OSError, UserError) as error:
        return dataclasses.replace(there, fault=str(error))
    made_with = dict(identity.computed) | _facts(name, content_of(out / FOLDER, name))
    return dataclasses.replace(there, made_with=made_with, drawing=identity.drawing)


def _facts(name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns the facts by which a photo's own files are known again; what made them is compared by itself."""
    facts: dict[str, Any] = {
        kind: hashlib.sha256(files[part]).hexdigest() if part in files else MISSING
        for kind, part in (
            ("image", f"image/{name}.png"),
            ("mask", f"mask/{name}.png"),
            ("latent", f"latent/{name}.npy"),
        )
    }
    with contextlib.suppress(ValueError, RecursionError):
        record = parsed(files.get(f"{name}.json", b"{}"))
        facts |= {f"photo's {key}": value for key, value in record.items() if key not in ("made_with", "mask")}
    return facts


def put(config: ConfigDict, name: str) -> None:
    """Puts a photo's files and result in their place, the record last; what was made of others goes."""
    out, work = pathlib.Path(config.workdir), work_folder(config)
    place, files = out / FOLDER, content_of(work, name)
    spare_unreadable(place / f"{name}.json", lambda path: read_object(path, "the record of a photo"))
    (place / f"{name}.json").unlink(missing_ok=True)
    with atomic_folder(out / "results" / name, replaces=replaceable(out / "results" / name)) as fresh:
        shutil.copytree(work / "results" / name, fresh, dirs_exist_ok=True)
    latent_file = work / "latents" / f"{name}.npy"
    latents = {out / "latents" / f"{name}.npy": latent_file.read_bytes()} if latent_file.is_file() else {}
    for part in parts_of(name):
        if part not in files:
            (place / part).unlink(missing_ok=True)
    for path, content in ({place / part: content for part, content in files.items()} | latents).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_bytes(path, content)
    write_list(place, records_in(out))  # which evaluating the results reads


def write_list(folder: pathlib.Path, names: Iterable[str]) -> None:
    """Writes the image list of photos, by their names."""
    quoted = (f"{name}.png".replace("\\", "\\\\").replace('"', '\\"') for name in names)
    atomic_text(folder / "list.txt", "".join(f'"{name}"\n' for name in quoted))
