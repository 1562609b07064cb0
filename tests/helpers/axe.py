"""Barriers that axe-core (Deque, MPL-2.0; `npm ci --prefix tests` brings it) finds in a page that a browser shows."""

import pathlib

import pytest

_SCRIPT = pathlib.Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.flatMap(
  ({ id, nodes }) => nodes.map(({ target, any, all }) => `${id}: ${target}: ${[...any, ...all][0]?.message}`)))"""


def barriers(page) -> list[str]:
    """Returns what axe finds, a line each; skips the test where axe-core is not there."""
    if not _SCRIPT.is_file():
        pytest.skip("no axe-core: npm ci --prefix tests")
    page.evaluate(f"{_SCRIPT.read_text(encoding='utf-8')}; 0")
    return page.evaluate(_RUN)
