"""Which photos are meant, and a photo made ready for a run: its name, crop, mask, drawing and record."""

import dataclasses
import io
import itertools
import json
import os
import queue
import threading
import types

import numpy as np
import pytest
from helpers.placed import placed
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.apps.evaluate import find_runs
from gan2shape_jax.apps.photo import command
from gan2shape_jax.apps.photo import folder as photo_folder
from gan2shape_jax.apps.photo.folder import PhotoFolder, Work, names_in, prepare
from gan2shape_jax.apps.photo.naming import expand, names_for, place_of
from gan2shape_jax.detection.detector import Detection
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.grabcut import middle
from gan2shape_jax.io.image_files import Picture, open_upright, picture_sides
from gan2shape_jax.io.image_lists import fault_of, read_names
from gan2shape_jax.lift import refinement
from gan2shape_jax.photos import find, pipeline
from gan2shape_jax.photos.explain import load_kind
from gan2shape_jax.photos.find import Finder, NoDetectionError, Request, other_kind, subject_of
from gan2shape_jax.photos.pipeline import PhotoModel, Refiner, load_refiner
from gan2shape_jax.results import examine, load
from gan2shape_jax.results.result import MAPS, load_metrics

_BOX = CropBox(x=190, y=100, side=96)


def _finder(found=(), **changes):
    """Returns a finder that finds these boxes."""
    detections = [Detection(box, 0.9) for box in found]
    detector = types.SimpleNamespace(detect=lambda photo: detections, scores=lambda crops: [0.9] * len(crops), most=12)
    fields = {"category": "ictface", "kind": "face", "side": 64, "detector": detector}
    return Finder(**(fields | {"mean_mask": middle(64), "segments": True} | changes))


def _config(out, *, refine=False):
    config = photo_folder.config_of(load_kind("ictface"), out, refine=refine).unlock()
    config.outputs.update(picture_size=32, animation=False)
    return config.lock()


def _prepare(path, out, *, refine=False, finder=None, **wishes):
    request = Request(path, "a", **({"box": _BOX} | wishes))
    (prepared,) = prepare(request, PhotoFolder(_config(out, refine=refine)), finder or _finder())
    return prepared


def _opened(prepared, name):
    return Image.open(io.BytesIO(prepared.files[name]))


def _files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_crop_mask_drawing_and_record_are_prepared(photo, tmp_path, face_photo):
    prepared = _prepare(photo, tmp_path / "out")
    np.testing.assert_array_equal(_opened(prepared, "image/a.png"), sample_crop(face_photo(), _BOX, 64))
    assert np.asarray(_opened(prepared, "mask/a.png"))[32, 32] == 255
    assert _opened(prepared, "framing/a.jpg").size == (384, 282)
    record = json.loads(prepared.files["a.json"])
    assert record["photo"]["path"] == str(photo.resolve()) and record["photo"]["width"] == 300
    assert record["box"] == {"x": 190, "y": 100, "side": 96, "roll_deg": 0} and record["given"]
    subject = prepared.subject
    assert (subject.mask_source, record["mask"], subject.detection.box) == ("grabcut", "grabcut", _BOX)


def test_an_inverted_cut_out_is_told_in_the_photos_notes(tmp_path, face_photo):
    """Not in a warning: another thread prepares photos while a run's own warnings of their masks are ignored."""
    outside = np.full((220, 300, 1), 255, np.uint8)
    outside[60:140, 150:230] = 0
    Image.fromarray(np.concatenate([face_photo(), outside], axis=-1)).save(tmp_path / "cut.png")
    prepared = _prepare(tmp_path / "cut.png", tmp_path / "out")
    assert prepared.notes[-1].startswith(f"cut.png: the alpha channel of {tmp_path / 'cut.png'} covers the border")


