"""`photo --cluster ray`: lists what there is to do, has a cluster do it, and writes table and pages of all results.

An actor fetches photos, makes results as `photo` does, and writes these to storage; last OUT/done/NAME.json: that all
of a photo is there, and what the table and the page say of it.

Files are wherever fsspec finds them. Object storage has neither locks nor folders that appear as a whole: what belongs
together is written first, then a record that names it; what no record names does not count, and is overwritten.
"""

import argparse
import contextlib
import dataclasses
import glob
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import fsspec
from ml_collections import ConfigDict

from gan2shape_jax.apps.cluster import engine
from gan2shape_jax.apps.photo import folder as photo_folder
from gan2shape_jax.apps.photo import naming
from gan2shape_jax.config import flatten, set_field, to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import FatalRunError, UserError, message_line, one_line
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.image_files import ENDINGS, LARGEST_FILE
from gan2shape_jax.io.image_lists import natural_key
from gan2shape_jax.io.output_folders import MARKER, RUN, require_output_folder
from gan2shape_jax.io.weights import listed
from gan2shape_jax.photos import judge
from gan2shape_jax.photos.explain import load_kind
from gan2shape_jax.photos.find import NoDetectionError, Request
from gan2shape_jax.photos.pipeline import load_photo_model
from gan2shape_jax.plan.identity import digest
from gan2shape_jax.results import Entry, Row, in_pages, page_name, page_text, print_table, write_table
from gan2shape_jax.results.outputs import FRAGMENT
from gan2shape_jax.results.page import DRAWINGS
from gan2shape_jax.run import lock
from gan2shape_jax.run.folder import is_result

_AT_ONCE = 32  # files that are read, or removed
_PRINTED = 50  # rows of the table that are printed
_FAILURES = "failures.json"
_NONE: dict[str, Any] = {"results": {}}  # the record of a photo that has none
_MAKER = f"{__name__}:photo_maker"
_DONE = "done"  # the folder of records
_FETCHED = pathlib.Path("..", "fetched")
_OF_RUN = ("config.json", "versions.json")

Log = Callable[[str], None]


def is_remote(address: str | os.PathLike[str]) -> bool:
    """Returns whether an address is a URL such as s3://bucket/photos, not a path of this machine."""
    return "://" in os.fspath(address)


@contextlib.contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turns whatever the libraries behind fsspec raise, each its own, into a `UserError` that begins with `what`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {message_line(str(error)) or type(error).__name__}") from error


