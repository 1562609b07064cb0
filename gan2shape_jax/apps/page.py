"""`gan2shape-jax page`: saved results as one HTML file, which needs no other file and no network."""

import os
import pathlib
from collections.abc import Sequence

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.evaluate import find_runs
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.io.files import atomic_text, require_file_place
from gan2shape_jax.photos.judge import row_of
from gan2shape_jax.results import Entry, page_text

_EPILOG = """\
examples:
  gan2shape-jax page results/mine/results/006              writes results/mine/results/006/page.html
  gan2shape-jax page results/mine --out faces.html         every image of a run
  gan2shape-jax page results/a/results/* results/b --out both.html
"""
_ABOUT = (
    "Writes saved results as one HTML file: models to turn and relight, "
    "figures, and files to download. It needs no other file and no network."
)
_NAME = "page.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 1 if an error was printed."""
    return exit_code(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    parser = option_types.parser("page", _ABOUT, _EPILOG)
    about = "the folder of one image's results (it contains result.json), or of a run"
    parser.add_argument("results", nargs="+", type=option_types.path("RESULT"), metavar="RESULT", help=about)
    about = f"the page (default: {_NAME} in the folder, of a single one)"
    option_types.add_out_file(parser, "FILE.html", about)
    options = parser.parse_args(argv)
    if options.out is None and len(options.results) > 1:
        raise UserError("name the page of several results: --out FILE.html")
    folders = [each for run in find_runs(options.results) for each in run.images.items()]
    if not folders:
        raise UserError("all images have failed: there is no result to show")
    out = options.out or options.results[0] / _NAME
    require_file_place(out, endings=(".html", ".htm"), overwrite=options.overwrite or options.out is None)
    entries = [Entry(row_of(name, folder), folder, _place(folder, out)) for name, folder in folders]
    text = page_text(entries, title="Reconstructions")
    atomic_text(out, text)
    count = f"{len(entries)} images" if len(entries) > 1 else entries[0].row.name
    print(one_line(f"wrote {out}: {count}, {len(text.encode()) / 1e6:.1f} MB"))


def _place(folder: pathlib.Path, out: pathlib.Path) -> str:
    """Returns a folder's path as the page links to it."""
    try:
        return pathlib.Path(os.path.relpath(folder, out.absolute().parent.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.as_posix()
