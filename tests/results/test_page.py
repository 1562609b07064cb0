"""The page's file: what it holds and leaves out first, that names are text in it, and the fragments it is made of."""

import base64
import dataclasses
import hashlib
import io
import json
import pathlib
import re
import shutil
import urllib.parse
import zlib
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import scipy.ndimage
from helpers import bump
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.io.bundled import asset
from gan2shape_jax.results import OutputOptions, Row, save_result, write_outputs, write_page
from gan2shape_jax.results.outputs import FRAGMENT, USDZ, fragment_of
from gan2shape_jax.results.page import offers
from gan2shape_jax.results.surface import object_mask, surface

_PLAIN = OutputOptions(preset="mesh")
_NASTY = ("<img src=x onerror=alert(1)>", "'><script>alert(1)</script>", "=cmd|' /C calc'!A1")
_NASTY += ("my  photo", "50% off & more", "{{ style }}{% for %}")


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
    actual = re.search(r'<section class="notes">(.*?)</section>', text, re.DOTALL)
    return actual[1] if actual else ""


def test_more_than_a_thousand_images_are_on_several_pages_that_link_to_each_other(tmp_path):
    rows = [Row(f"{k:04}", "done", {"side": 0.01}) for k in range(2001)]
    pages = [_page(tmp_path, rows), *((tmp_path / f"page-{k}.html").read_text() for k in (2, 3))]
    listed = [[image["name"] for image in _facts(page)["images"]] for page in pages]
    assert [len(names) for names in listed] == [1000, 1000, 1] and sum(listed, []) == [row.name for row in rows]
    links = re.search(r'<nav class="pages"[^>]*>(.*?)</nav>', pages[1])[1]
    assert links.startswith("1,001 to 2,000 of 2,001 images") and '<b aria-current="page">2</b>' in links
    assert re.findall('href="([^"]*)"', links) == ["index.html", "page-3.html"]
    assert '<nav class="pages"' not in _page(tmp_path / "few", rows[:1000])


def test_everything_of_a_few_images_is_inside_and_nothing_is_said_to_be_missing(tmp_path, source):
    text = _page(tmp_path, _rows(tmp_path, source, 3))
    assert [_blocks(text, kind) for kind in ("model", "extras")] == [[0, 1, 2], [0, 1, 2]]
    offered = [
        output
        for output in offers()
        if output.write and output.inside and output.preset == "mesh" and output.files != (USDZ,)
    ]
    names = [output.archive or output.files[0] for output in offered]
    assert {"mesh.glb", "camera.json", "metrics.json", "depth.npy", "mesh_obj.zip"} <= set(names)
    assert len(_blocks(text, "file")) == 3 * len(names) and _notes(text) == "" and '<body class="many">' in text
    assert text.count("<img src=") == 3  # the gallery's pictures; no file beside the page is shown
    for image in _facts(text)["images"]:
        inside = [offers()[number] for number, _, here in image["files"] if here]
        assert [output.archive or output.files[0] for output in inside] == names


def test_what_finds_no_room_goes_in_the_order_that_is_promised(tmp_path, source):
    """The smaller the page, the less is inside: files go first, then further pictures, models, small pictures."""
    rows = _rows(tmp_path, source, 6)
    least = len(_page(tmp_path, rows, limit=1)) + 6 * 2500  # with names and figures
    observed = []
    for limit in np.geomspace(least, least + 750_000, 8).astype(int).tolist():
        text = _page(tmp_path, rows, limit=limit)
        assert len(text.encode()) <= limit and len(_facts(text)["images"]) == 6
        counts = [text.count("<img src="), *(len(_blocks(text, kind)) for kind in ("model", "extras", "file"))]
        observed.append(counts)
        for more, less in zip(counts, counts[1:3]):
            assert more >= less or more == 6
        if counts[2] < 6:
            assert f"{counts[2]} have their reconstruction" in _notes(text)
        assert (_notes(text) != "") == (counts != [6, 6, 6, 30])
    assert observed[-1] == [6, 6, 6, 30] and observed[0][1] < 6
    assert all(first[:3] <= other[:3] for first, other in zip(observed, observed[1:]))  # in this order of importance


def test_more_rows_than_there_is_room_for_are_cut_and_said_to_be(tmp_path):
    rows = [Row(f"a rather long name of an image {k}", "failed: " + "why " * 2000) for k in range(400)]
    text = _page(tmp_path, rows, limit=1_000_000)
    assert len(text.encode()) <= 1_000_000
    listed = len(_facts(text)["images"])
    assert 30 < listed < 400 and f"the first {listed:,} of 400 images" in _notes(text)
    short = _page(tmp_path, [Row(f"{k}") for k in range(400)], limit=1_000_000)
    assert len(_facts(short)["images"]) == 400 and len(short.encode()) <= 1_000_000 and _notes(short) == ""


