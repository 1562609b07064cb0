"""What an actor does with a batch of photos: fetches them, makes results as `photo` does, writes these to storage.

OUT/results/NAME/, OUT/photos/   as `gan2shape-jax photo` writes them (apps/photo/folder.py)
OUT/done/NAME.json               that all of a photo is there, and what the table and the page say of it; written last
"""

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gan2shape_jax.apps.cluster import engine
from gan2shape_jax.apps.cluster.storage import Storage, in_words
from gan2shape_jax.apps.photo.folder import FOLDER, Prepared, Request, config_of, make_results, parts_of, prepare
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.io.image_files import LARGEST_FILE
from gan2shape_jax.photos.find import NoDetectionError
from gan2shape_jax.photos.judge import row_of
from gan2shape_jax.photos.pipeline import load_photo_model, load_refiner

DONE = "done"  # the folder of records
_FETCHED = pathlib.Path("..", "fetched")
_OF_RUN = ("config.json", "versions.json")


def photo_maker(task: Mapping[str, Any]) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Loads what finds and crops objects; returns the function that makes a batch of photos."""
    (work := engine.scratch() / "run").mkdir()
    os.chdir(work)  # the paths in a result's `config.json` are the same in every actor
    pathlib.Path("kind.json").write_text(task["kind"])
    folder = pathlib.Path(task["folder"])
    kind, out = read_config(pathlib.Path("kind.json")), Storage.at(task["out"])
    config, model = config_of(kind, folder, refine=task["refine"]), load_photo_model(kind, log=lambda line: None)
    refiner = load_refiner(kind) if task["refine"] else None

    def make(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: dict[str, list[Prepared]] = {}
        refused: dict[str, UserError] = {}
        for item in items:
            local = _local(item)
            try:
                _fetch(item, local)
                request = Request(local, item["name"], anyway=task["anyway"], source=item["path"])
                found[item["name"]] = prepare(request, config, model.finder)
            except FatalRunError:
                raise
            except UserError as error:
                refused[item["name"]] = error
        every = [photo for photos in found.values() for photo in photos]
        failed = make_results(config, every, model, refiner, texture=task["texture"])
        answers = []
        for item in items:
            name = item["name"]
            answers.append(_answer(item, task, found.get(name, []), failed, refused.get(name)))
            answers[-1]["limit"] = model.finder.limit_words(len(found.get(name, []))).removeprefix("; ")
            _put(out, folder, answers[-1])
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(_FETCHED, ignore_errors=True)
        return answers

    return make


def _local(item: Mapping[str, Any]) -> pathlib.Path:
    """Returns where a photo is fetched to; the file's name, since messages have it."""
    return _FETCHED / item["name"] / pathlib.PurePosixPath(item["path"]).name


def _fetch(item: Mapping[str, Any], local: pathlib.Path) -> None:
    """Copies a photo to this machine; raises `UserError` if that fails or it is too large."""
    path, size = item["path"], item["version"][0]
    if size > LARGEST_FILE:
        raise UserError(f"{path} has {size:,} bytes: at most {LARGEST_FILE:,} are read")
    place = Storage.at(path)
    local.parent.mkdir(parents=True, exist_ok=True)
    with in_words(f"{path} cannot be read"):
        place.fs.get_file(place.root, str(local))


def _answer(
    item: Mapping[str, Any],
    task: Mapping[str, Any],
    photos: Sequence[Prepared],
    failed: Mapping[str, str],
    refused: UserError | None,
) -> dict[str, Any]:
    """Returns the record of a photo: the names of its results, and why others failed."""
    answer = {"name": item["name"], "path": item["path"], "version": item["version"], "made_with": task["made_with"]}
    answer |= {"before": item["before"], "undetected": isinstance(refused, NoDetectionError)}
    answer["used"] = refused is None
    answer["failed"] = {photo.name: failed[photo.name] for photo in photos if photo.name in failed}
    if refused is not None:
        answer["failed"] = {item["name"]: str(refused).replace(str(_local(item)), item["path"])}
    return answer | {"results": {photo.name: {} for photo in photos if photo.name not in failed}}


def _put(out: Storage, folder: pathlib.Path, answer: dict[str, Any]) -> None:
    """Writes a photo's results from a folder to the storage, and then its record, with what the table says of them.

    A photo without results keeps those that it had before, and only the drawing of what was searched is written.
    """
    name, before = answer["name"], answer.pop("before")
    if not answer["results"]:
        drawing = f"{FOLDER}/framing/{name}.jpg"
        out.write({drawing: (folder / drawing).read_bytes()} if (folder / drawing).is_file() else {})
        return
    out.remove([f"{DONE}/{name}.json", *(f"results/{result}" for result in before)])
    files = [*_OF_RUN]
    for result in answer["results"]:
        made = sorted(path for path in (folder / "results" / result).rglob("*") if path.is_file())
        row = row_of(result, folder / "results" / result)
        sizes = {path.name: path.stat().st_size for path in made}
        answer["results"][result] = {"status": row.status, "metrics": row.metrics, "sizes": sizes}
        files += [path.relative_to(folder).as_posix() for path in made]
        files += [f"{FOLDER}/{part}" for part in parts_of(result)] + [f"latents/{result}.npy"]
    out.write({file: (folder / file).read_bytes() for file in files if (folder / file).is_file()})
    out.write({f"{DONE}/{name}.json": (json.dumps(answer, sort_keys=True) + "\n").encode()})