@pytest.mark.parametrize(("refine", "sizes"), [(False, [2, 4, 8, 6]), (True, [8, 8, 4])])
def test_the_next_photos_are_searched_while_others_are_reconstructed(tmp_path, monkeypatch, refine, sizes):
    requests, searched = [Request(tmp_path / f"{k}.png", f"{k}") for k in range(20)], queue.Queue()
    monkeypatch.setattr(photo_folder, "prepare", lambda request, *_: searched.put(request.name) or [request.name])
    groups = command._searched_ahead(requests, PhotoFolder(_config(tmp_path / "out")), _REFINING if refine else _MODEL)
    first = next(groups)
    begun = [searched.get(timeout=10) for _ in range(sizes[0] + sizes[1])]  # while the first are reconstructed
    assert begun == [f"{k}" for k in range(sizes[0] + sizes[1])]
    found = [[(k, *search.result()) for k, search in group] for group in itertools.chain([first], groups)]
    assert [len(group) for group in found] == sizes and sum(found, []) == [(k, f"{k}") for k in range(20)]


def test_a_command_that_ends_early_searches_no_further(tmp_path, monkeypatch):
    begun, go_on = [], threading.Event()
    requests = [Request(tmp_path / f"{k}.png", f"{k}") for k in range(20)]
    monkeypatch.setattr(photo_folder, "prepare", lambda request, *_: begun.append(request.name) or go_on.wait(10))
    groups = command._searched_ahead(requests, PhotoFolder(_config(tmp_path / "out")), _REFINING)
    next(groups)
    threading.Timer(0.2, go_on.set).start()
    groups.close()  # waits for the search under way
    assert begun == ["0"]


_MODEL = PhotoModel(_finder(), None)
_REFINING = PhotoModel(_finder(), None, Refiner(types.SimpleNamespace(schedule=()), None, None, None))


@pytest.fixture
def made(monkeypatch):
    """Makes plain results in place of the networks' and notes how, in the returned list; a seed makes them fail."""
    ways = []

    def result(subject, way):
        ways.append(way)
        assert subject.assessment.score == 0.9 and subject.assessment.pixels > 0
        return plain_result(subject.name)

    def refined(subject, refiner, latent, folder, watcher):
        assert latent.shape == (1, 8) and folder.parent.parent.name == ".work"
        measured = {"refinement_share": 0.0, "held_out_l1": dict.fromkeys(map(str, refinement.SHARES), 0.03)}
        return dataclasses.replace(result(subject, "refine"), metrics=measured), {"history.csv": b""}

    monkeypatch.setattr(pipeline, "explained", lambda subject, model: result(subject, "predict"))
    monkeypatch.setattr(pipeline, "invert", lambda subject, refiner: np.zeros((1, 8), np.float32))
    monkeypatch.setattr(pipeline, "refined", refined)
    return ways


def _make(config, photos, refine=False, log=None, **wanted):
    with PhotoFolder(config).work(_REFINING if refine else _MODEL, **({"texture": False} | wanted)) as work:
        assert not work.make(photos, log)
    return work.items.failures


def test_a_photo_done_again_replaces_its_result_when_the_new_one_is_complete(photo, tmp_path, made, monkeypatch):
    out, place = tmp_path / "out", CropBox(x=180, y=100, side=96)

    def do(refine=False, **wishes):
        return _make(_config(out, refine=refine), [_prepare(photo, out, refine=refine, **wishes)], refine), len(made)

    assert do() == ({}, 1) and do() == ({}, 1)  # the second time there is nothing to do
    record, config = out / "photos/a.json", out / "results/a/config.json"
    assert json.loads(config.read_text())["recipe"] == "predict"
    assert find_runs([out])[0].images == {"a": out / "results/a"} and read_names(out / "photos/list.txt") == ["a.png"]
    assert do(box=place) == ({}, 2) and json.loads(record.read_text())["box"]["x"] == 180
    assert do(box=place, refine=True) == ({}, 3) and json.loads(config.read_text())["recipe"] == "refine"
    assert np.load(out / "latents/a.npy").shape == (1, 8) and not (out / "photos/.work").exists()
    before = _files(out)

    def fails(subject, model):
        raise UserError("it failed")

    monkeypatch.setattr(pipeline, "explained", fails)
    assert do() == ({"a": "it failed"}, 3)
    after = _files(out)
    summaries = {"config.json", "failures.json", "results.csv", "results.md", "index.html"}
    assert {path.name for path in before | after if before.get(path) != after.get(path)} <= summaries
    (out / "photos/damaged.json").write_text("{")
    assert names_in(out) == {"a": str(photo.resolve())}


