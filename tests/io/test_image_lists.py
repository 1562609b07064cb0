"""Lists of images: which names a file gives, what is refused by which words, and that images do not clash."""

import glob
import os
import pathlib
import unicodedata

import pytest
from helpers.tiny import asset, tiny_config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gan2shape_jax.config import apply_overrides
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_lists
from gan2shape_jax.io.image_lists import clash, fault_of, read_names, stem_of
from gan2shape_jax.main import main
from gan2shape_jax.run import experiment, preflight
from gan2shape_jax.run.folder import RunFolder


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a list of these bytes, or this text, and gives its path."""

    def write(content):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "my photo.png", "001.png", "two words", "two"):
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "text, names",
    [
        ("a.png\n001.png 0.5 left\nb.png\t7\n  c.png  \n", ["a.png", "001.png", "b.png", "c.png"]),
        ("my photo.png\n  a.png\n", ["my photo.png", "a.png"]),  # there is such an image
        ("no photo.png\n002.png 4\n", ["no photo.png", "002.png"]),
        (
            '"my photo.png" 0.5\n"none.png"\n"#1.png"\n"a \\"b\\".png"\t3\n',
            ["my photo.png", "none.png", "#1.png", 'a "b".png'],
        ),
        (b"\xef\xbb\xbfa.png\r\n\r\n  \t\n# note\n   # note\nsub/b.png 3\rc.png", ["a.png", "sub/b.png", "c.png"]),
        ("two words\n", ["two words"]),  # though there is a `two`
    ],
    ids=["columns", "blank", "no-such-image", "quoted", "bytes", "words"],
)
def test_a_line_gives_one_name(write, images, text, names):
    assert read_names(write(text), images) == names


def test_a_line_gives_one_name_without_a_folder_of_images(write):
    assert read_names(write("a.png 3\n")) == ["a.png"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=5))
def test_names_in_quotation_marks_come_back(write, names):
    taken = _accepted(["fixed.png", *names])
    lines = ['"{}" 0.5'.format(name.replace('"', '\\"')) for name in taken]
    assert read_names(write("\n".join(lines))) == taken


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_any_bytes_are_names_that_a_run_takes_or_are_refused_in_words(write, images, content):
    path = write(content)
    try:
        names = read_names(path, images)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert names and not any(map(fault_of, names)) and clash(names) is None


_TAKEN = (
    *("001.png", "my photo.png", "Bildschirmfoto 2024-01-01 um 10.00.00.png", "people/anna/01.jpeg", "x[/red].png"),
    *("=1+1.png", "a|b`c`<img src=x>.png", "文件/ä ö.png", "latents.png", "config.json.png", "_all.png", "🙂.png"),
    *("group-12345678.png", "all-images.png", "console.png", "com.png", "without_ending", "a.b.c.png", "./a.png"),
    "a//b.png",
)
_REFUSED = {f"control character {ascii(sign)[1:-1]}": [f"a{sign}]0;t\x07.png"] for sign in "\x1b\0\n\u2028"} | {
    "backslash": ["a\\b.png"],
    "colon": ["C:/a.png"],
    "relative": ["/etc/passwd", "a/../b.png", ".."],
    "names a folder": ["a/", "", "a/."],
    "begins with a dot": [".png", ".hidden/a.png"],
    "ends with a dot or a space": ["a.", "a .png", "a./b.png", "a /b.png"],
    "a device": ["CON", "nul .png", "a/Aux.tar.png", "lpt1/b.png", "COM¹.png"],
    "255 bytes": ["x" * 251 + ".png"],
    "bytes": ["한" * 30 + ".png"],  # 90 as one character each, 270 as most file systems of a Mac have them
    "1209 bytes": ["/".join(["x" * 200] * 6) + ".png"],
}


def test_names_are_taken_unless_some_system_cannot_keep_them():
    assert not any(map(fault_of, _TAKEN))
    for why, names in _REFUSED.items():
        assert [name for name in names if why not in fault_of(name)] == []
    names = ["a.png", "a.tar.png", "p/q.x/r.png", "./a.png", "a//b.png", "p/./a.b", "p.q/r", "a"]
    assert [*map(stem_of, names)] == [pathlib.PurePosixPath(name).with_suffix("").as_posix() for name in names]


_INSIDE = "the results or the latent of {} would lie inside those of a.png"


@pytest.mark.parametrize(
    ("names", "which", "why"),
    [
        (["a/b.png", "a.png"], (1, 0), _INSIDE.format("a/b.png")),
        (["a.png", "x.png", "A/b/c.png"], (2, 0), _INSIDE.format("A/b/c.png")),
        (["a.png", "A.NPY/b.png"], (1, 0), _INSIDE.format("A.NPY/b.png")),
        (["a.png", "b.png", "a.jpg"], (2, 0), "both would have the results folder a"),
        (["a.png", "a.png"], (1, 0), "it is the same image"),
        (["a.png", "A.JPG"], (1, 0), "differ only by case"),
        (["p/\xe9.png", "p/e\u0301.png"], (1, 0), "how accents are written"),
        (["STRASSE.png", "straße.png"], (1, 0), "differ only by case"),
    ],
)
def test_names_that_cannot_stand_beside_each_other(names, which, why):
    later, earlier, reason = clash(names)
    assert (later, earlier) == which and why in reason
    assert clash(["a.png", "ab.png", "a b.png", "a-b/c.png", "p/a.png", "P/b.png", "q/a.png", "a.b.png"]) is None


def test_the_command_and_its_check_refuse_a_list_in_a_sentence_that_names_the_line(write, tmp_path, capsys):
    text = "ok.png\na\x1b]0;x\x07.png\n"
    path = write(text)
    assert main([f"--config.data.image_list={path}", f"--config.workdir={tmp_path / 'run'}", "--config=ictface"]) == 1
    told = capsys.readouterr().err
    assert told == f"error: image list {path}, line 2: a\\x1b]0;x\\x07.png {fault_of(text.split()[1])}\n"
    assert not (tmp_path / "run").exists()
    os.mkfifo(tmp_path / "pipe")
    for bad in (write('ok.png\n"a b.png\n'), tmp_path, tmp_path / "pipe"):
        config = apply_overrides(tiny_config(tmp_path), {"data.image_list": str(bad)})
        with pytest.raises(UserError, match="begins with a quotation mark|not a file") as refusal:
            experiment.run_experiment(config)
        assert str(refusal.value) in preflight.examine(config)


_BESIDE = "line 3: a.jpg cannot stand beside a.png of line 1: both would have the results folder a"


@pytest.mark.parametrize(
    "content, why",
    [
        (b"a.png\nb.png\nc\xff.png\nd.png\n", "cannot be read as text: line 3 is not UTF-8"),
        (b"\n \n", "names no image"),
        (b"a.png\n\na.jpg\n", _BESIDE),
    ],
    ids=["bytes", "blank", "beside"],
)
def test_a_list_of_other_bytes_without_names_or_with_two_of_one_folder_is_refused(write, content, why):
    with pytest.raises(UserError, match=f"list.txt.* {why}"):
        read_names(write(content))


def test_a_list_that_is_absent_or_beyond_the_limit_is_refused(write, monkeypatch):
    with pytest.raises(UserError, match="absent.txt does not exist"):
        read_names("absent.txt")
    monkeypatch.setattr(image_lists, "_LIMIT", 100)
    assert len(read_names(write("a.png\n" + "#" * 94))) == 1
    with pytest.raises(UserError, match="list.txt has .* MiB: at most"):
        read_names(write("a.png\n" + "#" * 95))


def test_names_with_spaces_and_signs_are_read_with_all_that_belongs_to_them(tmp_path):
    """`--check` opens every file of an image whose name has spaces, brackets and signs that shells and globs read."""
    name = "my [x] photo $(1) 100%.v2.png"
    config, roots = tiny_config(tmp_path, names=(name,)), {}
    for field in ("image", "mask", "latents", "depth"):
        source = config.data.depth_root if field == "depth" else asset(f"ictface/{field}")
        ending = next(path for path in sorted(os.listdir(source)) if path.startswith("001")).removeprefix("001")
        (tmp_path / field).mkdir()
        target = tmp_path / field / (name.removesuffix(".png") + ending)
        target.write_bytes(pathlib.Path(source, f"001{ending}").read_bytes())
        roots[f"data.{'latent' if field == 'latents' else field}_root"] = str(tmp_path / field)
    config = apply_overrides(config, roots)
    assert preflight.examine(config) == []


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
    own = ("config.json", "versions.json", "failures.json", "results.csv", "results.md", "index.html", "images.txt")
    whole += [root / name for name in (*own, "joint.json", "history.csv", "history.json")]
    for stem in map(stem_of, names):
        whole += [folder.result(stem), folder.checkpoints(stem), folder.latents / f"{stem}.npy"]
        whole += [folder.root / "tensorboard" / stem]
    parts = [path.with_name(f".{path.name}.abcdefgh.{kind}") for path in whole for kind in ("part", "former")]
    return whole + parts + [path.with_name(f".{path.stem}.abcdefgh.part{path.suffix}") for path in whole if path.suffix]


def _on_any_system(path: pathlib.PurePath) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", part).casefold().rstrip(". ") for part in path.parts)


@settings(max_examples=300, deadline=None)
@example(["a.png", "a.npy/b.png"])
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
    assert longest <= 255 and image_lists.LONGEST_PART + len("..xxxxxxxx.part.npy") <= 255