@dataclasses.dataclass(frozen=True)
class Storage:
    """A folder, or the objects whose names begin with a prefix; paths are relative to it, with slashes."""

    address: str  # as the user wrote it: a path, or a URL
    fs: Any  # fsspec's file system
    root: str  # the address as the file system knows it

    @classmethod
    def at(cls, address: str | os.PathLike[str]) -> "Storage":
        """Returns the storage at a path or URL; raises `UserError` if a library for it is missing."""
        address = os.fspath(address)
        if not is_remote(address):  # fsspec would take a::b for a chain of URLs, and ~b for a home
            return cls(address.rstrip("/"), fsspec.filesystem("file"), os.path.abspath(address))
        with in_words(address):
            fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        return cls(address.rstrip("/"), fs, root.rstrip("/"))

    @property
    def folder(self) -> pathlib.Path | None:
        """The folder on this machine, or one that machines share; None for object storage."""
        return None if is_remote(self.address) else pathlib.Path(self.root)

    def path(self, name: str) -> str:
        """Returns a file's path as the file system knows it."""
        return f"{self.root}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Returns the files below a folder, or the file, sorted, as paths in this storage; [] if there is none."""
        place = self.path(folder).rstrip("/")
        with in_words(f"{self.address} cannot be listed"), contextlib.suppress(FileNotFoundError):
            return sorted(path.removeprefix(f"{self.root}/") for path in self.fs.find(place))
        return []

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Returns the contents of those files that are there."""

        def read_one(name: str) -> tuple[str, bytes | None]:
            # Not `cat`, nor `rm` below, which take a name such as a[1].json for a pattern.
            try:
                return name, self.fs.cat_file(self.path(name))
            except FileNotFoundError:
                return name, None

        with in_words(f"{self.address} cannot be read"), futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            return {name: content for name, content in pool.map(read_one, names) if content is not None}

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files, each whole or not at all, in the order given or at once."""
        with in_words(f"{self.address} cannot be written"):
            if self.folder is None:
                self.fs.pipe({self.path(name): content for name, content in files.items()})
                return
            for name, content in files.items():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                atomic_bytes(self.folder / name, content)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, and those in folders; what is not there is passed over."""
        files = [file for name in names for file in self.names(name)]
        with in_words(f"{self.address} cannot be written"), futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: self.fs.rm_file(self.path(file)), files))

    def records(self, folder: str) -> dict[str, dict[str, Any]]:
        """Returns the JSON objects in a folder, by their names without the ending; unreadable ones are passed over."""
        records = {}
        for name, content in self.read(name for name in self.names(folder) if name.endswith(".json")).items():
            with contextlib.suppress(ValueError):
                if isinstance(record := json.loads(content), dict):
                    records[name.removeprefix(f"{folder}/").removesuffix(".json")] = record
        return records


def run_photos(options: argparse.Namespace, *, log: Log) -> int:
    """Runs `gan2shape-jax photo ... --cluster ray`; returns the exit status, as `photo` does."""
    out = Storage.at(options.out)
    found = dict(_expand(options.photos, log=log))
    with _held(out):
        records = out.records(_DONE)
        kind = _everywhere(load_kind(options.model))
        made_in = photo_folder.PhotoFolder(photo_folder.config_of(kind, pathlib.Path(), refine=options.refine))
        if options.refine:
            log(photo_folder.refinement_line(made_in.config))
        task = {
            "kind": to_json(kind),
            "folder": pathlib.PurePosixPath(out.root).name or "results",
            "out": out.address if out.folder is None else out.root,
            "refine": options.refine,
            "anyway": options.anyway,
            "texture": options.texture,
            "made_with": digest([made_in.identity.fingerprint, made_in.identity.drawing]),
        }
        taken = {} if out.folder is None else photo_folder.names_in(out.folder)
        taken |= {name: record["path"] for name, record in records.items()}
        taken = {name: _key(path) for name, path in taken.items()}
        names = naming.names_for([pathlib.Path(_key(path)) for path in found], taken)
        items = [
            {"name": name, "path": path, "version": found[path], "before": list(records.get(name, _NONE)["results"])}
            for name, path in zip(names, found, strict=True)
        ]
        return _drive(out, task, items, records, log)


def _expand(arguments: Sequence[str], *, log: Log) -> Iterator[tuple[str, list[Any]]]:
    """Yields the photos that the arguments name, with what tells a changed file, as `naming.expand` finds them."""
    for argument in arguments:
        if not is_remote(argument):
            for path in naming.expand([argument], say=log):
                yield naming.place_of(path), list(photo_folder.version_of(path) or (0, 0))
            continue
        place = Storage.at(argument)
        with in_words(f"{argument} cannot be listed"):
            if glob.has_magic(argument) and not place.fs.exists(place.root):
                there = place.fs.glob(place.root, detail=True)
            elif place.fs.isdir(place.root):
                there = {info["name"]: info for info in place.fs.ls(place.root, detail=True)}
            elif place.fs.exists(place.root):
                yield place.fs.unstrip_protocol(place.root), _version(place.fs.info(place.root))
                continue
            else:
                raise UserError(f"there is no photo {argument}: check the address")
        is_photo = {path: info["type"] == "file" and path.lower().endswith(ENDINGS) for path, info in there.items()}
        if others := [path.rsplit("/", 1)[-1] for path in sorted(there) if not is_photo[path]]:
            log(f"{argument}: {len(others)} that are not pictures were skipped: {listed(others, 10)}")
        if not any(is_photo.values()):
            raise UserError(f"{argument} holds no picture file ({', '.join(ENDINGS)})")
        for path in sorted((path for path in there if is_photo[path]), key=natural_key):
            yield place.fs.unstrip_protocol(path), _version(there[path])


def _version(info: Mapping[str, Any]) -> list[Any]:
    """Returns the size in bytes of an object, and what differs once it was replaced."""
    marks = (info.get(key) for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified"))
    return [int(info["size"]), str(next(filter(None, marks), ""))]


def _key(path: str) -> str:
    """Returns a path for a photo's address, for names to be made from."""
    return "/" + path.replace("://", "/", 1) if is_remote(path) else path


def _everywhere(kind: ConfigDict) -> ConfigDict:
    """Returns the configuration with the paths of files that exist made absolute: an actor runs in another folder."""
    kind = kind.copy_and_resolve_references().unlock()
    for field, value in flatten(json.loads(to_json(kind))).items():
        if isinstance(value, str) and value and "/" in value and pathlib.Path(value).is_file():
            set_field(kind, field, str(pathlib.Path(value).absolute()))
    return kind.lock()