def test_maps_are_made_with_a_result_or_added_to_one_that_is_there(photo, tmp_path, made):
    out = tmp_path / "out"
    config, prepared = _config(out), _prepare(photo, out)
    assert _make(config, [prepared]) == {} and not photo_folder.has(out / "results/a", maps=True)
    before = _files(out / "results/a")
    assert _make(config, [prepared], maps=True) == {} and made == ["predict"]
    after = _files(out / "results/a")
    assert {path.name for path in after if before.get(path) != after[path]} == {"files.json", *MAPS}
    assert {picture_sides(path) for path in (photo, *(out / "results/a" / name for name in MAPS))} == {(220, 300)}
    assert '"maps.zip"' in (out / "index.html").read_text() and examine(out / "results/a")
    assert _make(config, [_prepare(photo, out, box=CropBox(180, 100, 96))], maps=True) == {}
    assert made == ["predict"] * 2 and photo_folder.has(out / "results/a", maps=True)


def test_a_result_whose_eyes_are_another_distance_apart_is_made_again(photo, tmp_path, made):
    out = tmp_path / "out"
    for eyes, times in ((None, 1), (63, 1), (70, 2), (None, 2), (70, 2)):
        assert _make(_config(out), [_prepare(photo, out)], eyes=eyes) == {} and len(made) == times
    assert load(out / "results/a").eyes_mm == 70


def test_refining_shows_first_what_the_model_makes_of_a_new_photo(photo, tmp_path, made, monkeypatch, capsys):
    out = tmp_path / "out"
    result, page = out / "results/a", out / "index.html"

    def killed(*_, **__):
        assert load_metrics(result)["awaits_refinement"] and "not refined yet" in page.read_text()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "refined", killed)
        with pytest.raises(KeyboardInterrupt):
            _make(_config(out, refine=True), [_prepare(photo, out, refine=True)], True, log=print)
    assert "as the model sees them; refining each now" in capsys.readouterr().out
    assert list((out / "photos/.work").glob("*/latent.npy"))  # which is not looked for again
    monkeypatch.setattr(pipeline, "invert", lambda *_: pytest.fail("a latent that was found is looked for again"))
    # What awaits its refinement is not done, for either way.
    for refine, ways in ((True, ["predict", "refine"]), (False, ["predict", "refine", "predict"])):
        assert _make(_config(out, refine=refine), [_prepare(photo, out, refine=refine)], refine) == {}
        assert ("a: refinement kept nothing: " in capsys.readouterr().err) == refine
        assert made == ways and "awaits_refinement" not in load_metrics(result)
        assert not (out / "photos/.work").exists()


@pytest.mark.parametrize("log", [print, None])
def test_a_refinement_that_fails_is_told_beside_what_the_model_makes(photo, tmp_path, made, monkeypatch, log):
    out = tmp_path / "out"

    def broken(*_, **__):
        raise UserError("it failed")

    monkeypatch.setattr(pipeline, "refined", broken)
    prepared = _prepare(photo, out, refine=True)
    assert _make(_config(out, refine=True), [prepared], True, log=log) == {"a": "it failed"}
    # Without somebody who waits, nothing is predicted that nobody would look at.
    assert made == (["predict"] if log else [])
    assert (out / "results/a").exists() == bool(log)
    assert "failed: it failed" in (out / "results.md").read_text()


