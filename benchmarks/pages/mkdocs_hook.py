"""MkDocs hook: fills in the parts of the reference that are generated from the program itself.

A page requests a part with a comment on its own line:

    <!-- config fields -->      a table of every configuration field
    <!-- output files -->       a table of the files of a result
    <!-- commands -->           what `gan2shape-jax --help` prints, and the same of every command and sub-command
    <!-- modules: FOLDER -->    the documentation of every module of gan2shape_jax/FOLDER

Links in notebooks point to files, as in a checkout; here they are turned into links to the site's pages.
"""

import logging
import os
import pathlib
import posixpath
import re
import subprocess
import sys
from typing import Any

from gan2shape_jax.config.schema import fields, group_of, groups
from gan2shape_jax.main import _COMMANDS
from gan2shape_jax.results import OUTPUTS

_log = logging.getLogger("mkdocs.hooks")
_PACKAGE = pathlib.Path(__file__).parent.parent.parent / "gan2shape_jax"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns a page's Markdown with its generated parts filled in."""
    markdown = re.sub(r"^<!-- config fields -->$", lambda _: config_fields(), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- output files -->$", lambda _: output_files(), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- commands -->$", lambda _: commands(), markdown, flags=re.MULTILINE)
    return re.sub(r"^<!-- modules:(.*)-->$", lambda match: modules(match[1].strip()), markdown, flags=re.MULTILINE)


def on_page_content(html: str, page: Any, files: Any, **_: Any) -> str:
    """Returns a notebook's HTML with its links to files turned into links to the site's pages."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def site_link(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        target = files.get_file_from_path(
            posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), path))
        )
        if target is None:
            _log.warning("%s links to %s, which is not a page", page.file.src_uri, match[1])
            return match[0]
        return f'href="{target.url_relative_to(page.file)}{hash_}{anchor}"'

    return re.sub(r'href="((?![a-z]+:|/|#)[^"]+\.(?:md|ipynb)(?:#[^"]*)?)"', site_link, html)


def config_fields() -> str:
    """Returns a section for each group of fields, with default, meaning and range or choices."""
    sections: dict[str, list[str]] = {}
    for path, field in fields().items():
        default = f"`{field.default!r}`".replace("|", "\\|")
        row = f"| `{path}` | {default} | {_escaped(field.meaning)} | {_escaped(field.limits)} |"
        sections.setdefault(group_of(path), []).append(row)
    tables = (
        f"## {group}\n\n{groups()[group]}\n\n| field | default | | values |\n|---|---|---|---|\n" + "\n".join(rows)
        for group, rows in sections.items()
    )
    return "\n\n".join(tables)


def output_files() -> str:
    """Returns a table of the files of a result, with the least preset that makes them."""
    rows = []
    for output in OUTPUTS:
        if output.write or not output.offer:  # not those that are made on request
            names = ", ".join(f"`{name}`" for name in output.files)
            rows.append(f"| {names} | {_escaped(output.words)} | {output.preset} |")
    return "\n".join(["| file | content | from preset |", "|---|---|---|", *rows])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def command_names() -> list[str]:
    """Returns all commands, each followed by its sub-commands: "export", "export print", ..."""
    names = []
    for name, (_, line) in _COMMANDS.items():
        below = re.match(r"\[[\w|]+\]|\w+(\|\w+)+", line)
        names += [name, *(f"{name} {word}" for word in re.findall(r"\w+", below[0] if below else ""))]
    return names


def commands() -> str:
    """Returns a section with the help of reconstruction, and one of each command and sub-command."""
    sections = [f"## Reconstruct\n\n{help_text([])}"]
    sections += [f"{'###' if ' ' in name else '##'} {name}\n\n{help_text(name.split())}" for name in command_names()]
    return "\n\n".join(sections)


def help_text(arguments: list[str]) -> str:
    """Returns a code block with a sub-command's help. Raises CalledProcessError if the command fails."""
    command = [sys.executable, "-m", "gan2shape_jax.main", *arguments, "--help"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=_wide_terminal()).stdout
    return f"```text\n{printed.rstrip()}\n```"


def _wide_terminal() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}


def modules(folder: str) -> str:
    """Returns mkdocstrings blocks for a package, its modules and sub-packages, but for those of the interface's page.

    Of what is documented twice, MkDocs does not know which place a link means.
    """
    interface = (_PACKAGE.parent / "docs" / "reference" / "interface.md").read_text(encoding="utf-8")
    paths = sorted((_PACKAGE / folder).rglob("*.py"), key=lambda path: (path.name != "__init__.py", path))
    names = [".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts) for path in paths]
    names = [name.removesuffix(".__init__") for name in names if not name.rpartition(".")[2].startswith("__main")]
    return "\n\n".join(f"::: {name}" for name in names if f"::: {name}." not in interface)
