"""Fragments by other hands: what is none is left out of the page, in little time and memory, and harms no other."""

import json
import os
import shutil
import time

import pytest
from helpers import bump
from helpers.plain_result import plain_result

from gan2shape_jax.results import OutputOptions, Row, write_outputs, write_page
from gan2shape_jax.results.page.fragment import FILE, fragment_of

pytestmark = pytest.mark.hostile

_LINES = [json.dumps(line) for line in fragment_of(plain_result())]
_CARD = json.loads(_LINES[0])


def _joined(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


_HOSTILE = {
    "empty": b"",
    "no JSON": b"{" * 100,
    "deep": b"[" * 100_000 + b"\n",
    "bytes": bytes(range(256)) * 100,
    "one line": _joined(_LINES[0]),
    "lists": _joined(*["[]"] * 4),
    "other format": _joined(json.dumps(_CARD | {"format": 2}), *_LINES[1:]),
    "format of another type": _joined(json.dumps(_CARD | {"format": {}}), *_LINES[1:]),
    "no number": _joined(_LINES[0], '{"size": NaN}', "{}", "{}"),
    "huge": b'{"format": 1, "thumb": "' + b"A" * 9 * 2**20,
    "markup in the picture": _joined(json.dumps(_CARD | {"thumb": '"><script>alert(1)</script>'}), *["{}"] * 3),
    "picture of another type": _joined(json.dumps(_CARD | {"thumb": ["A"]}), *["{}"] * 3),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "bump"
    write_outputs(bump.result(), folder, options=OutputOptions(views=False))
    return folder


def _text(root) -> str:
    began = time.monotonic()
    write_page(root, [Row("bad"), Row("good")])
    assert time.monotonic() - began < 10
    return (root / "index.html").read_text()


@pytest.mark.parametrize("content", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_what_is_no_fragment_is_left_out(tmp_path, source, content):
    for name in ("bad", "good"):
        shutil.copytree(source, tmp_path / "results" / name)
    (tmp_path / "results" / "bad" / FILE).write_bytes(content)
    text = _text(tmp_path)
    assert 'id="model-1"' in text and "alert(1)" not in text and "NaN" not in text.partition('id="page-data"')[2][:5000]
    if 'id="model-0"' in text:  # the ready pictures, in its place
        assert '{"stills":' in text


def test_a_named_pipe_is_not_waited_for(tmp_path, source):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    for name in ("bad", "good"):
        shutil.copytree(source, tmp_path / "results" / name)
    (tmp_path / "results" / "bad" / FILE).unlink()
    os.mkfifo(tmp_path / "results" / "bad" / FILE)
    for name in ("input.png", "mesh.glb"):
        (tmp_path / "results" / "bad" / name).unlink()
        os.mkfifo(tmp_path / "results" / "bad" / name)
    assert 'id="model-1"' in _text(tmp_path)


def test_markup_in_a_model_cannot_end_its_block(tmp_path, source):
    shutil.copytree(source, tmp_path / "results" / "good")
    shutil.copytree(source, tmp_path / "results" / "bad")
    lines = (source / FILE).read_text().splitlines()
    model = json.loads(lines[1]) | {"</script><script>alert(1)</script>": "<!--<script>"}
    (tmp_path / "results" / "bad" / FILE).write_bytes(_joined(lines[0], json.dumps(model), *lines[2:]))
    text = _text(tmp_path)
    assert "alert(1)" in text and "<script>alert(1)" not in text and text.count("<!--") == 0