@contextlib.contextmanager
def _held(out: Storage) -> Iterator[None]:
    """Locks the folder of the results; object storage has no locks, and is marked.

    Two commands that write to the same place there do the same work twice, and write the same.
    """
    if out.folder is not None:
        require_output_folder(out.folder, RUN)
        with lock.hold(out.folder):
            yield
        return
    if out.read([MARKER]):
        kind = json.loads(out.read([MARKER])[MARKER]).get("kind")
        if kind != RUN:
            raise UserError(f"--out {out.address} holds something else: name another folder")
    elif there := out.names():
        raise UserError(
            f"--out {out.address} holds files that this program did not write ({listed(there, 3)}): name a new folder "
            "or an empty one; nothing was changed"
        )
    out.write({MARKER: f"{json.dumps({'kind': RUN})}\n".encode()})
    yield


def _drive(
    out: Storage,
    task: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    records: dict[str, dict[str, Any]],
    log: Log,
) -> int:
    """Has a cluster make what is left of the items; returns the exit status: 1 if one failed, or none was made."""
    left = [item for item in items if not _is_done(records.get(item["name"]), item, task)]
    if len(left) < len(items):
        log(f"{len(items) - len(left):,} of {len(items):,} were finished earlier and are skipped")
    own = {item["name"] for item in items}

    def is_own(name: str) -> bool:
        return name in own or naming.NUMBER.sub("", name) in own

    failed = {name: why for name, why in _failures(out).items() if not is_own(name)}
    at_once = 1 if task["refine"] else engine.AT_ONCE
    unusable = False
    try:
        answers = engine.answers(_MAKER, task, left, at_once=at_once, log=log) if left else ()
        for count, answer in enumerate(answers, start=1):
            made = {name: result["status"] for name, result in answer.get("results", {}).items()}
            if made:
                records[answer["name"]] = answer
            unmade = "failed" if answer.get("used", True) else "not used"
            failures = {name: f"{unmade}: {why}" for name, why in answer["failed"].items()}
            failed |= failures
            unusable |= bool(failures) and not answer.get("undetected")
            for name, status in (made | failures).items():
                log(f"{count:,} of {len(left):,}: {name}: {status}")
            if limit := answer.get("limit"):
                log(f"{answer['name']}: {limit}")
    finally:
        rows = _rows(out, records, failed)
        _write_tables(out, rows, failed)
    _write_pages(out, rows, records)
    rows = [row for row in rows if is_own(row.name)]
    done = sum(row.metrics != {} for row in rows)
    if len(rows) <= _PRINTED:
        print_table(rows)
    print(one_line(f"{done:,} results, {len(rows) - done:,} not made; page: {out.address}/index.html"))
    return int(unusable or not done)