def test_the_page_of_a_run_that_goes_on_may_be_written_at_any_time(tmp_path, source):
    assert "<tbody" in _page(tmp_path, [])
    rows = [Row("missing", "done"), Row("failed", "failed: x"), Row("strange", "unreadable: y")]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "failed").write_text("a file")
    text = _page(tmp_path, rows)
    assert _blocks(text, "model") == [] and [image["files"] for image in _facts(text)["images"]] == [[], [], []]
    assert [image["done"] for image in _facts(text)["images"]] == [True, False, False]


def test_the_verdict_is_in_the_gallery_in_words(tmp_path):
    trust = {"category": 0.1, "verdict": "No face.", "grade": "no"}
    text = _page(tmp_path, [Row("a", "done", {"trust": trust}), Row("b", "done, worse than its prior"), Row("c")])
    badges = re.findall(r'<span class="badge (\w+)">([^<]+)</span>', text)
    assert badges == [("no", "unreliable"), ("told", "worse than its prior")]
    actual = {"found": "no cat's face found", "shape": "the shape is a guess", "invented": "all of it is invented"}
    cat = _page(tmp_path, [Row("a", "done", {"trust": trust | actual})])
    assert '<span class="badge no">no cat&#39;s face found</span>' in cat
    assert _facts(text)["images"][0]["trust"] == {"grade": "no", "verdict": "No face.", "category": 0.1}
    assert "trust" not in _facts(text)["images"][2]


def test_a_result_without_a_fragment_is_built_from_its_arrays_or_left_out(tmp_path):
    rows = [Row("bare"), Row("damaged")]
    for row in rows:
        save_result(bump.result(), tmp_path / "results" / row.name)
    (tmp_path / "results" / "damaged" / "depth.npy").write_bytes(b"damaged")
    text = _page(tmp_path, rows)
    assert _blocks(text, "model") == [
        0
    ] and "Could not be read, and are shown without their models: damaged." in _notes(text)


class _Page(HTMLParser):
    """The attributes of a page's tags, and the text of its scripts and data."""

    def __init__(self, text: str):
        super().__init__()
        self.attributes, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag == "script":
            self.scripts.append([dict(attrs).get("type", ""), ""])

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1][1] += data


