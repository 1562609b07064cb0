"""`gan2shape-jax get`: published checkpoints by name, as files that a configuration names, in the user's cache.

Once the licence is agreed to, files are downloaded by pooch, or by hand, compared with their hash, unpacked from
archives and converted. `assets/published.toml` says what there is, and where that was found.

CACHE/gan2shape_jax/weights/
  NAME/               the files made from a checkpoint; record.json, which is written last, lists them
  downloads/          what is being downloaded
  unpacked/ARCHIVE/   files of an archive that serves several names
  .lock               held by the process that modifies any of this
"""

import argparse
import contextlib
import dataclasses
import functools
import gzip
import importlib
import importlib.util
import json
import pathlib
import shlex
import shutil
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

from gan2shape_jax.apps import option_types
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import FatalRunError, UserError, exit_code, install, io_error, one_line, printable
from gan2shape_jax.io.bundled import RECORD, asset, cache, cached_weights
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.files import (
    MIB,
    atomic_file,
    atomic_folder,
    atomic_text,
    clear_leftovers,
    open_regular,
    sha256,
)
from gan2shape_jax.io.output_folders import WEIGHTS
from gan2shape_jax.io.sandbox import run_limited
from gan2shape_jax.io.weights import listed, short

_MOST = 4096 * MIB  # bytes of a file in an archive: the most that readers of weight files accept
_UNPACKING = 1800  # seconds
_INSTALL = f"downloads are made by pooch, which is not installed: {install('get')}, or use --from"
_INTERRUPTED = "\ninterrupted; complete downloads are kept"
_ABOUT = (
    "Downloads a published checkpoint, checks its hash if one is known, converts it, stores it in the user's cache "
    "folder, and prints the arguments for a configuration."
)
_EPILOG = """\
examples:
  gan2shape-jax get --list
  gan2shape-jax get horse
  gan2shape-jax get horse --from Downloads/stylegan2-horse-config-f.pkl
  gan2shape-jax get lpips --agree              (in scripts)

The addresses were published by the checkpoints' authors. The authors of this program do not control them, and cannot
guarantee that they work. Downloaded code is never executed.
"""


@dataclasses.dataclass(frozen=True)
class Source:
    """A file published by others."""

    url: str
    file: str  # its name here
    found: str  # where address, size and hash were found, as letters of `FOUND`
    sha256: str = ""  # in hexadecimal, if a source gives it
    size: int | None = None  # bytes, if a source gives it
    by_hand: str = ""  # why no program can fetch it


@dataclasses.dataclass(frozen=True)
class Product:
    """A file that an entry provides for a configuration field."""

    field: str  # such as `gan.checkpoint`
    made_of: tuple[str, ...]  # names of sources, or members of the archive
    file: str  # its name; a `.safetensors` is converted, anything else is the single file that it is made of


@dataclasses.dataclass(frozen=True)
class Entry:
    """A checkpoint that can be obtained by its name."""

    name: str
    title: str
    licence: dict[str, str]  # that has to be agreed to: its makers' `title`, what it `says`, the `url` of all of it
    gives: tuple[Product, ...]
    sources: tuple[Source, ...]  # what is downloaded
    config: str = ""  # the bundled configuration that it serves
    also: Sequence[str] = ()  # other entries that this configuration needs
    archived: bool = False  # whether the sources are the parts of `ARCHIVE`, a gzipped tar archive for several entries


def _entry(name: str, title: str, licence: str, gives: list[Any], sources: list[str], **others: Any) -> Entry:
    products = tuple(Product(product["field"], tuple(product["made_of"]), product["file"]) for product in gives)
    return Entry(
        name, title, _PUBLISHED["licences"][licence], products, tuple(SOURCES[file] for file in sources), **others
    )


