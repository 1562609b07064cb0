"""What visitors are shown: a job's stages as they come, and only text, without the server's paths."""

import asyncio
import pathlib
import re

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `web` is not installed")

import gradio as gr

from gan2shape_jax.apps.serve import command
from gan2shape_jax.apps.serve import page as module
from gan2shape_jax.apps.serve import worker as jobs
from gan2shape_jax.apps.serve.page import Page
from gan2shape_jax.apps.serve.visits import Limits, Visits
from gan2shape_jax.errors import UserError
from gan2shape_jax.photos import find

_NAME = "<img src=x onerror=alert(1)>\n.jpg"
_BOXES = [{"x": 50.4, "y": 40, "side": 30, "roll_deg": 0}, {"x": 20, "y": 20, "side": 20, "roll_deg": 350}]
_REQUEST = gr.Request(session_hash="me")


class _Device:
    """Sends prepared messages for each job; a sentence in place of them is an error."""

    def __init__(self):
        self.messages, self.tasks, self.closed = [], [], 0

    async def run(self, task, visitor):
        self.tasks.append(task)
        if task.get("box") is None:
            Image.new("RGB", (200, 150)).save(f"{task['folder']}/{jobs.PREVIEW}")
        try:
            for message in self.messages:
                if isinstance(message, str):
                    raise UserError(message.format(**task))
                yield dict(message)
        finally:
            self.closed += 1


@pytest.fixture
def device():
    return _Device()


@pytest.fixture
def page(tmp_path, device):
    (tmp_path / "visits").mkdir()
    (tmp_path / "me.jpg").write_bytes(b"photo")
    kinds = {"ictface": "face", "faces": "face", "cats": "cat"}
    return Page(Visits(tmp_path, Limits()), device, Limits(), kinds=kinds)


def _all(iterator):
    async def collect():
        return [item async for item in iterator]

    return asyncio.run(collect())


def _sent(tmp_path):
    return [{"path": str(tmp_path / "me.jpg")}]


@pytest.mark.parametrize(
    ("absent", "x", "anyway"), [("", 50, False), ("", 51, True), ("me.jpg: no cat found", 50, True)]
)
def test_a_square_that_was_found_is_no_wish_for_a_result_in_any_case(page, device, tmp_path, absent, x, anyway):
    _framed(page, device, tmp_path, absent)
    _all(page.reconstructed(x, 40, 30, 0, False, False, _REQUEST))
    assert device.tasks[-1]["anyway"] is anyway


def _framed(page, device, tmp_path, absent="", note=""):
    facts = {"width": 400, "height": 300, "boxes": _BOXES, "absent": absent, "note": note, "refines": "the light"}
    device.messages = [{}, {"stage": jobs.FRAMING} | facts]
    return _all(page.photo_framed(_sent(tmp_path), "cats", _REQUEST))


def test_a_photo_is_framed_and_its_crop_moved(page, device, tmp_path):
    first, *_, last = _framed(page, device, tmp_path)
    assert "Searching the photo (0 s)." in first[page.status] and "2 cats found" in last[page.status]
    assert last[page.which]["choices"] == ["1", "2"] and last[page.go]["interactive"]
    other = asyncio.run(page.object_chosen("2", _REQUEST))
    assert [other[slider] for slider in page.box] == [20, 20, 20, -10]
    middle = gr.SelectData(None, {"index": [side / 2 for side in last[page.drawing].size], "value": None})
    clicked = asyncio.run(page.photo_clicked("1", 30, 0, middle, _REQUEST))
    assert [clicked[slider] for slider in page.box[:2]] == pytest.approx([200, 150], abs=2)
    assert "g2s-error" in asyncio.run(page.crop_changed("1", 5, 5, -3, 0, _REQUEST))[page.status]
    absent = "me.jpg: no cat found, so it has no 3D result; it shows a face: use --model faces"
    told = _framed(page, device, tmp_path, absent)[-1][page.status]
    assert "no cat found, so it has no 3D result; it shows a face: choose &quot;Face (faces)&quot; above. If" in told
    note = "it shows a face: use --model faces"
    last = _framed(page, device, tmp_path, note=note)[-1]
    assert "choose one. It shows a face: choose &quot;Face (faces)&quot; above.<" in last[page.status]
    assert last[page.refine]["label"] == "Take a few more minutes and fit the light to the photo"


