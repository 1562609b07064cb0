"""MkDocs hook: fills in the parts of the reference that are generated from the program itself.

A page asks for a part with a comment on a line of its own:

    <!-- config fields -->      a table of every configuration field
    <!-- help: ARGUMENTS -->    what `gan2shape-jax ARGUMENTS --help` prints
    <!-- modules: FOLDER -->    the documentation of every module of gan2shape_jax/FOLDER
"""

import os
import pathlib
import re
import subprocess
import sys
from typing import Any

from gan2shape_jax.config.fields import describe_fields, flatten, load_config

_PACKAGE = pathlib.Path(__file__).parent.parent.parent / "gan2shape_jax"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns a page's Markdown with its generated parts filled in."""
    markdown = re.sub(r"^<!-- config fields -->$", lambda _: config_fields(), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- help:(.*)-->$", lambda match: help_text(match[1].split()), markdown, flags=re.MULTILINE)
    return re.sub(r"^<!-- modules:(.*)-->$", lambda match: modules(match[1].strip()), markdown, flags=re.MULTILINE)


def config_fields() -> str:
    """Returns a section for each group of fields, with default and meaning."""
    defaults, sections = flatten(load_config("base")), {}
    for field, meaning in describe_fields().items():
        group = field.partition(".")[0] if "." in field else "general"
        default = f"`{defaults[field]!r}`".replace("|", "\\|")
        sections.setdefault(group, []).append(f"| `{field}` | {default} | {_escaped(meaning)} |")
    tables = (
        f"## {group}\n\n| field | default | |\n|---|---|---|\n" + "\n".join(rows) for group, rows in sections.items()
    )
    return "\n\n".join(tables)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def help_text(arguments: list[str]) -> str:
    """Returns a code block with a sub-command's help. Raises: CalledProcessError where the command fails."""
    command = [sys.executable, "-m", "gan2shape_jax.main", *arguments, "--help"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=_wide_terminal()).stdout
    return f"```text\n{printed.rstrip()}\n```"


def _wide_terminal() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}


def modules(folder: str) -> str:
    """Returns mkdocstrings blocks for a package, its modules and its sub-packages."""
    paths = sorted((_PACKAGE / folder).rglob("*.py"), key=lambda path: (path.name != "__init__.py", path))
    names = [".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts) for path in paths]
    names = [name.removesuffix(".__init__") for name in names if not name.rpartition(".")[2].startswith("__main")]
    return "\n\n".join(f"::: {name}" for name in names)
