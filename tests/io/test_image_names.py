"""Names of images: which are taken, and that nothing of one image can get into the way of another's."""

import glob
import pathlib
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gan2shape_jax.io import image_names
from gan2shape_jax.io.image_names import clash, fault_of, stem_of
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.training import groups

_TAKEN = (
    "001.png",
    "my photo.png",
    "Bildschirmfoto 2024-01-01 um 10.00.00.png",
    "people/anna/01.jpeg",
    "x[/red].png",
    "=1+1.png",
    "a|b`c`<img src=x>.png",
    "文件/ä ö.png",
    "latents.png",
    "config.json.png",
    "_all.png",
    "group-12345678.png",
    "all-images.png",
    "console.png",
    "com.png",
    "without_ending",
    "🙂.png",
    "a.b.c.png",
    "./a.png",
    "a//b.png",
)
_REFUSED = {
    "a\x1b]0;t\x07.png": "control character \\x1b",
    "a\0b.png": "control character \\x00",
    "a\nb.png": "control character \\n",
    "a\u2028b.png": "control character \\u2028",
    "a\\b.png": "backslash",
    "a:b.png": "colon",
    "C:/a.png": "colon",
    "/etc/passwd": "relative",
    "/": "relative",
    "../a.png": "relative",
    "a/../b.png": "relative",
    "..": "relative",
    "a/": "names a folder",
    ".": "names a folder",
    "a/.": "names a folder",
    ".png": "begins with a dot",
    ".hidden/a.png": "begins with a dot",
    "a.": "ends with a dot or a space",
    "a .png": "ends with a dot or a space",
    "a..png": "ends with a dot or a space",
    "a./b.png": "ends with a dot or a space",
    "a /b.png": "ends with a dot or a space",
    "CON": "a device",
    "con.png": "a device",
    "nul .png": "a device",
    "a/Aux.tar.png": "a device",
    "lpt1/b.png": "a device",
    "COM¹.png": "a device",
    "CONIN$.png": "a device",
    "x" * 251 + ".png": "255 bytes",
    "x" * 300: "300 bytes",
    "ü" * 111 + ".png": "bytes",
    "한" * 30 + ".png": "bytes",  # 90 as one character each, 270 as most file systems of a Mac have them
    "/".join(["x" * 200] * 6) + ".png": "1209 bytes",
}


@pytest.mark.parametrize("name", _TAKEN)
def test_names_that_do_no_harm_are_taken(name):
    assert fault_of(name) == ""


@pytest.mark.parametrize("name", _REFUSED, ids=lambda name: ascii(name[:20]))
def test_names_that_some_system_cannot_keep_are_refused(name):
    assert _REFUSED[name] in fault_of(name)


@pytest.mark.parametrize("name", ["a.png", "a.tar.png", "p/q.x/r.png", "./a.png", "a//b.png", "p/./a.b", "p.q/r", "a"])
def test_a_stem_is_the_path_without_its_ending(name):
    assert stem_of(name) == pathlib.PurePosixPath(name).with_suffix("").as_posix()


@pytest.mark.parametrize(
    ("names", "which", "why"),
    [
        (["a/b.png", "a.png"], (1, 0), "the results of a/b.png would lie inside those of a.png"),
        (["a.png", "x.png", "a/b/c.png"], (2, 0), "the results of a/b/c.png would lie inside those of a.png"),
        (["A/b.png", "a.png"], (1, 0), "the results of A/b.png would lie inside those of a.png"),
        (["a.png", "b.png", "a.jpg"], (2, 0), "both would have the results folder a"),
        (["a.png", "./a.png"], (1, 0), "both would have the results folder a"),
        (["a.png", "a.png"], (1, 0), "it is the same image"),
        (["a.png", "A.png"], (1, 0), "differ only by case"),
        (["a.png", "A.JPG"], (1, 0), "differ only by case"),
        (["p/\xe9.png", "p/e\u0301.png"], (1, 0), "how accents are written"),
        (["STRASSE.png", "straße.png"], (1, 0), "differ only by case"),
        (["a.npy/b.png", "a.png"], (1, 0), "the latent of a.png would lie where that of a.npy/b.png needs a folder"),
        (["a.json/b.png", "a.png"], (1, 0), "the latent of a.png would lie where that of a.json/b.png needs a folder"),
        (["a.png", "A.NPY/b.png"], (1, 0), "the latent of a.png would lie where that of A.NPY/b.png needs a folder"),
    ],
)
def test_names_that_cannot_stand_beside_each_other(names, which, why):
    later, earlier, reason = clash(names)
    assert (later, earlier) == which and why in reason