_PUBLISHED: dict[str, Any] = tomllib.loads(pathlib.Path(asset("published.toml")).read_text(encoding="utf-8"))
FOUND: dict[str, str] = _PUBLISHED["found"]
SOURCES = {file: Source(file=file, **facts) for file, facts in _PUBLISHED["sources"].items()}
ENTRIES = {name: _entry(name, **facts) for name, facts in _PUBLISHED["entries"].items()}
ARCHIVE = "gan2shape"  # the folder that its files are unpacked into
_ARCHIVED = [product for entry in ENTRIES.values() if entry.archived for product in entry.gives]
MEMBERS = tuple(sorted({member for product in _ARCHIVED for member in product.made_of}))  # names in the archive


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 after an error that has been printed."""
    parser = option_types.parser("get", _ABOUT, _EPILOG)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the checkpoint's name, as --list prints it")
    parser.add_argument("--list", action="store_true", help="show all checkpoints, their sizes, and which are here")
    parser.add_argument("--agree", action="store_true", help="agree to the licence without a question, for scripts")
    about = "use files downloaded by hand, all of the checkpoint in their order"
    path = option_types.path("--from")
    parser.add_argument("--from", dest="local_files", metavar="FILE", nargs="+", type=path, default=[], help=about)
    about = "where checkpoints are kept (default: gan2shape_jax/weights in the user's cache folder)"
    option_types.add_path(parser, "--folder", "FOLDER", about)
    return exit_code(lambda: _run(parser.parse_args(argv)), interrupted=_INTERRUPTED)


def _run(args: argparse.Namespace) -> None:
    folder = (args.folder or cache("weights")).absolute()
    if args.list:
        _list(folder)
        return
    if args.name is None:
        raise UserError("name a checkpoint; gan2shape-jax get --list shows what there is")
    if args.name not in ENTRIES:
        raise UserError(f"there is no checkpoint {short(args.name)}; there are {', '.join(ENTRIES)}")
    entry = ENTRIES[args.name]
    files = files_present(entry, folder)
    if files is None:
        print(f"{entry.name}: {entry.title} ({_size(entry)})")
        for source in entry.sources:
            hash_note = "SHA-256 known" if source.sha256 else "no hash is known: the file is recognised by its content"
            print(f"  {source.url} ({hash_note}; never tried from here)")
        print("Licence: " + "\n  ".join(entry.licence[part] for part in ("title", "says", "url")))
        for source in () if args.local_files else entry.sources:
            if source.by_hand:
                how = f"by hand ({source.by_hand}): open {source.url} in a browser, and name the file with --from"
                raise UserError(f"{source.file} must be downloaded {how}")
        if not args.agree:
            _ask(entry)
        files = obtain(entry, folder, local_files=args.local_files)
    _show_use(entry, files, folder)


def _list(folder: pathlib.Path) -> None:
    for entry in ENTRIES.values():
        here = ", here" if files_present(entry, folder) is not None else ""
        by_hand = ", by hand" if any(source.by_hand for source in entry.sources) else ""
        print(f"{entry.name:<20}{entry.title}")
        print(f"{'':<20}{_size(entry)}{by_hand}{here}; {entry.licence['title']}")
    print(f"\nKept in {printable(str(folder))}. Licences in full: gan2shape-jax get NAME shows where.")


def _ask(entry: Entry) -> None:
    """Asks whether the licence is agreed to; raises `UserError` if it is not."""
    if not (sys.stdin and sys.stdin.isatty()):
        how = "there is no terminal: read it, and add --agree"
        raise UserError(f"the licence of {entry.name} must be agreed to, and {how}")
    print(end="Do you agree to it? [y/N] ", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("the licence was not agreed to: nothing was downloaded")


def _size(entry: Entry) -> str:
    sizes = [source.size for source in entry.sources if source.size is not None]
    return f"{sum(sizes) / MIB:,.1f} MiB" if len(sizes) == len(entry.sources) else "size not known"


def _show_use(entry: Entry, files: dict[str, pathlib.Path], folder: pathlib.Path) -> None:
    """Prints the arguments that make a configuration use a checkpoint, and those for others that it needs."""
    print(f"\n{entry.name} is in {printable(str(folder / entry.name))}:")
    others = {name: files_present(ENTRIES[name], folder) for name in entry.also}
    arguments = [argument for files in (files, *others.values()) if files for argument in _arguments(entry, files)]
    if not entry.config:
        print("\n".join(f"  {printable(argument)}" for argument in arguments))
        return
    print("  gan2shape-jax " + " ".join([f"--config={entry.config}", *map(printable, arguments)]))
    if missing := [f"gan2shape-jax get {name}" for name, files in others.items() if files is None]:
        print(f"The configuration {entry.config} needs besides: {', '.join(missing)}")
    print("With --check at the end it says what else is missing, such as your images.")


def _arguments(entry: Entry, files: dict[str, pathlib.Path]) -> list[str]:
    """Returns the arguments for a checkpoint's files, and for fields where its GAN differs from the configuration."""
    arguments = [shlex.quote(f"--config.{field}={path}") for field, path in files.items()]
    if "gan.checkpoint" not in files:
        return arguments
    from gan2shape_jax.stylegan2 import read_header  # imports jax, which --list need not wait for

    arch, gan = read_header(files["gan.checkpoint"])[0], load_config(entry.config or "base").gan
    fields = {"size": arch.size, "style_dim": arch.style_dim, "F1_d": min(arch.mapping_layers, gan.F1_d)}
    if arch.size < 64 or arch.channels[4] != 256 * gan.channel_multiplier:
        fields["channel_multiplier"] = 0
    return arguments + [f"--config.gan.{name}={value}" for name, value in fields.items() if value != gan[name]]


