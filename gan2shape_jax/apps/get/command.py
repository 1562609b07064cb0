"""`gan2shape-jax get`: published checkpoints by name: licence agreement, download, check and conversion."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence

from gan2shape_jax.apps.get.obtain import found, obtain, require_fetchable
from gan2shape_jax.apps.get.table import ENTRIES, Entry
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError, exit_code, printable
from gan2shape_jax.io import option_types
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.files import MIB
from gan2shape_jax.io.weights.tensors import short

__all__ = ["main"]

_EPILOG = """\
examples:
  gan2shape-jax get --list
  gan2shape-jax get horse
  gan2shape-jax get horse --from Downloads/stylegan2-horse-config-f.pkl
  gan2shape-jax get lpips --agree              (in scripts)

The addresses are those that the checkpoints' makers have published; the authors of this program have nothing to do
with them, and cannot promise that they answer. Nothing that is downloaded is ever executed.
"""
_INTERRUPTED = "\ninterrupted; files that were downloaded whole are kept"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 after an error that has been printed."""
    return exit_code(lambda: _run(_parser().parse_args(argv)), interrupted=_INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    about = (
        "Downloads a published checkpoint, compares its hash where one is known, converts it, keeps it in the user's "
        "cache folder, and says which arguments make a configuration use it."
    )
    parser = option_types.parser("get", about, _EPILOG)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the checkpoint; --list has their names")
    parser.add_argument("--list", action="store_true", help="show all checkpoints, their sizes, and what is here")
    parser.add_argument("--agree", action="store_true", help="agree to the licence without being asked, as in scripts")
    parser.add_argument(
        "--from",
        dest="given",
        metavar="FILE",
        nargs="+",
        type=option_types.path("--from"),
        default=[],
        help="take what was downloaded by hand, all files of the checkpoint in their order",
    )
    about = "where checkpoints are kept (default: gan2shape_jax/weights in the user's cache folder)"
    option_types.add_path(parser, "--folder", "FOLDER", about)
    parser.add_argument("--keep", action="store_true", help="keep the download after it has been converted")
    return parser


def _run(args: argparse.Namespace) -> None:
    folder = (args.folder or cache("weights")).absolute()
    if args.list:
        _show_list(folder)
        return
    if args.name is None:
        raise UserError("name a checkpoint; gan2shape-jax get --list shows what there is")
    entry = ENTRIES.get(args.name)
    if entry is None:
        raise UserError(f"there is no checkpoint {short(args.name)}; there are {', '.join(ENTRIES)}")
    files = found(entry, folder)
    if files is None:
        _show_plan(entry)
        if not args.given:
            require_fetchable(entry.sources)
        _require_agreement(entry, args.agree)
        files = obtain(entry, folder, given=args.given, keep=args.keep)
    _show_use(entry, files, folder)


def _show_list(folder: pathlib.Path) -> None:
    """Prints a block for each checkpoint."""
    for entry in ENTRIES.values():
        here = ", here" if found(entry, folder) is not None else ""
        by_hand = ", by hand" if any(source.by_hand for source in entry.sources) else ""
        print(f"{entry.name:<20}{entry.title}")
        print(f"{'':<20}{_size(entry)}{by_hand}{here}; {entry.licence.title}")
    print(f"\nKept in {printable(str(folder))}. Licences in full: gan2shape-jax get NAME shows where.")


def _size(entry: Entry) -> str:
    if entry.size is not None:
        return f"{entry.size / MIB:,.1f} MiB"
    count = len(entry.sources)
    return "size not known" if count == 1 else f"{count} files, size not known"


def _show_plan(entry: Entry) -> None:
    """Prints what will be downloaded, and the licence."""
    print(f"{entry.name}: {entry.title} ({_size(entry)})")
    for source in entry.sources:
        known = "SHA-256 known" if source.sha256 else "no hash is known: what the file is, is seen from its content"
        print(f"  {source.url} ({known})")
    print(f"Licence: {entry.licence.title}\n  {entry.licence.says}\n  {entry.licence.url}")


def _require_agreement(entry: Entry, agreed: bool) -> None:
    """Asks for agreement to the licence; raises `UserError` if it is refused, or there is no terminal to ask at."""
    if agreed:
        return
    if not (sys.stdin and sys.stdin.isatty()):
        raise UserError(
            f"the licence of {entry.name} has to be agreed to, and there is no terminal to ask at: read it, add --agree"
        )
    try:
        answer = input("Do you agree to it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UserError("the licence was not agreed to: nothing was fetched")


def _show_use(entry: Entry, files: dict[str, pathlib.Path], folder: pathlib.Path) -> None:
    """Prints the arguments that make a configuration use a checkpoint, and those for others that it needs."""
    print(f"\n{entry.name} is in {printable(str(folder / entry.name))}:")
    arguments = _arguments(entry, files)
    missing = []
    for name in entry.also:
        others = found(ENTRIES[name], folder)
        if others is None:
            missing.append(name)
        else:
            arguments += _arguments(ENTRIES[name], others)
    if entry.config:
        print("  gan2shape-jax " + " ".join([f"--config={entry.config}", *map(printable, arguments)]))
    else:
        print("\n".join(f"  {printable(argument)}" for argument in arguments))
    if missing:
        print(
            f"The configuration {entry.config} needs besides: " + ", ".join(f"gan2shape-jax get {n}" for n in missing)
        )
    if entry.config:
        print("With --check at the end it says what else is missing, such as your images.")


def _arguments(entry: Entry, files: dict[str, pathlib.Path]) -> list[str]:
    """Returns the arguments for a checkpoint's files, and for fields where its GAN differs from the configuration."""
    arguments = [shlex.quote(f"--config.{field}={path}") for field, path in files.items()]
    if "gan.checkpoint" not in files:
        return arguments
    from gan2shape_jax.stylegan2 import read_header  # imports jax, which --list need not wait for

    arch, gan = read_header(files["gan.checkpoint"])[0], load_config(entry.config or "base").gan
    if arch.size != gan.size:
        arguments.append(f"--config.gan.size={arch.size}")
    if arch.style_dim != gan.style_dim:
        arguments.append(f"--config.gan.style_dim={arch.style_dim}")
    if arch.size < 64 or arch.channels[4] != 256 * gan.channel_multiplier:
        arguments.append("--config.gan.channel_multiplier=0")
    if arch.mapping_layers < gan.F1_d:
        arguments.append(f"--config.gan.F1_d={arch.mapping_layers}")
    return arguments