def test_names_are_text_links_lead_to_the_files_and_only_the_pages_own_scripts_run(source, tmp_path):
    """`test_browser` sees that names and messages of all kinds add no element and run nothing."""
    shutil.copytree(source, tmp_path / "results" / _NASTY[1])  # the others have no results
    rows = [Row(name, "failed: <b>it</b>\x1b]0;t\x07", {"side": -0.25}) for name in _NASTY]
    text = _page(tmp_path, rows, title=_NASTY[0])
    page = _Page(text)
    assert "\x1b" not in text and not [key for key, _ in page.attributes if key.startswith("on") or key == "style"]
    ids = [value for key, value in page.attributes if key == "id"]
    assert [name[3:] for name in ids if name.startswith("at-")] == list(_NASTY) and len(ids) == len(set(ids))
    links = [value for key, value in page.attributes if key in ("href", "src")]
    anchors = [link for link in links if link.startswith("#at-")]
    assert [urllib.parse.unquote(link[4:]) for link in anchors] == 2 * list(_NASTY)  # gallery and table
    files = [link for link in links if not link.startswith(("#", "data:"))]
    assert len(files) == 5 and all((tmp_path / urllib.parse.unquote(link)).is_file() for link in files)
    assert [image["name"] for image in _facts(text)["images"]] == list(_NASTY)
    # What may run is named by its hash, so nothing that a name or message brings along would.
    run = [content for kind, content in page.scripts if kind in ("", "module")]
    assert len(run) == 2
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    hashes = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in run]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["script-src"].split() == [f"'sha256-{digest}'" for digest in hashes]
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def _source(name: str) -> str:
    with open(asset(f"viewer/{name}"), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("name", ["magma", "cividis"])
def test_colour_maps_are_those_that_the_package_draws_with(name):
    stops = re.search(rf'{name}: "([0-9a-f]+)"', _source("colours.js"))[1]
    colours = np.array([int(stops[k : k + 2], 16) for k in range(0, len(stops), 2)]).reshape(-1, 3)
    share = np.linspace(0, 1, 256)
    shown = [np.interp(share * (len(colours) - 1), np.arange(len(colours)), colours[:, k]) for k in range(3)]
    assert np.abs(np.stack(shown, axis=-1) - matplotlib.colormaps[name](share)[:, :3] * 255).max() < 4


def test_nothing_of_the_page_names_another_place(tmp_path):
    own = _page(tmp_path, []).replace(_source("three.min.js"), "")
    assert re.findall(r"https?://[\w./-]+", own) == ["http://www.w3.org/2000/svg"]  # a name, which nobody asks for
    assert not re.search(r"url\(|@import|srcset|<link(?! rel=\"icon\" href=\"data:,\")|<iframe", own)


def _inflated(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def _depth(model: dict) -> np.ndarray:
    """Decodes depth as its description says: every value is what left, above and corner foretell, and a change."""
    coded, size = _inflated(model["depth"]).astype(int), model["size"]
    zigzag = (coded[: size**2] * 256 + coded[size**2 :]).reshape(size, size)
    changes = np.where(zigzag % 2 == 0, zigzag // 2, -(zigzag // 2) - 1)
    steps = changes.cumsum(0).cumsum(1) % 65536  # modulo 65536 throughout
    return model["depth_low"] + steps / 65535 * (model["depth_high"] - model["depth_low"])


def _picture(entry: dict) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(entry["data"]))) as image:
        assert image.format == entry["kind"].upper()
        return np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1


def test_the_model_says_what_the_result_says():
    result = bump.result()
    _, model, _ = fragment_of(result)
    step = (model["depth_high"] - model["depth_low"]) / 65535
    part = surface(result)  # whose depth goes on past the object's border
    assert np.abs(_depth(model) - part.depth).max() < 0.51 * step and step < 2e-6
    inside = scipy.ndimage.binary_erosion(
        object_mask(result.mask), iterations=5
    )  # along the border, depth is made even
    assert inside.sum() > 10 and np.abs((part.depth - result.depth)[inside]).max() < 1e-5
    outline = _inflated(model["outline"]).reshape(bump.SIZE, -1) / 255
    assert np.abs(outline - np.clip(part.field, 0, 1)).max() < 0.51 / 255
    assert np.array_equal(_inflated(model["input_mask"]).reshape(result.mask.shape), result.input_mask * 255)
    assert np.array_equal(np.float32(model["view"]), result.view)
    assert np.array_equal(np.float32(model["light"]), result.light)
    assert model["focal"] == pytest.approx(result.camera.focal_length, rel=1e-8)
    assert np.array_equal(_depth(fragment_of(plain_result())[1]), np.ones((16, 16)))  # flat: no division by zero


def test_pictures_of_small_images_are_there_without_loss():
    result = bump.result()
    _, model, extras = fragment_of(result)
    for key, picture in (("albedo", result.signed_albedo), ("input", result.signed_image)):
        assert model[key]["kind"] == "jpeg" and extras[key]["kind"] == "png"
        assert np.abs(_picture(extras[key]) - picture).max() < 0.51 / 127.5
    assert "gan_image" not in extras and "spread" not in extras
    assert "albedo" not in fragment_of(plain_result(side=160))[2]  # large: JPEG does not show


def test_the_card_shows_photo_and_shape():
    card = fragment_of(bump.result())[0]
    with Image.open(io.BytesIO(base64.b64decode(card["thumb"]))) as thumb:
        assert thumb.size == (160, 80)
        photo, shape = np.split(np.asarray(thumb.convert("RGB"), np.float32), 2, axis=1)
    assert photo.std() > 10 and shape.std() > 10 and np.ptp(shape, axis=-1).max() < 25  # the shape is grey
    assert len(json.dumps(card)) < 8000


def test_the_uncertainty_of_depth_is_there_where_a_result_has_one():
    uncertainty = np.linspace(0, 0.03, bump.SIZE**2, dtype=np.float32).reshape(bump.SIZE, -1)
    extras = fragment_of(dataclasses.replace(bump.result(), uncertainty=uncertainty))[2]
    told = _inflated(extras["spread"]).reshape(uncertainty.shape) / 255 * extras["spread_high"]
    assert np.abs(told - uncertainty).max() < 0.51 * 0.03 / 255


def test_the_true_shape_is_there_where_it_is_known_and_ends_where_the_background_begins():
    bumped = bump.result()
    seen = bumped.mask > 0.5
    result = dataclasses.replace(bumped, true_depth=np.where(seen, bumped.depth, np.float32(1.1)))
    truth = fragment_of(result)[2]["truth"]
    inner = scipy.ndimage.binary_erosion(seen, np.ones((3, 3)), iterations=2, border_value=1)
    rim = scipy.ndimage.binary_dilation(seen, np.ones((3, 3)))
    shown = _inflated(truth["outline"]).reshape(seen.shape) > 127
    depth = _depth(truth | {"size": bump.SIZE})
    assert shown[inner].all() and not shown[~rim].any()
    assert np.abs(depth - bumped.depth)[inner].max() < 2e-3 and depth[rim].max() < 1.06  # without a rim down to 1.1
    assert "truth" not in fragment_of(dataclasses.replace(result, true_depth=None))[2]


def test_the_file_has_a_line_for_each_part_and_the_same_text_each_time(tmp_path):
    write_outputs(bump.result(), tmp_path / "r", options=OutputOptions("mesh", mesh_full=True))
    text = (tmp_path / "r" / FRAGMENT).read_text()
    assert [json.loads(line) for line in text.splitlines()] == fragment_of(bump.result(), full=True)
    assert (_inflated(json.loads(text.splitlines()[1])["outline"]) == 255).all()