def _is_done(record: Mapping[str, Any] | None, item: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    """Returns whether a record is of the same photo, made with the same configuration, and whole."""
    if not record or record.get("failed"):
        return False
    return (record.get("version"), record.get("made_with")) == (item["version"], task["made_with"])


def _failures(out: Storage) -> dict[str, str]:
    """Returns why photos of earlier commands have no result, as a status."""
    with contextlib.suppress(ValueError, KeyError, AttributeError):
        return {str(name): str(why) for name, why in json.loads(out.read([_FAILURES])[_FAILURES]).items()}
    return {}


def _rows(out: Storage, records: Mapping[str, Any], failed: Mapping[str, str]) -> list[Row]:
    """Returns the table: every result in the storage, and every failure, in their names' natural order."""
    rows = {name: Row(name, status) for name, status in failed.items()}
    if out.folder is not None:  # results that `photo` has put there without a cluster
        others = [name for name in photo_folder.records_in(out.folder) if is_result(out.folder / "results" / name)]
        rows |= {name: judge.row_of(name, out.folder / "results" / name) for name in others}
    for record in records.values():
        rows |= {name: Row(name, told["status"], told["metrics"]) for name, told in record["results"].items()}
    return [rows[name] for name in sorted(rows, key=natural_key)]


def _write_tables(out: Storage, rows: Sequence[Row], failed: Mapping[str, str]) -> None:
    """Writes what is said of all results in a few files, and the list of their crops, which evaluating them reads."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        write_table(folder, rows)
        photo_folder.write_list(folder, [row.name for row in rows if row.metrics])
        out.write({name: (folder / name).read_bytes() for name in ("results.csv", "results.md")})
        out.write({f"{photo_folder.FOLDER}/list.txt": (folder / "list.txt").read_bytes()})
    if failed:
        out.write({_FAILURES: f"{json.dumps(failed, indent=2)}\n".encode()})
    else:
        out.remove([_FAILURES])


def _write_pages(out: Storage, rows: Sequence[Row], records: Mapping[str, Any]) -> None:
    """Writes the pages; of object storage, what a page shows of each result is fetched, a page at a time."""
    sizes = {name: told["sizes"] for record in records.values() for name, told in record["results"].items()}
    for number, part in enumerate(parts := list(in_pages(rows))):
        with tempfile.TemporaryDirectory() as scratch:
            folder = out.folder or pathlib.Path(scratch)
            if out.folder is None:
                shown = [
                    f"results/{row.name}/{FRAGMENT}" if row.metrics else f"{DRAWINGS}/{row.name}.jpg" for row in part
                ]
                for name, content in out.read(shown).items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content)
            entries = [
                Entry(row, folder / "results" / row.name, f"results/{row.name}", sizes.get(row.name)) for row in part
            ]
            text = page_text(entries, title="Reconstructions", pages=(number, len(parts), len(rows)))
        out.write({page_name(number): text.encode()})


def photo_maker(task: Mapping[str, Any]) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Loads what finds and crops objects; returns the function that makes a batch of photos."""
    (work := engine.scratch() / "run").mkdir()
    os.chdir(work)  # the paths in a result's `config.json` are the same in every actor
    pathlib.Path("kind.json").write_text(task["kind"])
    folder = pathlib.Path(task["folder"])
    kind, out = read_config(pathlib.Path("kind.json")), Storage.at(task["out"])
    made_in = photo_folder.PhotoFolder(photo_folder.config_of(kind, folder, refine=task["refine"]))
    model = load_photo_model(kind, log=lambda line: None, refine=task["refine"])

    def make(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: dict[str, list[photo_folder.Prepared]] = {}
        refused: dict[str, UserError] = {}
        for item in items:
            try:
                _fetch(item, local := _local(item))
                request = Request(local, item["name"], anyway=task["anyway"], source=item["path"])
                found[item["name"]] = photo_folder.prepare(request, made_in, model.finder)
            except FatalRunError:
                raise
            except UserError as error:
                refused[item["name"]] = error
        with made_in.work(model, texture=task["texture"]) as work:
            undetected = work.make([photo for photos in found.values() for photo in photos])
        answers = []
        for item in items:
            names = [photo.name for photo in found.get(item["name"], [])]
            used = [name for name in names if name not in undetected]
            why = refused.get(item["name"]) or (undetected[names[0]] if names and not used else None)
            failed = {name: work.items.failures[name] for name in used if name in work.items.failures}
            answer: dict[str, Any] = {
                **item,
                "made_with": task["made_with"],
                "undetected": isinstance(why, NoDetectionError),
                "used": why is None,
                "failed": failed if why is None else {item["name"]: str(why).replace(str(_local(item)), item["path"])},
                "results": {name: {} for name in used if name not in failed},
                "limit": model.finder.limit_words(len(names)).removeprefix("; "),
            }
            _put(out, folder, answer)
            answers.append(answer)
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


def _put(out: Storage, folder: pathlib.Path, answer: dict[str, Any]) -> None:
    """Writes a photo's results from a folder to the storage, and then its record, with what the table says of them.

    A photo without results keeps those that it had before, and only the drawing of what was searched is written.
    """
    name, before = answer["name"], answer.pop("before")
    if not answer["results"]:
        drawing = f"{photo_folder.FOLDER}/framing/{name}.jpg"
        out.write({drawing: (folder / drawing).read_bytes()} if (folder / drawing).is_file() else {})
        return
    out.remove([f"{_DONE}/{name}.json", *(f"results/{result}" for result in before)])
    files = [*_OF_RUN]
    for result in answer["results"]:
        made = sorted(path for path in (folder / "results" / result).rglob("*") if path.is_file())
        row = judge.row_of(result, folder / "results" / result)
        sizes = {path.name: path.stat().st_size for path in made}
        answer["results"][result] = {"status": row.status, "metrics": row.metrics, "sizes": sizes}
        files += [path.relative_to(folder).as_posix() for path in made]
        files += [f"{photo_folder.FOLDER}/{part}" for part in photo_folder.parts_of(result)] + [f"latents/{result}.npy"]
    out.write({file: (folder / file).read_bytes() for file in files if (folder / file).is_file()})
    out.write({f"{_DONE}/{name}.json": (json.dumps(answer, sort_keys=True) + "\n").encode()})