def test_names_that_are_alike_and_apart():
    assert clash(["a.png", "ab.png", "a b.png", "a-b/c.png", "p/a.png", "P/b.png", "q/a.png", "a.b.png"]) is None


# --- what a run makes of names ---------------------------------------------------------------------------

_WORDS = ["a", "A", "b", "e\u0301", "\xe9", "ß", "ss", "a.npy", "results", "_all", ".all", "x.part", ".a.abcdefgh.part"]
_WORDS += ["..", ".", "", "con", "a ", " a", "a.", "1", "group-00000000", ".group-00000000", "checkpoints", "latents"]
_PART = (
    st.sampled_from(["a", "A", "a.npy", "_all"])
    | st.sampled_from(_WORDS)
    | st.text(st.sampled_from('aAbß. \t\n\0\x1b:\\"|[]{}()=+@~%&<>*?é\u0301\u212a'), max_size=4)
)
_NAME = st.builds(
    lambda parts, ending: "/".join(parts) + ending,
    st.lists(_PART, min_size=1, max_size=3),
    st.sampled_from(["", ".png", ".jpg", ".tar.gz"]),
)


def _accepted(names: list[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        if fault_of(name) == "" and clash([*taken, name]) is None:
            taken.append(name)
    return taken


def _places(root: pathlib.Path, names: list[str]) -> list[pathlib.PurePath]:
    """Everything that a run writes for its images and for itself, with the names of parts being written."""
    folder = RunFolder(root)
    whole: list[pathlib.PurePath] = [folder.networks, folder.shared_checkpoints]
    whole += [folder.group_checkpoints(groups.key_of(names))]
    own = ("config.json", "versions.json", "failures.json", "results.csv", "results.md", "index.html", "images.txt")
    whole += [root / name for name in (*own, "joint.json", "history.csv", "history.json", ".groups", ".hosts")]
    for stem in map(stem_of, names):
        whole += [folder.result(stem), folder.checkpoints(stem), folder.latents / f"{stem}.npy"]
        whole += [folder.latents / f"{stem}.json"]
        whole += [folder.tensorboard / stem]
    parts = [path.with_name(f".{path.name}.abcdefgh.{kind}") for path in whole for kind in ("part", "former")]
    return whole + parts + [path.with_name(f".{path.stem}.abcdefgh.part{path.suffix}") for path in whole if path.suffix]


def _on_any_system(path: pathlib.PurePath) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", part).casefold().rstrip(". ") for part in path.parts)


@settings(max_examples=300, deadline=None)
@example(["a.png", "a.npy/b.png"])
@example(["a.png", "a.json/b.png"])
@example(["a/b.png", "a.png"])
@given(st.lists(_NAME, min_size=1, max_size=8))
def test_what_belongs_to_different_images_lies_apart(names):
    root = pathlib.Path("/run")
    taken = _accepted(names)
    keys = [_on_any_system(path) for path in _places(root, taken)]
    assert len(set(keys)) == len(keys)
    assert all(key[:2] == ("/", "run") and ".." not in key and len(key) > 2 for key in keys)
    above = {key[:length] for key in keys for length in range(1, len(key))}
    assert not above & set(keys)
    assert not any(glob.has_magic(str(RunFolder(root).checkpoints(stem_of(name)))) for name in taken)
    longest = max(len(part.encode()) for path in _places(root, taken) for part in path.parts)
    assert longest <= 255 and image_names.LONGEST_PART + len("..xxxxxxxx.part.npy") <= 255


@given(st.text(st.characters(codec="utf-8"), min_size=image_names.LONGEST_PART // 5, max_size=300))
def test_a_part_being_written_has_a_name_that_file_systems_take(name):
    if fault_of(name) == "":
        for form in ("NFC", "NFD"):
            stem = unicodedata.normalize(form, stem_of(name))
            assert all(len(f".{part}.abcdefgh.part.npy".encode()) <= 255 for part in stem.split("/"))


@settings(max_examples=400)
@given(_NAME)
def test_the_short_cut_for_ordinary_names_takes_no_other(name):
    closely = image_names._fault_of_path(name)
    assert fault_of(name) == (
        closely or image_names._fault_of_parts([p for p in name.split("/") if p not in ("", ".")])
    )
