"""The page's own parts: all in one, the same as those of the sources, readable in both schemes."""

import re

import matplotlib
import numpy as np
import pytest

from gan2shape_jax.io.bundled import asset
from gan2shape_jax.results.page import assets


def _source(name: str) -> str:
    with open(asset(f"viewer/{name}"), encoding="utf-8") as file:
        return file.read()


def test_each_module_stands_after_those_that_it_imports_from():
    seen = set()
    for name in assets.MODULES:
        imported = set(re.findall(r'from "\./([\w.]+)"', _source(name)))
        assert imported <= seen, name
        seen.add(name)


def test_modules_import_only_what_others_export_and_define_each_name_once():
    defined = {}
    for name in assets.MODULES:
        text = _source(name)
        exported = set(re.findall(r"^export (?:async )?(?:function|const|let) (\w+)", text, re.MULTILINE))
        for one in re.findall(r"^(?:export )?(?:async )?(?:function|const|let) (\w+)", text, re.MULTILINE):
            assert one not in defined, (one, name, defined[one])
            defined[one] = name
        for names, module in re.findall(r'^import \{([^}]*)\} from "\./([\w.]+)"', text, re.MULTILINE):
            wanted = {one.strip() for one in names.split(",") if one.strip()}
            there = set(re.findall(r"^export (?:async )?(?:function|const|let) (\w+)", _source(module), re.MULTILINE))
            assert wanted <= there, (name, module)
        assert exported or name == "main.js"
    viewer = assets.frame()["viewer"]
    assert not re.search(r"^(?:import|export)\b", viewer, re.MULTILINE)


def test_nothing_of_the_page_names_another_place():
    text = assets.filled(
        {**assets.frame(), **dict.fromkeys(("title", "kind", "gallery", "table", "plain"), "")}
        | {"notes": "", "data": ""}
    )
    own = text.replace(assets.frame()["three"], "")
    assert re.findall(r"https?://[\w./-]+", own) == ["http://www.w3.org/2000/svg"]  # a name, which nobody asks for
    assert not re.search(r"url\(|@import|srcset|<link(?! rel=\"icon\" href=\"data:,\")|<iframe", own)


@pytest.mark.parametrize("name", ["magma", "cividis"])
def test_colour_maps_are_those_that_the_package_draws_with(name):
    stops = re.search(rf'{name}: "([0-9a-f]+)"', _source("colours.js"))[1]
    colours = np.array([int(stops[k : k + 2], 16) for k in range(0, len(stops), 2)]).reshape(-1, 3)
    share = np.linspace(0, 1, 256)
    shown = [np.interp(share * (len(colours) - 1), np.arange(len(colours)), colours[:, k]) for k in range(3)]
    assert np.abs(np.stack(shown, axis=-1) - matplotlib.colormaps[name](share)[:, :3] * 255).max() < 4


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_their_ground_in_both_schemes():
    """WCAG 2.2 asks for 4.5 to 1."""
    light, dark = re.findall(r":root \{(.*?)\}", _source("page.css"), re.DOTALL)[:2]
    for scheme in (light, dark):
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        pairs = [(ink, ground) for ink in ("ink", "soft", "accent") for ground in ("ground", "sheet")]
        pairs += [("on-accent", "accent"), ("ink", "chosen")]
        pairs += [(name, f"{name}-ground") for name in ("good", "fair", "poor")]
        pairs += [("ink", f"{name}-ground") for name in ("good", "fair", "poor")]
        pairs += [("soft", f"{name}-ground") for name in ("good", "fair", "poor")]
        for ink, ground in pairs:
            brighter, darker = sorted((_luminance(colour[ink]), _luminance(colour[ground])), reverse=True)
            assert (brighter + 0.05) / (darker + 0.05) >= 4.5, (ink, ground)


def test_the_licence_of_three_js_lies_beside_it_and_in_the_notice():
    assert "three.js authors" in _source("LICENSE-three") and "MIT" in _source("LICENSE-three")
    assert "LICENSE-three" in _source("three.min.js")[:200]
    with open(asset("../../NOTICE"), encoding="utf-8") as file:
        assert "three.js" in file.read()
