"""The page's own parts, shipped with the package: template, style sheet, viewer, three.js; and what may run in it."""

import base64
import functools
import hashlib
import pathlib
import re
from collections.abc import Mapping, Sequence

from gan2shape_jax.io.bundled import asset

__all__ = ["MODULES", "filled", "frame"]

# The viewer's modules, each after those that it imports from.
MODULES = (
    "decode.js",
    "geometry.js",
    "colours.js",
    "shaders.js",
    "meshes.js",
    "handling.js",
    "viewer.js",
    "light.js",
    "words.js",
    "factors.js",
    "telling.js",
    "gallery.js",
    "downloads.js",
    "main.js",
)
_IMPORT = re.compile(r"^import\b[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function |const |let )", re.MULTILINE)
_PLACE = re.compile(r"\{\{(\w+)\}\}")


@functools.cache
def frame() -> Mapping[str, str]:
    """Returns what every page contains, by the template's placeholders: `style`, `three`, `viewer` and `policy`."""
    style, three, viewer = _text("page.css"), _text("three.min.js"), _one_module(MODULES)
    for text in (three, viewer):
        if re.search(r"</script|<!--", text, re.IGNORECASE):
            raise ValueError("a script of the page holds what would end it")
    scripts = " ".join(_hash(text) for text in (three, viewer))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return {"style": style, "three": three, "viewer": viewer, "policy": policy}


def filled(places: Mapping[str, str]) -> str:
    """Returns the template with every `{{place}}` filled; what is filled in is not expanded again."""
    return _PLACE.sub(lambda found: places[found[1]], _text("page.html"))


def _one_module(names: Sequence[str]) -> str:
    """Returns the modules as one: a page is a single file, in which no module could import another."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(name))) for name in names)


@functools.cache
def _text(name: str) -> str:
    return pathlib.Path(asset(f"viewer/{name}")).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
