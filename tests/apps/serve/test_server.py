"""The server: options, visitors' files, and the application as it is mounted, with what no page sends."""

import importlib.util
import io
import socket
import time

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `web` is not installed")

from helpers import fake_worker
from starlette.testclient import TestClient

from gan2shape_jax import main as program
from gan2shape_jax.apps.serve import command
from gan2shape_jax.apps.serve.visits import Limits, Visits, server_folder
from gan2shape_jax.apps.serve.worker import Worker
from gan2shape_jax.errors import UserError


def test_what_cannot_be_served_is_one_sentence(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, words in (
            (["--port", str(taken.getsockname()[1])], "if another program has the port"),
            (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1"),
            (["--model", "nothing.safetensors"], "nothing.safetensors is not there"),
        ):
            assert command.main(options) == 1
            error = capsys.readouterr().err
            assert words in error and "Traceback" not in error
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    assert program.main(["serve"]) == 1
    assert "pip install -e '.[web]' in the checkout" in capsys.readouterr().err


@pytest.fixture
def visits(tmp_path):
    (tmp_path / "visits").mkdir()
    return Visits(tmp_path / "visits", keep_s=60)


def _new(visits, tmp_path, session="s", name="me.jpg"):
    (tmp_path / name).write_bytes(b"photo")
    return visits.new(session, tmp_path / name)


def test_files_go_after_their_time_with_another_photo_and_where_a_late_job_has_left_them(visits, tmp_path):
    first, second = _new(visits, tmp_path), _new(visits, tmp_path, name="<b>\n.jpg")
    assert second.photo == second.folder / "photo" and second.shown == r"<b>\n.jpg" and "<" not in second.name
    visits.tidy()
    assert not first.folder.exists() and second.photo.is_file() and visits.find("s") is second
    frame, result = second.new_folder("frame"), second.new_folder("result")
    another = second.new_folder("result")
    assert frame.is_dir() and another.is_dir() and not result.exists() and second.result == another
    second.used = time.monotonic() - 61
    visits.tidy()
    assert visits.find("s") is None and not second.folder.exists()
    second.folder.mkdir()  # by a job that was still running
    visits.tidy()
    assert not second.folder.exists()


def test_results_are_reached_by_their_visitor_alone_and_run_without_an_origin(visits, tmp_path):
    mine, other = _new(visits, tmp_path, "a"), _new(visits, tmp_path, "b")
    for visit in (mine, other):
        (visit.new_folder("result") / "index.html").write_text("page")
    token, folder = mine.folder.name, mine.result.name
    assert token != other.folder.name and len(token) >= 32
    for download, kind in ((False, "inline"), (True, "attachment")):
        answer = command.result_response(visits, token, folder, "index.html", download=download)
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200 and policy.startswith("sandbox") and "allow-same-origin" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-disposition"] == f'{kind}; filename="me-index.html"'
    for token_, folder_, name in [
        (other.folder.name, folder, "index.html"),
        (token, other.result.name, "index.html"),
        (token, folder, "../photo"),
        (token, folder, "/etc/passwd"),
        (token, "..", "index.html"),
        ("", folder, "index.html"),
        ("é", folder, "index.html"),
    ]:
        assert command.result_response(visits, token_, folder_, name, download=False).status_code == 404


def test_a_servers_folder_is_private_and_goes_with_it_or_with_the_next_start_after_a_crash(tmp_path):
    root = tmp_path / "root"
    with server_folder(root) as running:
        assert running.stat().st_mode & 0o077 == 0
        (running / "uploads" / "photo").write_bytes(b"12345")
        (root / "crashed").mkdir()
        (root / "crashed.lock").touch()  # which the system has let go of
        with server_folder(root) as other:
            assert {path for path in root.iterdir() if path.is_dir()} == {running, other}
    assert list(root.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot hold"), server_folder(tmp_path / "file"):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # the application sets it: put back afterwards
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        with server_folder(tmp_path_factory.mktemp("serving")) as folder:
            yield folder


@pytest.fixture(scope="module")
def client(folder):
    worker = Worker(fake_worker.broken, seconds=10)
    visits, kinds = Visits(folder / "visits", keep_s=60), {"faces": "face"}
    app = command.application(folder, visits, worker, Limits(), kinds=kinds, local=True)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as one:
        yield one
        worker.close()


def _post(client, handler, data, where="queue/join"):
    """Returns the status of what a page sends for one of its handlers."""
    (number,) = (one["id"] for one in client.get("/config").json()["dependencies"] if one["api_name"] == handler)
    body = {"data": data, "fn_index": number, "session_hash": "me"}
    return client.post(f"/gradio_api/{where}", json=body).status_code


def test_photos_that_were_sent_are_taken_and_files_of_the_machine_are_not(client, folder, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    (tmp_path / "mine.png").write_bytes(picture.getvalue())
    before = set(folder.rglob("*"))

    def joined(path):
        return _post(client, "photo_framed", [{"path": path, "meta": {"_type": "gradio.FileData"}}])

    for path in (str(tmp_path / "mine.png"), "http://localhost/mine.png"):
        assert joined(path) == 403
    assert set(folder.rglob("*")) == before, "a copy was made"
    (sent,) = client.post("/gradio_api/upload", files={"files": ("me.png", picture.getvalue())}).json()
    assert joined(sent) == 200
    assert _post(client, "cancelled", [], "run/predict") == 200  # not queued


def test_what_no_page_sends_is_refused(client):
    assert client.post("/gradio_api/upload", content=b"", headers={"Content-Length": "100000000"}).status_code == 413
    assert client.get("/config", headers={"Host": "evil.example"}).status_code == 400
    dependencies = client.get("/config").json()["dependencies"]
    queued = {one["api_name"] for one in dependencies if one["queue"] is not False and one["backend_fn"]}
    assert queued == {"photo_framed", "reconstructed"}
    for place in ("call/photo_framed", "api/photo_framed", "vibe-edit", "component_server", "process_recording"):
        assert client.post(f"/gradio_api/{place}", json={}).status_code == 403, place
