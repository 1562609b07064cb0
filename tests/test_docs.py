"""The pages: links lead somewhere, files they name exist, and figures that must be said together are."""

import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)")
# Files of a checkout that a page names, in text or in a command.
_FILE = re.compile(r"(?<![\w/.-])((?:benchmarks|configs|docs|tests|\.ci)/[\w/.-]+\.(?:py|md|txt|ipynb|png|jpg))")


def _named(page: pathlib.Path) -> str:
    return page.relative_to(_ROOT).as_posix()


@pytest.mark.parametrize("page", _PAGES, ids=_named)
def test_links_lead_to_files(page):
    targets = _LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=_named)
def test_files_that_a_page_names_exist(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("speaks of the past")
    assert [name for name in _FILE.findall(page.read_text()) if not (_ROOT / name).exists()] == []


def test_reports_begin_with_a_summary_of_five_lines():
    for page in (_ROOT / "docs/reports").glob("*.md"):
        lines = page.read_text().splitlines()
        if page.name != "index.md":
            assert [line[:2] for line in lines[2:7]] == ["- "] * 5 and not lines[7], page