def test_a_reconstruction_is_shown_stage_by_stage_and_its_page_once(page, device, tmp_path):
    _framed(page, device, tmp_path)
    device.messages = [
        {"say": "12:00:00 me: step1, 5 of <50>"},
        {"stage": jobs.MASK, "mask": "grabcut"},
        {"say": "writes /srv/secret"},
        {"stage": jobs.SHAPE, "files": ["mesh.glb", jobs.ARCHIVE, "index.html"]},
    ]
    cleared, *shown = _all(page.reconstructed(50, 40, 30, 0, True, False, _REQUEST))
    assert cleared == {page.files: "", page.frame: ""}
    assert device.tasks[-1]["box"] == (50.4, 40, 30, 0) and device.tasks[-1]["refine"]  # not rounded
    assert [task["model"] for task in device.tasks] == [2, 2]
    assert "step1, 5 of &lt;50&gt;" in shown[0][page.status] and not any(
        "/srv" in update[page.status] for update in shown
    )
    assert "framing.jpg" in shown[1][page.stages] and "iframe" in shown[3][page.frame]
    links = shown[3][page.files]
    assert "all.zip" in links and "mesh.glb" in links and "usdz" not in links
    assert sum(page.frame in update for update in shown) == 1
    assert "Done." in shown[-1][page.status]


@pytest.mark.parametrize("together", [False, True])
def test_several_photos_are_made_without_framing_together_or_each(page, device, tmp_path, together):
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "me.jpg").write_bytes(b"another photo")
    sent = [{"path": str(place / "me.jpg")} for place in (tmp_path, tmp_path / "2")]
    (ready,) = _all(page.photo_framed(sent, "faces", _REQUEST))
    assert "2 photos. If they show one person, say so below." in ready[page.status] and not device.tasks
    assert ready[page.together]["visible"] and not ready[page.chooser]["visible"] and ready[page.go]["interactive"]
    assert page._is_ready(_REQUEST) and asyncio.run(page.object_chosen("1", _REQUEST))[page.drawing] == gr.skip()
    device.messages = [{"stage": jobs.SHAPE, "files": ["index.html", jobs.ARCHIVE]}]
    *_, last = _all(page.reconstructed(None, None, None, 0, False, together, _REQUEST))
    assert "Done." in last[page.status]
    (task,) = device.tasks
    assert task["together"] is together and task["model"] == 1 and "box" not in task
    assert [pathlib.Path(path).read_bytes() for path in task["photos"]] == [b"photo", b"another photo"]
    assert list(task["shown"]) == ["me.jpg (1)", "me.jpg (2)"] and len(set(task["names"])) == 2
    device.messages = ["{photos[1]} is damaged; {folder} is full"]
    *_, failed = _all(page.reconstructed(None, None, None, 0, False, together, _REQUEST))
    assert "me.jpg (2) is damaged; the photos is full" in failed[page.status]


def test_a_video_is_one_result_without_framing_or_a_question(page, device, tmp_path):
    video = tmp_path / "turn.mp4"
    video.write_bytes(b"\0\0\0\x18ftypisom")
    (ready,) = _all(page.photo_framed([{"path": str(video)}], "faces", _REQUEST))
    assert "one result" in ready[page.status] and not ready[page.together]["visible"] and not device.tasks
    device.messages = [{"stage": jobs.SHAPE, "files": ["index.html", jobs.ARCHIVE]}]
    *_, last = _all(page.reconstructed(None, None, None, 0, False, False, _REQUEST))
    assert "Done." in last[page.status] and device.tasks[0]["together"] is True


def test_errors_name_no_paths_and_what_gradio_closes_stops(page, device, tmp_path):
    device.messages = ["{photos[0]} is damaged; {folder} too"]
    (failed,) = _all(page.photo_framed(_sent(tmp_path), "faces", _REQUEST))
    assert "me.jpg is damaged" in failed[page.status] and str(tmp_path) not in failed[page.status]
    (gone,) = _all(page.reconstructed(1, 1, 30, 0, False, False, _REQUEST))
    assert "has been deleted" in gone[page.status]
    assert "failed unexpectedly" in asyncio.run(page.refused(_REQUEST))[page.status]
    asyncio.run(page.cancelled(_REQUEST))
    assert "Cancelled" in asyncio.run(page.refused(_REQUEST))[page.status]

    async def closed():
        device.messages = [{}, {}, {}]
        job = page.photo_framed(_sent(tmp_path), "faces", _REQUEST)
        await anext(job)
        before = device.closed
        await job.aclose()
        return before, device.closed

    before, after = asyncio.run(closed())
    assert after == before + 1


