"""A small run's page in a browser, for the tests marked `browser`."""

import pathlib

import pytest
from helpers.lit_bump import lit_bump
from helpers.shown_page import IS_SHOWN

from benchmarks.pages import chromium
from gan2shape_jax.results import OutputOptions, Row, write_outputs, write_page

_TRUST = {
    "category": 0.83,
    "expected_side": 0.0111,
    "verdict": "Looks like what this GAN draws; the side turned away is invented.",
    "grade": "trust",
}


@pytest.fixture(scope="module")
def browser():
    if chromium.find() is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM")
    with chromium.opened() as one:
        yield one


@pytest.fixture(scope="session")
def result():
    return lit_bump()


@pytest.fixture(scope="session")
def folder(result, tmp_path_factory):
    """A run of three images: two with results, one that failed."""
    root = tmp_path_factory.mktemp("run")
    for name in ("bump", "other"):
        write_outputs(result, root / "results" / name, options=OutputOptions(views=False))
    rows = [
        Row("bump", "done", dict(result.metrics) | {"trust": _TRUST}),
        Row("other", "done, worse than its prior", {"side": 0.05}),
        Row("third", "failed: no mask"),
    ]
    write_page(root, rows)
    return root


def _written(folder: pathlib.Path, **fields) -> pathlib.Path:
    write_outputs(lit_bump(**fields), folder, options=OutputOptions(views=False))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of one result, with a map of how sure its depth is."""
    return _written(tmp_path_factory.mktemp("source") / "bump")


@pytest.fixture
def page(browser, folder):
    """The page, opened anew, in a window of a desktop and without movement that would have to be waited for."""
    browser.screen(1300, 1000, still=True)
    browser.open(folder / "index.html")
    browser.wait(IS_SHOWN.format(0))
    browser.frames()
    return browser