def files_present(entry: Entry, folder: pathlib.Path) -> dict[str, pathlib.Path] | None:
    """Returns the files of a checkpoint by the fields that they are for; None unless all of them exist."""
    files = cached_weights(folder / entry.name)
    return files if files.keys() == {product.field for product in entry.gives} else None


def obtain(entry: Entry, folder: pathlib.Path, *, local_files: Sequence[pathlib.Path] = ()) -> dict[str, pathlib.Path]:
    """Returns the files of a checkpoint by the configuration fields that they are for; its licence is agreed to.

    `folder` is that of all checkpoints. `local_files` are files to use instead of downloads, in the entry's order; for
    an archive, it may be the joined one. Downloads are removed once they are converted.

    Raises `UserError` if a file cannot be obtained, is not the one published, or cannot be converted; then no partial
    file is kept.
    """
    from gan2shape_jax.run.lock import hold  # with JAX, which takes a second

    with hold(folder, WEIGHTS, option="--folder"):
        _clear(folder)
        unpacked, sources = folder / "unpacked" / ARCHIVE, dict[str, pathlib.Path]()
        if local_files:
            sources = _local_sources(entry, local_files)
        elif not (entry.archived and unpacked.is_dir()):
            sources = {source.file: fetch(source, folder / "downloads") for source in entry.sources}
        try:
            if entry.archived and (parts := [str(path) for path in sources.values()]):  # it serves all such entries
                with atomic_folder(unpacked, replaces=None) as fresh:
                    run_limited(unpack, parts, MEMBERS, str(fresh), memory=_MOST, seconds=_UNPACKING, source=parts[0])
            members = {name: unpacked / pathlib.PurePosixPath(name).name for name in MEMBERS}
            converted = _convert(entry, folder / entry.name, members if entry.archived else sources)
        except FatalRunError:
            raise
        except UserError:  # damage that no hash tells shows only in use: it is fetched again
            if entry.archived:
                shutil.rmtree(unpacked, ignore_errors=True)
            for source in () if local_files else entry.sources:
                if not source.sha256:
                    (folder / "downloads" / source.file).unlink(missing_ok=True)
            raise
        if not local_files:
            for path in sources.values():
                path.unlink(missing_ok=True)
        return converted


def _clear(folder: pathlib.Path) -> None:
    """Removes what killed starts have left: files that were being downloaded, unpacked or written."""
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        clear_leftovers(place)
    for left in (folder / "downloads").glob("tmp*"):  # as pooch calls what is on its way
        left.unlink(missing_ok=True)