def test_an_unexpected_exception_is_reported_with_its_number_in_the_log(page, device, tmp_path, monkeypatch, capsys):
    _framed(page, device, tmp_path)

    def faulty(*_):
        raise IndexError("at /srv/secret")

    monkeypatch.setattr(page, "_pictures", faulty)
    monkeypatch.setattr(page, "_results", faulty)
    monkeypatch.setattr(page._visits, "forget", lambda session: faulty() if session == "new" else None)
    click = gr.SelectData(None, {"index": [1, 1], "value": None})
    new = gr.Request(session_hash="new")
    told = [
        asyncio.run(page.object_chosen("1", _REQUEST)),
        asyncio.run(page.photo_clicked("1", 30, 0, click, _REQUEST)),
        asyncio.run(page.crop_changed("1", 5, 5, 30, 0, _REQUEST)),
        asyncio.run(page.photo_removed(new)),
        _all(page.photo_framed(_sent(tmp_path), "cats", new))[-1],
    ]
    device.messages = [{"stage": jobs.SHAPE, "files": []}]
    told.append(_all(page.reconstructed(50, 40, 30, 0, False, False, _REQUEST))[-1])
    assert told[-1][page.go]["interactive"] and not told[-2][page.go]["interactive"]
    told.append(asyncio.run(page.refused(_REQUEST)))
    numbers = [re.search("failed unexpectedly; .* error ([0-9a-f]{8})<", update[page.status])[1] for update in told]
    log = capsys.readouterr().err
    assert re.findall(r"^error (\w+): (?:Traceback|see above)", log, re.MULTILINE) == numbers
    assert len(set(numbers)) == 7 and log.count("IndexError: at /srv/secret") == 6
    monkeypatch.setattr(type(page.blocks._queue), "__len__", lambda queue: module._REMEMBERED)
    assert "too many photos are waiting" in asyncio.run(page.refused(_REQUEST))[page.status]


def test_names_and_messages_are_only_text(page):
    for text in (
        module.failure(f"{_NAME} is damaged"),
        module.note(_NAME),
    ):
        assert "<img" not in text and "&lt;img" in text and "\n" not in text
    source = pathlib.Path(find.__file__).read_text()  # what is replaced is what is said
    assert "name another --mask or --box" in source
    assert "move the square" in page._in_page_terms("it shows no object: name another --mask or --box", None)


def test_the_choices_are_in_a_visitors_words_and_the_test_faces_come_last(page):
    assert [name for _, name in page.model.choices] == ["faces", "cats", "ictface"] and page.model.value == "ictface"
    assert [label for label, _ in page.model.choices] == ["Face (faces)", "Cat (cats)", "Computer-made test faces"]


def test_that_a_job_was_cancelled_is_remembered_of_few_pages(page, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 20)
    for number in range(100):
        asyncio.run(page.cancelled(gr.Request(session_hash=f"page {number}")))
    assert list(page._cancelled) == [f"page {number}" for number in range(80, 100)]


def test_a_page_that_waits_is_told_how_many_are_before_it(page, device, tmp_path):
    device.messages = [{"before": 2}, {"before": 1}]
    first, second, *_ = _all_until(page.photo_framed(_sent(tmp_path), "cats", _REQUEST), 2)
    assert "2 photos are ahead of this one" in first[page.status] and "1 photo is" in second[page.status]


def _all_until(iterator, count):
    async def collect():
        return [await anext(iterator) for _ in range(count)]

    return asyncio.run(collect())


def test_no_path_of_the_server_is_told(page, device, tmp_path):
    device.messages = ["{folder}/photos/.work/1/image/me.png cannot be written: {photos[0]}: no"]
    (failed,) = _all(page.photo_framed(_sent(tmp_path), "cats", _REQUEST))
    assert "me.jpg cannot be written: me.jpg: no" in failed[page.status]


def test_a_visit_is_kept_as_long_as_its_job_takes(page, device, tmp_path):
    async def check():
        device.messages = [{}, {}]
        job = page.photo_framed(_sent(tmp_path), "cats", _REQUEST)
        await anext(job)
        page._visits._limits = Limits(keep_s=-1)
        (tmp_path / "uploads").mkdir()
        page._visits.tidy()
        kept = page._visits.find("me")
        await job.aclose()
        page._visits.tidy()
        return kept, page._visits.find("me")

    kept, after = asyncio.run(check())
    assert kept is not None and after is None


def test_visitors_choose_among_models_whose_detectors_are_there(monkeypatch):
    assert all(map(command._has_detector, ("cat", "people", "people:head"))) and not command._has_detector("xyzzy")
    monkeypatch.setattr(command, "stored_weights", lambda *_: None)
    assert not command._has_detector("cat")
