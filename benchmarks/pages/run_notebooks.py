"""Executes the notebooks of docs/notebooks from their first cell to their last, each in its own kernel.

    python benchmarks/pages/run_notebooks.py                executes all but photo.ipynb; the files stay as they are
    python benchmarks/pages/run_notebooks.py --write        keeps the new outputs in the files
    python benchmarks/pages/run_notebooks.py gan --write    one of them

photo.ipynb shows a photograph, of which nothing is committed: `mkdocs build` executes it, and fails where a cell does.
The exit code is 1 if a cell fails, and the failing cell is printed with its error. Needs the extra `notebooks`.
"""

import argparse
import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

_FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "notebooks"
_WITH_PHOTOGRAPH = "photo"


def execute(path: pathlib.Path, *, write: bool, limit_s: int) -> None:
    """Executes a notebook in its own folder; `write` replaces its outputs. `CellExecutionError`: a cell failed."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=limit_s, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    if write:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
        nbformat.write(notebook, path)


def main() -> int:
    """Executes the notebooks that the command line names, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="names without .ipynb; all but photo by default")
    parser.add_argument("--write", action="store_true", help="keeps the outputs in the files")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="time that one cell may take (600)")
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in _FOLDER.glob("*.ipynb") if path.stem != _WITH_PHOTOGRAPH)
    failed = 0
    for name in names:
        start = time.monotonic()
        try:
            execute(_FOLDER / f"{name}.ipynb", write=options.write and name != _WITH_PHOTOGRAPH, limit_s=options.limit)
            print(f"{name}.ipynb: {time.monotonic() - start:.0f} s", flush=True)
        except CellExecutionError as error:
            failed += 1
            print(f"{name}.ipynb: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