def _local_sources(entry: Entry, paths: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Returns files downloaded by hand, by their names here; raises `UserError` if they are not the right ones."""
    if entry.archived and len(paths) == 1:  # already joined
        return {ARCHIVE: paths[0]}
    names = [source.file for source in entry.sources]
    if len(paths) != len(names):
        raise UserError(f"--from takes the {len(names)} files of {entry.name} in this order: {', '.join(names)}")
    try:
        for source, path in zip(entry.sources, paths):
            if source.sha256 not in ("", sha256(path)):
                raise UserError(_another(source, str(path), "it is not used"))
    except OSError as error:
        raise io_error(error, f"cannot read {path}") from error
    return dict(zip(names, paths))


def fetch(source: Source, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of a published file in `folder`; downloads it if it is missing or another one.

    Raises `UserError` if it cannot be downloaded, or is not the one published: then nothing of it is kept.
    """
    if any(importlib.util.find_spec(name) is None for name in ("pooch", "tqdm")):
        raise UserError(_INSTALL)
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # hashes are reported here
    hash_text = f"sha256:{source.sha256}" if source.sha256 else None
    print(f"downloading {source.file}", file=sys.stderr)
    download = pooch.HTTPDownloader(progressbar=True)
    try:
        return pathlib.Path(pooch.retrieve(source.url, hash_text, source.file, folder, downloader=download))
    except requests.exceptions.RequestException as error:  # also an OSError
        untried = "The authors of this program have never tried this address"
        raise UserError(f"{source.url}: {error}. {untried}: download it elsewhere, and name it with --from") from error
    except OSError as error:
        raise io_error(error, f"cannot write below {folder}") from error
    except ValueError as error:  # the hash differs
        raise UserError(_another(source, source.url, "nothing of it is kept")) from error


def _another(source: Source, where: str, then: str) -> str:
    differs = f"is not the published file: its SHA-256 is not {source.sha256}, as found in public repositories"
    return f"{where} {differs}; {then}. If you trust it all the same, convert it with gan2shape-jax convert"


def unpack(parts: Sequence[str], members: Sequence[str], folder: str) -> None:
    """Writes the `members` of a gzipped tar archive in parts into a folder, under the last part of their names.

    The archive is read to its end, where its checksum is. Called by `run_limited`, which limits what is written and
    turns the errors of damaged archives into sentences.
    """
    missing, names = set(members), list[str]()
    with contextlib.ExitStack() as stack:
        joined = _Joined([stack.enter_context(open_regular(path)) for path in parts])
        plain = stack.enter_context(gzip.GzipFile(fileobj=cast(IO[bytes], joined), mode="rb"))
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                names = [*names, one_line(name[:200])][:21]
                if name in missing:
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is None:
                        raise UserError(f"{one_line(name)}: it is not a plain file in the archive")
                    missing.remove(name)
                    with content, open(pathlib.Path(folder, pathlib.PurePosixPath(name).name), "wb") as file:
                        shutil.copyfileobj(content, file)
        while plain.read(MIB):  # to the checksum
            pass
    if missing:
        about = ", ".join(pathlib.Path(path).name for path in parts)
        raise UserError(f"{about}: the archive lacks {listed(sorted(missing))}; it has {listed(names, 20) or '-'}")


class _Joined:
    """Several files, read as one."""

    def __init__(self, files: list[Any]):
        self._files = files

    def read(self, count: int) -> bytes:
        """Returns the next bytes, b"" at the end."""
        while self._files:
            if content := self._files[0].read(count):
                return content
            self._files.pop(0)
        return b""


def _convert(entry: Entry, place: pathlib.Path, files: Mapping[str, pathlib.Path]) -> dict[str, pathlib.Path]:
    """Writes the files of an entry in the form that the program reads, and its record."""
    hashes = {name: sha256(files[name]) for product in entry.gives for name in product.made_of}
    targets = {product.field: place / product.file for product in entry.gives}
    for product, target in zip(entry.gives, targets.values(), strict=True):
        sources = [files[name] for name in product.made_of]
        if target.suffix == ".safetensors":
            note = f"--license-note={entry.licence['title']}, {entry.licence['url']}"
            place.mkdir(parents=True, exist_ok=True)
            converter = importlib.import_module("gan2shape_jax.apps.convert.command")  # imports jax
            converter.convert_files([*map(str, sources), str(target), "--no-sheet", "--overwrite", note])
        else:
            read_checkpoint(sources[0])  # raises an error for any other kind of file
            atomic_file(target, functools.partial(shutil.copyfile, sources[0]), parents=True)
    sizes = {field: (path.name, path.stat().st_size) for field, path in targets.items()}
    licence = {part: entry.licence[part] for part in ("title", "url")}
    record = {"name": entry.name, "licence": licence, "made_of": hashes, "files": sizes}
    atomic_text(place / RECORD, json.dumps(record, indent=1, ensure_ascii=True) + "\n")
    return targets
