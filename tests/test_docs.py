"""The pages: links lead somewhere, files they name exist, and a report begins with its summary."""

import pathlib
import re

_ROOT = pathlib.Path(__file__).parent.parent
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)")
# Files of a checkout that a page names, in text or in a command.
_FILE = re.compile(r"(?<![\w/.-])((?:benchmarks|configs|docs|tests|\.ci)/[\w/.-]+\.(?:py|md|txt|ipynb|png|jpg))")


def test_links_lead_to_files_and_files_that_pages_name_exist():
    broken = []
    for page in _PAGES:
        text = re.sub(r"^```diff.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)  # files that it makes
        broken += [(page.name, link) for link in _LINK.findall(text) if not (page.parent / link).exists()]
        broken += [(page.name, name) for name in _FILE.findall(text) if not (_ROOT / name).exists()]
    assert broken == []


def test_reports_begin_with_a_summary_of_at_most_five_lines():
    for page in (_ROOT / "docs/reports").glob("*.md"):
        summary = re.match(r"# [^\n]+\n\n((?:- [^\n]+\n)+)\n", page.read_text())
        assert page.name == "index.md" or (summary and len(summary[1].splitlines()) <= 5), page