@pytest.mark.parametrize("refine", [False, True])
def test_where_the_closer_look_finds_nothing_there_is_no_result_and_others_are_made(
    photo, tmp_path, made, monkeypatch, refine
):
    out = tmp_path / "out"

    def doubted(result, subject, model):
        raise NoDetectionError(f"{subject.name}: no face found at a closer look", [subject.box])

    monkeypatch.setattr(pipeline, "require_found", doubted)
    folder, finder, model = PhotoFolder(_config(out, refine=refine)), _finder([_BOX]), _REFINING if refine else _MODEL
    (doubtful,) = prepare(Request(photo, "doubtful"), folder, finder)
    (wanted,) = prepare(Request(photo, "wanted", anyway=True), folder, finder)
    with folder.work(model, texture=False) as work:
        undetected = work.make([doubtful, wanted], print)
    assert work.items.failures == {} and "no face found at a closer look" in str(undetected["doubtful"])
    assert made == ["predict"] * 2 + ["refine"] * refine  # nothing is refined that will not be used
    assert [path.name for path in (out / "results").iterdir()] == ["wanted"]
    assert (out / "photos/framing/doubtful.jpg").exists()
    assert "not used: doubtful: no face found" in (out / "results.md").read_text()


def test_a_folder_that_cannot_be_written_is_named(photo, tmp_path, made):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photos").write_text("a file where the folder would be")
    failed = _make(_config(tmp_path / "other"), [_prepare(photo, tmp_path / "other")])
    assert str(tmp_path / "other" / "photos") in failed["a"]


