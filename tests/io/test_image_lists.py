"""Lists of images: which names a file gives, what is refused and by which words, alike by `--check` and by a run."""

import os
import time

import pytest
from helpers.tiny import asset, tiny_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan2shape_jax.config import apply_overrides
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_lists
from gan2shape_jax.io.image_lists import names_of, read_names
from gan2shape_jax.io.image_names import clash, fault_of
from gan2shape_jax.main import main
from gan2shape_jax.run import check, experiment


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


# --- what names a line gives ------------------------------------------------------------------------------


def test_names_stand_alone_or_before_further_columns(write, images):
    listed = write("a.png\n001.png 0.5 left\nb.png\t7\n  c.png  \n")
    for root in (images, None):
        assert read_names(listed, root) == ["a.png", "001.png", "b.png", "c.png"]


def test_a_line_with_spaces_is_one_name_where_there_is_such_an_image(write, images):
    assert read_names(write("my photo.png\n  a.png\n"), images) == ["my photo.png", "a.png"]
    assert read_names(write("my photo.png \t\r\n"), images) == ["my photo.png"]


def test_quotation_marks_hold_a_name_together_whatever_is_there(write, images):
    text = '"my photo.png" 0.5\n"no such photo.png"\n"#1.png"\n"a \\"b\\".png"\t3\n"two words"\n'
    expected = ["my photo.png", "no such photo.png", "#1.png", 'a "b".png', "two words"]
    for root in (images, None):
        assert read_names(write(text), root) == expected


def test_a_line_that_may_be_two_names_is_refused(write, images):
    with pytest.raises(UserError, match=r'line 2: both two words and two are images: .* "two words" or "two"'):
        read_names(write("a.png\ntwo words\n"), images)


def test_an_absent_image_is_called_as_the_line_has_it(write, images):
    assert read_names(write("no photo.png\n002.png 4\n"), images) == ["no photo.png", "002.png"]


def test_marks_of_windows_comments_and_blank_lines_are_no_names(write):
    text = b"\xef\xbb\xbfa.png\r\n\r\n  \t\n# note\n   # note\nsub/b.png 3\rc.png"
    assert read_names(write(text)) == ["a.png", "sub/b.png", "c.png"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=5))
def test_names_in_quotation_marks_come_back(write, names):
    taken: list[str] = []
    for name in names:
        if not fault_of(name) and clash([*taken, name]) is None:
            taken.append(name)
    lines = ['"{}" 0.5'.format(name.replace('"', '\\"')) for name in ["fixed.png", *taken] if name]
    if clash(["fixed.png", *taken]) is None:
        assert read_names(write("\n".join(lines))) == ["fixed.png", *taken]


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


# --- what is refused, by the command -----------------------------------------------------------------------

_REFUSED = {
    "a/b.png\na.png\n": "line 2: a.png cannot stand beside a/b.png of line 1: the results of a/b.png",
    "a.png\n\na.jpg\n": "line 3: a.jpg cannot stand beside a.png of line 1",
    "a.png\nA.png\n": "line 2: A.png cannot stand beside a.png of line 1: they differ only by case",
    "\xe9.png\ne\u0301.png\n": "line 2: e\u0301.png cannot stand beside \xe9.png of line 1",
    "ok.png\n../a.png\n": "line 2: ../a.png leads out of a folder",
    "ok.png\n.png\n": "line 2: .png has a part that begins with a dot",
    "ok.png\n/\n": "line 2: / begins at the root",
    "ok.png\n.\n": "line 2: . names a folder",
    "ok.png\nNUL\n": "line 2: NUL has a part that Windows takes for a device",
    "ok.png\na:b.png\n": "line 2: a:b.png has a colon",
    "ok.png\na\\b.png\n": "line 2: a\\b.png has a backslash",
    "ok.png\na\0b.png\n": "line 2: a\\x00b.png has the control character \\x00",
    "ok.png\na\x1b]0;x\x07.png\n": "line 2: a\\x1b]0;x\\x07.png has the control character \\x1b",
    f"ok.png\n{'x' * 251}.png\n": "has a part of 255 bytes",
    f"ok.png\n{'x' * 300}.png\n": "has a part of 304 bytes",
    '"a b.png\n': 'line 1: "a b.png begins with a quotation mark',
    '"a"b.png\n': 'line 1: "a"b.png begins with a quotation mark',
    '""\n': 'line 1: "" names a folder',
}


