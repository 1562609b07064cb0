"""Runs made of copies of one result, and their pages opened in a browser."""

import pathlib
import shutil

from gan2shape_jax.results import Row
from helpers.shown_page import IS_SHOWN

__all__ = ["open_page", "run_of"]


def run_of(root: pathlib.Path, source: pathlib.Path, names) -> list[Row]:
    for name in names:
        shutil.copytree(source, root / "results" / name)
    return [Row(name, "done", {"side": 0.01 + 0.0001 * k}) for k, name in enumerate(names)]


def open_page(browser, path: pathlib.Path, *, width: int = 1300, height: int = 1000, shown: int = 0, **screen) -> None:
    browser.screen(width, height, still=True, **screen)
    browser.open(path)
    browser.wait(IS_SHOWN.format(shown))
    browser.frames()
