"""The page's file: what it holds, what it leaves out first, how little is read to write it again."""

import json
import pathlib
import re
import shutil
import time

import numpy as np
import pytest
from helpers import bump
from helpers.opened_files import counted

from gan2shape_jax.results import OutputOptions, Row, save_result, write_outputs, write_page
from gan2shape_jax.results.page import LIMIT, Fragments, page_text
from gan2shape_jax.results.page.entries import FILES, Entry

_PLAIN = OutputOptions(views=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("source") / "bump"
    write_outputs(bump.result(), folder, options=_PLAIN)
    return folder


def _rows(root: pathlib.Path, source: pathlib.Path, count: int) -> list[Row]:
    names = [f"image {k:04}" for k in range(count)]
    for name in names:
        shutil.copytree(source, root / "results" / name)
    return [Row(name, "done", {"side": 0.01}) for name in names]


def _page(root: pathlib.Path, rows, **options) -> str:
    write_page(root, rows, **options)
    return (root / "index.html").read_text()


def _blocks(text: str, kind: str) -> list[int]:
    return [int(number) for number in re.findall(rf'<script type="[a-z/]+" id="{kind}-(\d+)', text)]


def _facts(text: str) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text)[1])


def _notes(text: str) -> str:
    found = re.search(r'<section class="notes">(.*?)</section>', text, re.DOTALL)
    return found[1] if found else ""


def test_everything_of_a_few_images_is_inside_and_nothing_is_said_to_be_missing(tmp_path, source):
    text = _page(tmp_path, _rows(tmp_path, source, 3))
    for kind in ("model", "extras"):
        assert _blocks(text, kind) == [0, 1, 2]
    assert len(_blocks(text, "file")) == 3 * 5 and _notes(text) == ""
    assert text.count("<img src=") == 3  # the gallery's pictures; no file beside the page is shown
    inside = [[FILES[number].name for number, _, here in image["files"] if here] for image in _facts(text)["images"]]
    assert inside == [["mesh.glb", "camera.json", "metrics.json", "depth.npy", "mesh_obj.zip"]] * 3


def test_sizes_are_told_as_they_are(tmp_path, source):
    text = _page(tmp_path, _rows(tmp_path, source, 2))
    for number, size, _ in _facts(text)["images"][1]["files"]:
        offer = FILES[number]
        if len(offer.files) == 1:
            assert size == (source / offer.files[0]).stat().st_size
        else:
            assert size < sum((source / name).stat().st_size for name in offer.files)


def test_what_finds_no_room_goes_in_the_order_that_is_promised(tmp_path, source):
    """The smaller the page, the less is inside: files go first, then further pictures, models, small pictures."""
    rows = _rows(tmp_path, source, 12)
    least = len(_page(tmp_path, rows, limit=1)) + 12 * 2500  # with names and figures
    seen = []
    for limit in np.geomspace(least, least + 1_500_000, 16).astype(int).tolist():
        text = _page(tmp_path, rows, limit=limit)
        assert len(text.encode()) <= limit and len(_facts(text)["images"]) == 12
        counts = [text.count("<img src="), *(len(_blocks(text, kind)) for kind in ("model", "extras", "file"))]
        seen.append(counts)
        for more, less in zip(counts, counts[1:3]):
            assert more >= less or more == 12
        if counts[2] < 12:
            assert f"{counts[2]} have their reconstruction" in _notes(text)
        assert (_notes(text) != "") == (counts != [12, 12, 12, 60])
    assert seen[-1] == [12, 12, 12, 60] and seen[0][1] < 12
    assert all(one[:3] <= other[:3] for one, other in zip(seen, seen[1:]))  # in this order of importance


def test_what_is_left_out_is_said_with_its_number(tmp_path, source):
    rows = _rows(tmp_path, source, 30)
    fixed = len(_page(tmp_path, rows, limit=1))
    text = _page(tmp_path, rows, limit=fixed + 30 * 2800 + 40_000)
    models = len(_blocks(text, "model"))
    assert 0 < models < 30 and f"{models} of 30 images can be turned here" in _notes(text)
    assert "gan2shape-jax page" in _notes(text) and "mesh.glb" in _notes(text)


def test_five_hundred_images_stay_below_ten_megabytes(tmp_path, source):
    text = _page(tmp_path, _rows(tmp_path, source, 500))
    assert len(text.encode()) <= LIMIT < 10e6
    assert text.count("<img src=") == 500 and len(_facts(text)["images"]) == 500