@pytest.mark.parametrize("text", _REFUSED, ids=ascii)
def test_the_command_refuses_a_list_in_a_sentence_that_names_the_line(text, write, tmp_path, capsys):
    path = write(text)
    arguments = ["--config=ictface", f"--config.data.image_list={path}", f"--config.workdir={tmp_path / 'run'}"]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: image list {path}, ") and _REFUSED[text] in told
    assert len(told.splitlines()) == 1 and "\x1b" not in told and "Traceback" not in told
    assert not (tmp_path / "run").exists()


def _told_by_both(config) -> tuple[str, list[str]]:
    with pytest.raises(UserError) as refusal:
        experiment.run(config)
    return str(refusal.value), check.examine(config)


def test_check_and_run_say_the_same_of_a_list(write, tmp_path):
    config = apply_overrides(tiny_config(tmp_path), {"data.image_list": str(write("a/b.png\nCON\n"))})
    by_run, by_check = _told_by_both(config)
    assert by_check == [by_run] and "line 2: CON" in by_run


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_list_that_is_no_file_is_refused_and_not_waited_for(kind, tmp_path):
    path = tmp_path / "it"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    config = apply_overrides(tiny_config(tmp_path), {"data.image_list": str(path)})
    by_run, by_check = _told_by_both(config)
    assert "not a file" in by_run and by_run in by_check


def test_a_list_of_other_bytes_is_refused_by_its_line(write):
    with pytest.raises(UserError, match=r"list.txt cannot be read as text: line 3 is not UTF-8"):
        read_names(write(b"a.png\nb.png\nc\xff.png\nd.png\n"))
    with pytest.raises(UserError, match="line 1 is not UTF-8"):
        read_names(write("a.png\n".encode("utf-16")))


def test_a_list_beyond_the_limit_is_refused_before_it_is_read(write, monkeypatch):
    monkeypatch.setattr(image_lists, "_LIMIT", 100)
    assert len(read_names(write("a.png\n" * 1 + "#" * 94))) == 1
    with pytest.raises(UserError, match="list.txt has .* MiB: at most"):
        read_names(write("a.png\n" + "#" * 95))


def test_a_working_folder_too_deep_for_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_lists, "_LONGEST_PATH", len(str(tmp_path)) + 350)
    config = tiny_config(tmp_path)
    assert names_of(config) == ["001.png"]
    deep = apply_overrides(config, {"workdir": str(tmp_path / ("x" * 60))})
    with pytest.raises(UserError, match="choose a shorter --config.workdir"):
        names_of(deep)


def test_long_lists_are_read_in_time_that_grows_with_them(write):
    def seconds(count: int) -> float:
        path = write("".join(f"people/{i % 100}/{i:07d}.png\n" for i in range(count)))
        begin = time.process_time()
        assert len(read_names(path)) == count
        return time.process_time() - begin

    assert seconds(40_000) < 20 * max(seconds(4_000), 0.02)


def test_names_with_spaces_and_signs_are_read_with_all_that_belongs_to_them(tmp_path):
    """`--check` opens every file of an image whose name has spaces, brackets and signs that shells and globs read."""
    name = "my [x] photo $(1) 100%.v2.png"
    roots = {}
    for field in ("image", "mask", "latents", "depth"):
        source = asset(f"ictface/{field}")
        ending = next(path for path in sorted(os.listdir(source)) if path.startswith("001")).removeprefix("001")
        (tmp_path / field).mkdir()
        target = tmp_path / field / (name.removesuffix(".png") + ending)
        target.write_bytes(open(os.path.join(source, f"001{ending}"), "rb").read())
        roots[f"data.{'latent' if field == 'latents' else field}_root"] = str(tmp_path / field)
    config = apply_overrides(tiny_config(tmp_path, names=(name,)), roots)
    assert check.examine(config) == []
    (tmp_path / "image" / "my").write_bytes(b"")  # the first word
    (problem, *_) = check.examine(config)
    assert f"both {name} and my are images" in problem