def test_the_box_of_a_reduced_photo_is_in_the_files_pixels(tmp_path, face_photo):
    large = Image.fromarray(face_photo()).resize((6000, 4400), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.jpg", quality=90)
    box = CropBox(x=3800, y=2000, side=1920)
    crop = np.asarray(_opened(_prepare(tmp_path / "a.jpg", tmp_path / "out", box=box), "image/a.png"), np.float32)
    expected = np.asarray(sample_crop(np.asarray(large), box, 64), np.float32)
    assert np.abs(crop - expected).mean() < 3


def test_nothing_is_made_of_a_photo_in_which_nothing_was_found_unless_it_is_wished(photo, tmp_path):
    out, nearest, finder = tmp_path / "out", Detection(_BOX, 0.01), _finder()
    finder.detector.detect = lambda photo: [nearest]
    with pytest.raises(NoDetectionError, match="a.png: no face found, so it has no 3D result"):
        _prepare(photo, out, finder=finder, box=None)
    assert [file.name for file in _files(out)] == ["a.jpg"]  # the drawing
    assert _prepare(photo, out, finder=finder, box=None, anyway=True).subject.detection == nearest
    before = _files(out)
    with pytest.raises(NoDetectionError):
        _prepare(photo, out, finder=finder, box=None)
    assert _files(out) == before


def test_a_crop_is_assessed_where_its_object_is(photo, tmp_path):
    whole = _prepare(photo, tmp_path / "out")
    assert whole.notes == ("a.png: 96 pixels around (190, 100); model: ictface; mask: GrabCut",)
    known = whole.subject.assessment
    assert (known.score, known.pixels, known.outside) == (0.9, 96, 0) and known.light > 100 and known.blur < 0.9
    assert _prepare(photo, tmp_path / "out", box=CropBox(x=190, y=100, side=30)).subject.assessment.pixels == 30
    half = _prepare(photo, tmp_path / "out", box=CropBox(x=0, y=100, side=96)).subject.assessment
    assert half.outside == pytest.approx(0.5, abs=0.02)
    with Image.open(photo) as lit:
        lit.convert("RGB").point(lambda value: value // 6).save(tmp_path / "night.png")
    night = _prepare(tmp_path / "night.png", tmp_path / "out")
    assert len(night.notes) == 1 and night.subject.assessment.light < 45


def test_latents_are_taken_along_and_what_is_unusable_is_refused(photo, tmp_path):
    np.save(tmp_path / "w.npy", np.zeros((1, 128), np.float32))
    prepared = _prepare(photo, tmp_path / "out", latent=tmp_path / "w.npy")
    assert np.load(io.BytesIO(prepared.files["latent/a.npy"])).shape == prepared.latent.shape == (1, 128)
    assert "latent/a.npy" not in _prepare(photo, tmp_path / "out").files
    np.save(tmp_path / "w.npy", np.zeros((1, 9), np.float32))
    with pytest.raises(UserError, match=r"w\.npy"):
        _prepare(photo, tmp_path / "other", latent=tmp_path / "w.npy")
    with pytest.raises(UserError, match="there is no number 2"):
        _prepare(photo, tmp_path / "other", which=2)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["bad.png", "none.png", "/dev/null"])
def test_photos_that_cannot_be_read_are_refused(photo, tmp_path, name):
    (tmp_path / "bad.png").write_bytes(photo.read_bytes()[:200])
    with pytest.raises(UserError):
        _prepare(tmp_path / name, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def _disc(height, width, x, y, radius):
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.hypot(columns - x, rows - y) < radius


_SEEN = _disc(80, 120, 60, 40, 16)  # a bright disc on a dark wall, in the middle of a crop of 48 pixels


def _mask(alpha=None, file=None, **changes):
    noise = np.random.default_rng(0).normal(0, 5, (80, 120, 3))
    photo = np.clip(np.where(_SEEN[..., None], (220, 180, 60), (30, 50, 90)) + noise, 0, 255).astype(np.uint8)
    detection, finder = Detection(CropBox(x=60, y=40, side=48), 0.9), _finder(side=96, mean_mask=middle(96), **changes)
    whole = Picture(Image.fromarray(photo), None if alpha is None else Image.fromarray(alpha), 1, alpha is not None)
    mask = None if file is None else (str(file), open_upright(file, least=16))
    subject = subject_of("a", whole, detection, finder, photo="a.jpg", mask=mask)
    return subject.mask / 255, subject.mask_source, subject.mask_fault


def test_a_mask_is_a_file_an_alpha_channel_found_or_the_usual_one(tmp_path):
    def overlap(mask):
        truth, prepared = _disc(96, 96, 48, 48, 32), mask > 0.5
        return (truth & prepared).sum() / (truth | prepared).sum()

    prepared, source, _ = _mask()
    assert source == "grabcut" and overlap(prepared) > 0.9  # its outline is soft
    white = _SEEN.astype(np.uint8) * 255
    prepared, source, _ = _mask(alpha=white)
    assert source == "alpha" and overlap(prepared) > 0.95
    usual, source, _ = _mask(segments=False)
    assert source == "mean" and np.abs(usual - middle(96)).max() < 0.002
    own = _disc(48, 48, 24, 24, 16).astype(np.uint8) * 255  # of the crop
    cut_out = Image.fromarray(np.dstack([255 - white] * 3 + [white]))
    for picture in (Image.fromarray(white), Image.fromarray(white).resize((240, 160)), Image.fromarray(own), cut_out):
        picture.save(tmp_path / "m.png")
        prepared, source, fault = _mask(file=tmp_path / "m.png")
        assert source == "file" and overlap(prepared) > 0.95 and not fault
    Image.fromarray(255 - white).save(tmp_path / "m.png")
    *_, fault = _mask(file=tmp_path / "m.png")
    assert fault.startswith(f"the mask {tmp_path / 'm.png'} covers the border and not the middle")
    for size, words in (((120, 70), "120 x 70 pixels"), ((120, 80), "m.png shows no object inside the crop")):
        Image.new("L", size).save(tmp_path / "m.png")
        with pytest.raises(UserError, match=words):
            _mask(file=tmp_path / "m.png")
    with pytest.raises(UserError, match=r"alpha channel of a\.jpg"):
        _mask(alpha=np.zeros((80, 120), np.uint8))


def test_files_folders_and_patterns_are_found_once_and_in_order(tmp_path):
    names = ("a.jpg", "b.PNG", "[1].png", "notes.txt", ".hidden.png", "in/c.webp")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    a, b, first, *_, c = (tmp_path / name for name in names)
    said: list[str] = []
    assert expand([str(tmp_path)], say=said.append) == [first, a, b]
    assert said == [f"{tmp_path}: 2 that are not pictures were skipped: in, notes.txt"]
    assert expand([str(b), str(tmp_path / "*.jpg"), str(tmp_path)], say=print) == [b, a, first]
    assert expand([str(tmp_path / "**" / "*.webp"), str(first)], say=pytest.fail) == [c, first]
    assert expand([str(tmp_path / "[an]*")], say=said.append) == [a] and "1 that" in said[-1]


@pytest.mark.parametrize("argument", ["none.png", "none*.png", "", "a\0b.png", pytest.param("x" * 5000, id="long")])
def test_what_names_no_photo_is_refused(tmp_path, argument):
    with pytest.raises(UserError):
        expand([str(tmp_path / argument)], say=print)


@pytest.mark.parametrize(
    "file",
    [
        *("my cat.png", "Füße.jpg", "\udcff.png", "<script>x</script>.png", "line\nbreak.png", "CON.png", ".png"),
        *("a:b.png", '"q".png', pytest.param("…" * 80 + ".png", id="long")),
    ],
)
def test_every_file_gets_a_name_that_a_run_takes(tmp_path, file):
    (name,) = names_for([tmp_path / file], {})
    assert not fault_of(f"{name}.png") and "/" not in name
    assert names_for([tmp_path / file], {}) == [name]


def test_photos_of_one_name_keep_their_folders(tmp_path):
    assert names_for([tmp_path / "my cat.png", tmp_path / "Füße.jpg"], {}) == ["my cat", "Füße"]
    paths = [tmp_path / "a" / "cat.png", tmp_path / "b" / "Cat.jpg", tmp_path / "c" / "cat.webp"]
    names = names_for(paths, {})
    assert names == ["cat", "b-Cat", "c-cat"]
    taken = {name: os.path.realpath(path) for name, path in zip(names, paths, strict=True)}
    assert names_for(paths[::-1], taken) == names[::-1]
    more = [tmp_path / name for name in ("d/cat.png", "e/d/cat.png", "a/cat.gif", "\x1b/cat.png")]
    *plain, escaped = names_for(more, taken)
    assert plain == ["d-cat", "e-d-cat", "cat_gif"] and escaped.startswith("cat-") and not fault_of(f"{escaped}.png")


def test_photos_that_differ_in_their_ending_alone_are_told_apart_by_it(tmp_path):
    paths = [tmp_path / name for name in ("ink.jpg", "ink.tif", "ink.TIF", "a-1.jpg", "a-1.png", "a.jpg")]
    names = ["ink_jpg", "ink_tif", "ink_2", "a-1_jpg", "a-1_png", "a"]
    assert names_for(paths, {}) == names
    assert names_for(paths, dict(zip(names, map(place_of, paths), strict=True))) == names
    assert names_for(paths[:2], {"ink": place_of(paths[0])}) == ["ink", "ink_tif"]  # the first was there alone


def test_a_folders_photos_are_in_the_order_that_people_expect(tmp_path):
    names = ["1.png", "2.png", "10.png", "a1b2.png", "a1b10.png", "a2.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    for argument in (tmp_path, tmp_path / "*.png"):
        assert [path.name for path in expand([str(argument)], say=pytest.fail)] == names
    given = [str(tmp_path / name) for name in reversed(names)]
    assert list(map(str, expand(given, say=pytest.fail))) == given


def test_a_link_has_its_own_name_and_keeps_it_when_it_leads_elsewhere(tmp_path):
    """As DVC and hubs have files: links to what is stored under a sum, equal files as one."""
    (tmp_path / "stored").mkdir()
    (tmp_path / "mine").mkdir()
    for stored in ("009.png", "ab12.png"):
        (tmp_path / "stored" / stored).write_bytes(b"x")
    links = [tmp_path / "mine" / name for name in ("first.png", "second.png")]
    for link in links:
        link.symlink_to(tmp_path / "stored" / "009.png")
    (tmp_path / "too").symlink_to(tmp_path / "mine")
    found = expand([str(tmp_path / "mine"), str(tmp_path / "too" / ".." / "mine" / "first.png")], say=pytest.fail)
    assert found == links and names_for(found, {}) == ["first", "second"]
    taken = {path.stem: place_of(path) for path in found}
    links[0].unlink()
    links[0].symlink_to(tmp_path / "stored" / "ab12.png")
    assert names_for([tmp_path / "too" / "first.png", tmp_path / "stored" / "009.png"], taken) == ["first", "009"]


def test_no_photo_has_a_name_that_the_objects_of_another_one_have(tmp_path):
    """The objects of `a.png` are filed under a-1, a-2, ..."""
    paths = [tmp_path / "x" / name for name in ("a.png", "a-1.png", "b-2.png", "b.png", "a-1-1.png")]
    assert names_for(paths, {}) == ["a", "x-a-1", "b-2", "x-b", "a-1-1"]


def test_everybody_in_a_photo_is_prepared_and_done_again_under_the_same_names(photo, tmp_path, made):
    out = tmp_path / "out"
    boxes = [CropBox(80, 100, 60), _BOX, CropBox(260, 90, 50)]

    def prepared(**wishes):
        return prepare(Request(photo, "a", **wishes), PhotoFolder(_config(out)), _finder(boxes))

    everybody = prepared()
    assert [photo.name for photo in everybody] == ["a-1", "a-2", "a-3"]
    assert [photo.subject.detection.box for photo in everybody] == boxes
    assert everybody[1].notes == ("a-2: 96 pixels around (190, 100); model: ictface; mask: GrabCut",)
    assert [photo.name for photo in prepared(which=2)] == ["a-2"]
    record = json.loads(everybody[1].files["a-2.json"])
    assert (record["number"], len(record["others"]), record["photo"]["name"]) == (2, 2, "a")
    (only,) = prepared(which=1)
    assert _make(_config(out), [only]) == {} and (out / "results/a-1/result.json").is_file()
    assert names_in(out) == {"a": os.path.realpath(photo)}
    with pytest.raises(UserError, match="3 objects were found, so there is no number 4"):
        prepared(which=4)


def test_the_page_names_photos_that_were_refused_and_shows_their_drawings(tmp_path):
    config = _config(tmp_path / "out")
    (tmp_path / "out/photos/framing").mkdir(parents=True)
    Image.new("RGB", (600, 400), (200, 30, 30)).save(tmp_path / "out/photos/framing/b.jpg")
    with PhotoFolder(config).work(_MODEL) as work:
        work.refuse({"b": "b.png: no face found, so it has no 3D result", "c": "c.png is damaged"})
    page, table = (tmp_path / "out" / name for name in ("index.html", "results.md"))
    for text in (page.read_text(), table.read_text()):
        assert "no face found" in text and "damaged" in text
    assert page.read_text().count("data:image/jpeg;base64,") == 1


def test_a_photo_that_changes_while_it_is_worked_on_gives_no_result_of_two(photo, tmp_path, monkeypatch, made):
    out, opened = tmp_path / "out", find.open_upright

    def changing(path, **arguments):
        picture = opened(path, **arguments)
        os.utime(path, ns=(1, 1))  # as if written to while it was searched
        return picture

    with monkeypatch.context() as patch:
        patch.setattr(find, "open_upright", changing)
        with pytest.raises(UserError, match="a.png changed while it was processed: run the same command again"):
            _prepare(photo, out)
    assert not out.exists()
    prepared = _prepare(photo, out)
    os.utime(photo, ns=(2, 2))
    failed = _make(_config(out), [prepared], texture=True)
    assert "a.png changed while it was processed" in failed["a"] and not (out / "results/a").exists()


@pytest.mark.parametrize(("picture", "model"), [("cat/image/001.png", "cat"), ("ictface/image/006.png", None)])
def test_another_model_is_named_where_it_knows_what_a_photo_shows(picture, model):
    photo = placed(picture, x=190, y=100, side=96)
    near = dataclasses.replace(_BOX, side=1.15 * _BOX.side)  # as YuNet may frame it
    other = other_kind(photo, [near], "ictface")
    assert other == (None if model is None else (model, "a cat's face"))


@pytest.mark.parametrize(
    ("picture", "score", "said"),
    [
        ("ictface/image/006.png", 0.7, "it shows a face: use --model people"),
        ("ictface/image/006.png", 0.9, ""),
        ("cat/image/001.png", 0.7, ""),
    ],
)
def test_a_model_of_cats_that_is_unsure_names_the_model_of_people(tmp_path, picture, score, said):
    path = tmp_path / "a.png"
    Image.fromarray(placed(picture, x=190, y=100, side=96)).save(path)
    detector = types.SimpleNamespace(detect=lambda photo: [Detection(_BOX, score)], most=12)
    folder = PhotoFolder(photo_folder.config_of(load_kind("cat"), tmp_path / "out", refine=False))
    finder = _finder(category="cat", detector=detector, kind="cat's face")
    (prepared,) = prepare(Request(path, "a"), folder, finder)
    assert [note.removeprefix("a.png: ") for note in prepared.notes[1:]] == ([said] if said else [])
    detector.detect = lambda photo: [Detection(_BOX, 0.1)]
    request = Request(path, "b")
    absent = "it shows a face: use --model people" if "ict" in picture else "so it has no 3D result$"
    with pytest.raises(NoDetectionError, match=absent):
        prepare(request, folder, finder)


def test_photos_are_refined_by_the_gan_that_the_model_was_lifted_from():
    kind = load_kind("people").copy_and_resolve_references().unlock()
    kind.gan.checkpoint = asset("cat/gan.safetensors")
    with pytest.raises(UserError, match="lifted from another GAN"):
        load_refiner(kind)


def test_who_refines_is_told_before_that_the_shape_stays_and_where_it_does_not(tmp_path, monkeypatch, photo, capsys):
    monkeypatch.setattr(command, "load_photo_model", lambda kind, log, refine: _REFINING)
    told = []
    monkeypatch.setattr(command, "_reconstruct", lambda *_: told.append(capsys.readouterr().err) or 0)
    for model in ("people", "ictface"):
        command.main([str(photo), "--model", model, "--refine", "--out", str(tmp_path / "out")])
    fits = "--refine fits {} to each photo"
    assert fits.format("light and colours") + "; the shape does not change\n" in told[0]
    assert fits.format("shape, view, light and colours") + "\n" in told[1]


def test_the_most_objects_that_are_taken_from_a_photo_are_told(photo, tmp_path, monkeypatch, capsys):
    for most, words in ((2, "; more than 2 are not taken from one photo\n"), (3, "a-2\n")):
        detector = types.SimpleNamespace(detect=lambda photo: [Detection(_BOX, 0.9)] * 2, most=most)
        model = PhotoModel(_finder(detector=detector), None)
        monkeypatch.setattr(command, "load_photo_model", lambda kind, log, refine, model=model: model)
        monkeypatch.setattr(
            Work, "make", lambda work, photos, log: work.items.fail({one.name: "x" for one in photos}) or {}
        )
        assert command.main([str(photo), "--out", str(tmp_path / "out")]) == 1
        printed = capsys.readouterr()
        assert "a.png: 2 faces, from left to right a-1 to a-2" in printed.err and words in printed.err
        assert printed.out.count("failed: x") == 2


def test_a_photo_that_cannot_be_read_is_not_used_and_one_whose_run_ends_badly_has_failed(tmp_path):
    with PhotoFolder(_config(tmp_path / "out")).work(_MODEL) as work:
        work.refuse({"a": "a.png is damaged"})
        work.items.expect(["b"])
        work.items.fail({"b": "the device failed"})
    table = (tmp_path / "out/results.md").read_text()
    assert "not used: a.png is damaged" in table and "failed: the device failed" in table
