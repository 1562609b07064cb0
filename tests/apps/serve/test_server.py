"""The application as it is mounted: what a page sends reaches it, and what no page sends does not."""

import io

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `web` is not installed")

from helpers import fake_worker
from starlette.testclient import TestClient

from gan2shape_jax.apps.serve import server
from gan2shape_jax.apps.serve.device import Device
from gan2shape_jax.apps.serve.visits import Limits, Visits, server_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # the application sets it: put back afterwards
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with server_folder(tmp_path / "serving") as made:
        yield made


@pytest.fixture
def client(folder):
    device = Device(fake_worker.broken, seconds=10)
    visits = Visits(folder / "visits", keep_s=60)
    app = server.application(folder, visits, device, Limits(), kind="face", about="", local=True)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as one:
        yield one
    device.close()


def _number(client, name):
    """Returns the number by which a page calls a handler."""
    (number,) = (one["id"] for one in client.get("/config").json()["dependencies"] if one["api_name"] == name)
    return number


def _joined(client, path):
    """Returns the status of what a page sends once its photo has come in."""
    photo_sent = _number(client, "photo_framed")
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
    body = {"data": data, "fn_index": photo_sent, "session_hash": "me"}
    return client.post("/gradio_api/queue/join", json=body).status_code


def test_photos_that_were_sent_are_taken_and_files_of_the_machine_are_not(client, folder, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    (tmp_path / "mine.png").write_bytes(picture.getvalue())
    before = set(folder.rglob("*"))
    for path in (str(tmp_path / "mine.png"), "http://localhost/mine.png"):
        assert _joined(client, path) == 403
    assert set(folder.rglob("*")) == before, "a copy was made"
    (sent,) = client.post("/gradio_api/upload", files={"files": ("me.png", picture.getvalue())}).json()
    assert _joined(client, sent) == 200


def test_what_does_not_end_is_broken_off_and_told(client):
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    parts = (head if not k else b"x" * 1_000_000 for k in range(100))
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/gradio_api/upload", content=parts, headers=kind).status_code == 413


def test_what_is_not_queued_reaches_its_handler(client):
    body = {"data": [], "fn_index": _number(client, "cancelled"), "session_hash": "me"}
    assert client.post("/gradio_api/run/predict", json=body).status_code == 200


def test_other_names_of_this_machine_are_refused_and_only_jobs_are_queued(client):
    assert client.get("/config", headers={"Host": "evil.example"}).status_code == 400
    dependencies = client.get("/config").json()["dependencies"]
    queued = {one["api_name"] for one in dependencies if one["queue"] is not False and one["backend_fn"]}
    assert queued == {"photo_framed", "reconstructed"}


def test_no_other_door_is_open(client):
    for place in ("call/photo_framed", "api/photo_framed", "vibe-edit", "component_server", "process_recording"):
        assert client.post(f"/gradio_api/{place}", json={}).status_code == 403, place