def test_more_rows_than_there_is_room_for_are_cut_and_said_to_be(tmp_path):
    rows = [Row(f"a rather long name of an image {k}", "failed: " + "why " * 2000) for k in range(1_000)]
    text = _page(tmp_path, rows, limit=2_000_000)
    assert len(text.encode()) <= 2_000_000
    listed = len(_facts(text)["images"])
    assert 100 < listed < 1_000 and f"the first {listed:,} of 1,000 images" in _notes(text)
    short = _page(tmp_path, [Row(f"{k}") for k in range(1_000)], limit=2_000_000)
    assert len(_facts(short)["images"]) == 1_000 and len(short.encode()) <= 2_000_000 and _notes(short) == ""


def test_writing_again_reads_only_what_is_new(tmp_path, source):
    rows, fragments = _rows(tmp_path, source, 8), Fragments()
    _page(tmp_path, rows[:6], fragments=fragments)
    with counted() as opened:
        _page(tmp_path, rows, fragments=fragments)
    read = {pathlib.Path(path).parent.name for path in opened if str(tmp_path / "results") in str(path)}
    assert read == {"image 0006", "image 0007"}
    with counted() as opened:
        again = _page(tmp_path, rows, fragments=fragments)
    assert not [path for path in opened if str(tmp_path / "results") in str(path)]
    assert again == _page(tmp_path, rows)  # and it is what a fresh start writes


def test_a_result_that_was_made_again_is_read_again(tmp_path, source):
    rows, fragments = _rows(tmp_path, source, 2), Fragments()
    before = _page(tmp_path, rows, fragments=fragments)
    changed = bump.result()
    object.__setattr__(changed, "depth", changed.depth + 0.01)
    time.sleep(0.02)  # file systems keep time in small steps
    write_outputs(changed, tmp_path / "results" / rows[0].name, options=_PLAIN)
    after = _page(tmp_path, rows, fragments=fragments)
    assert after != before and after == _page(tmp_path, rows)


def test_the_page_of_a_run_that_goes_on_may_be_written_at_any_time(tmp_path, source):
    assert "<tbody" in _page(tmp_path, [])
    rows = [Row("missing", "done"), Row("failed", "failed: x"), Row("strange", "unreadable: y", {"side": "text"})]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "failed").write_text("a file")
    text = _page(tmp_path, rows)
    assert _blocks(text, "model") == [] and [image["files"] for image in _facts(text)["images"]] == [[], [], []]
    assert [image["done"] for image in _facts(text)["images"]] == [True, False, False]


def test_results_without_a_fragment_show_their_pictures_or_are_built(tmp_path, source):
    shutil.copytree(source, tmp_path / "results" / "old")
    (tmp_path / "results" / "old" / "page.jsonl").unlink()
    save_result(bump.result(), tmp_path / "results" / "bare")
    rows = [Row("old"), Row("bare")]
    text = _page(tmp_path, rows)
    assert _blocks(text, "model") == [0] and '"stills"' in text and text.count("<img src=") == 1
    built = _page(tmp_path, rows, fragments=Fragments(build=True))
    assert _blocks(built, "model") == [0, 1] and '"stills"' not in built and built.count("<img src=") == 2
    (tmp_path / "results" / "bare" / "depth.npy").write_bytes(b"damaged")
    (tmp_path / "results" / "bare" / "page.html").write_text("")  # whatever changes the folder
    assert _blocks(_page(tmp_path, rows, fragments=Fragments(build=True)), "model") == [0]


def test_a_page_of_one_image_has_no_gallery(tmp_path, source):
    assert '<body class="single">' in _page(tmp_path, _rows(tmp_path, source, 1))
    assert '<body class="many">' in _page(tmp_path, [Row("a"), Row("b")])


def test_the_verdict_is_in_the_gallery_in_words(tmp_path):
    trust = {"category": 0.1, "verdict": "No face.", "grade": "no"}
    text = _page(tmp_path, [Row("a", "done", {"trust": trust}), Row("b", "done, worse than its prior"), Row("c")])
    badges = re.findall(r'<span class="badge (\w+)">([^<]+)</span>', text)
    assert badges == [("no", "do not trust it"), ("told", "worse than its prior")]
    assert _facts(text)["images"][0]["trust"] == {"grade": "no", "verdict": "No face.", "category": 0.1}
    assert "trust" not in _facts(text)["images"][2]


def test_entries_may_lie_anywhere(tmp_path, source):
    entry = Entry(Row("x"), source, "../else where/x")
    text = page_text([entry], title="T", fragments=Fragments())
    assert _facts(text)["images"][0]["place"] == "../else%20where/x" and _blocks(text, "model") == [0]
