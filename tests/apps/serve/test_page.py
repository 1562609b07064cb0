"""What visitors are shown: a job's stages as they come, and only text, without the server's paths."""

import asyncio

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `web` is not installed")

import gradio as gr

from gan2shape_jax.apps.photo import photo_run
from gan2shape_jax.apps.serve import page as module
from gan2shape_jax.apps.serve import worker as jobs
from gan2shape_jax.apps.serve.page import Page
from gan2shape_jax.apps.serve.visits import Limits, Visits
from gan2shape_jax.errors import UserError

_NAME = "<img src=x onerror=alert(1)>\n.jpg"
_BOXES = [{"x": 50.4, "y": 40, "side": 30, "roll_deg": 0}, {"x": 20, "y": 20, "side": 20, "roll_deg": 350}]
_REQUEST = gr.Request(session_hash="me")


class _Device:
    """Sends prepared messages for each job; a sentence in place of them is an error."""

    def __init__(self):
        self.messages, self.tasks, self.closed = [], [], 0

    async def run(self, task):
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
    return Page(Visits(tmp_path / "visits", keep_s=60), device, Limits(), kinds={"faces": "face", "cats": "cat"})


def _all(iterator):
    async def collect():
        return [item async for item in iterator]

    return asyncio.run(collect())


def _framed(page, device, tmp_path, known=True):
    device.messages = [{}, {"stage": jobs.FRAMING, "width": 400, "height": 300, "boxes": _BOXES, "known": known}]
    return _all(page.photo_framed(str(tmp_path / "me.jpg"), "cats", _REQUEST))


def test_a_photo_is_framed_and_its_crop_moved(page, device, tmp_path):
    first, *_, last = _framed(page, device, tmp_path)
    assert "Looking for the object (0 s)." in first[page.status] and "2 objects found" in last[page.status]
    assert last[page.which]["choices"] == ["1", "2"] and last[page.go]["interactive"]
    other = asyncio.run(page.object_chosen("2", _REQUEST))
    assert [other[slider] for slider in page.box] == [20, 20, 20, -10]
    middle = gr.SelectData(None, {"index": [side / 2 for side in last[page.drawing].size], "value": None})
    clicked = asyncio.run(page.photo_clicked("1", 30, 0, middle, _REQUEST))
    assert [clicked[slider] for slider in page.box[:2]] == pytest.approx([200, 150], abs=2)
    assert "g2s-error" in asyncio.run(page.crop_changed("1", 5, 5, -3, 0, _REQUEST))[page.status]
    assert "looks like a cat" in _framed(page, device, tmp_path, known=False)[-1][page.status]


def test_a_reconstruction_is_shown_stage_by_stage_and_its_page_once(page, device, tmp_path):
    _framed(page, device, tmp_path)
    device.messages = [
        {"say": "12:00:00 me: step1, 5 of <50>"},
        {"stage": jobs.MASK, "mask": "found"},
        {"say": "writes /srv/secret"},
        {"stage": jobs.SHAPE, "verdict": "Trust it", "files": ["mesh.glb", jobs.ARCHIVE, "index.html"]},
    ]
    cleared, *shown = _all(page.reconstructed(50, 40, 30, 0, True, _REQUEST))
    assert cleared == {page.files: "", page.frame: ""}
    assert device.tasks[-1]["box"] == (50.4, 40, 30, 0) and device.tasks[-1]["refine"]  # not rounded
    assert [task["model"] for task in device.tasks] == [1, 1]
    assert "step1, 5 of &lt;50&gt;" in shown[0][page.status] and not any("/srv" in one[page.status] for one in shown)
    assert "mask: found" in shown[1][page.stages] and "iframe" in shown[3][page.frame]
    links = shown[3][page.files]
    assert "Trust it" in links and "all.zip" in links and "mesh.glb" in links and "usdz" not in links
    assert sum(page.frame in one for one in shown) == 1
    assert "Done." in shown[-1][page.status]


def test_errors_name_no_paths_and_what_gradio_closes_stops(page, device, tmp_path):
    device.messages = ["{photo} is damaged; {folder} too"]
    (failed,) = _all(page.photo_framed(str(tmp_path / "me.jpg"), "faces", _REQUEST))
    assert "me.jpg is damaged" in failed[page.status] and str(tmp_path) not in failed[page.status]
    (gone,) = _all(page.reconstructed(1, 1, 30, 0, False, _REQUEST))
    assert "no longer kept" in gone[page.status]
    assert "too many photos" in asyncio.run(page.refused(_REQUEST))[page.status]
    asyncio.run(page.cancelled(_REQUEST))
    assert "Cancelled" in asyncio.run(page.refused(_REQUEST))[page.status]

    async def closed():
        device.messages = [{}, {}, {}]
        job = page.photo_framed(str(tmp_path / "me.jpg"), "faces", _REQUEST)
        await anext(job)
        before = device.closed
        await job.aclose()
        return before, device.closed

    before, after = asyncio.run(closed())
    assert after == before + 1


def test_names_and_messages_are_only_text(page):
    for text in (
        module.failure(f"{_NAME} is damaged"),
        module.note(_NAME),
        page._results("results/a/b", {jobs.SHAPE: {"verdict": _NAME, "files": []}})[page.files],
    ):
        assert "<img" not in text and "&lt;img" in text and "\n" not in text
    assert "give another --mask or --box" in open(photo_run.__file__).read()  # what is replaced is what is said
    assert "choose another crop" in module.failure("it shows no object: give another --mask or --box")
