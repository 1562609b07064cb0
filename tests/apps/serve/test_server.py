"""The server: options, visitors' files, and the application as it is mounted, with what no page sends."""

import importlib.util
import io
import os
import socket
import time

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `web` is not installed")

from helpers import fake_worker
from starlette.testclient import TestClient

from gan2shape_jax import main as program
from gan2shape_jax.apps.serve import command
from gan2shape_jax.apps.serve import visits as module
from gan2shape_jax.apps.serve.visits import Limits, Visits, server_folder
from gan2shape_jax.apps.serve.worker import Worker
from gan2shape_jax.errors import UserError


def test_what_cannot_be_served_is_one_sentence(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, words in (
            (["--port", str(taken.getsockname()[1])], "if another program has the port"),
            (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1"),
            (["--model", "nothing.safetensors"], "nothing.safetensors is missing"),
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
    (tmp_path / "uploads").mkdir()
    return Visits(tmp_path, Limits(keep_s=60, photos=8))


def _new(visits, tmp_path, session="s", name="me.jpg"):
    (tmp_path / name).write_bytes(b"photo")
    return visits.new(session, [tmp_path / name])


def _sent(visits, visitor="a", name="me.jpg", content=b"photo"):
    token = visits.expect(visitor, len(content))
    return visits.keep(token, name, io.BytesIO(content))


def test_files_go_after_their_time_with_another_photo_and_where_a_late_job_has_left_them(visits, tmp_path):
    first, second = _new(visits, tmp_path), _new(visits, tmp_path, name="<b>\n.jpg")
    assert second.photos == [second.folder / "photo-0"] and second.shown == (r"<b>\n.jpg",) and "<" not in second.name
    visits.tidy()
    assert not first.folder.exists() and second.photos[0].is_file() and visits.find("s") is second
    frame, result = second.new_folder("frame"), second.new_folder("result")
    another = second.new_folder("result")
    assert frame.is_dir() and another.is_dir() and not result.exists() and second.result == another
    second.used = time.monotonic() - 61
    visits.tidy()
    assert visits.find("s") is None and not second.folder.exists()
    second.folder.mkdir()  # by a job that was still running
    visits.tidy()
    assert not second.folder.exists()


def test_uploads_go_after_their_time_and_so_does_what_nobody_knows(visits, tmp_path):
    sent = _sent(visits)
    visit = visits.new("s", [sent])
    assert visit.photos[0].stat().st_ino == sent.stat().st_ino  # on the disk it is there once
    uploads = tmp_path / "uploads"
    for name in ("tmpabc", "tmpdef"):
        (uploads / name).write_bytes(b"left")
    (uploads / "hash").mkdir()
    os.utime(uploads / "tmpabc", (1, 1))
    os.utime(uploads / "hash", (1, 1))
    (uploads / "link").symlink_to(tmp_path)
    os.utime(uploads / "link", (1, 1), follow_symlinks=False)
    visits.tidy()
    assert set(uploads.iterdir()) == {sent.parent, uploads / "tmpdef"} and tmp_path.is_dir()
    visits._uploads[sent.parent.name].used = time.monotonic() - 61
    visits.tidy()
    assert not sent.exists() and visit.photos[0].read_bytes() == b"photo"


def test_only_the_newest_pictures_of_the_page_are_kept(visits, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PICTURES", 3)
    for number in range(6):
        (tmp_path / "uploads" / f"{number}").mkdir()
        os.utime(tmp_path / "uploads" / f"{number}", (time.time() - 20 + number,) * 2)
    visits.tidy()
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {"3", "4", "5"}


def test_a_visitor_has_a_share_of_the_room_by_number_and_by_bytes(visits):
    for _ in range(2):
        assert visits.has_room("a", 5)
        _sent(visits)
    assert not visits.has_room("a", 5) and visits.has_room("b", 5)  # a quarter of 8
    for visitor in "bcd":
        for _ in range(2):
            _sent(visits, visitor)
    assert not visits.has_room("e", 5)
    most = Limits().stored_bytes
    for size, fits in ((most // 4 + 1, False), (most // 4 - 10, True)):
        assert visits.has_room("a", size) is False and Visits.has_room(_fresh(visits), "a", size) is fits


def _fresh(visits):
    return Visits(visits._uploads_in.parent, Limits())


def test_the_oldest_of_too_many_visits_of_one_visitor_are_forgotten(visits, tmp_path):
    (tmp_path / "me.jpg").write_bytes(b"photo")
    for session, visitor in (("1", "a"), ("2", "a"), ("other", "b"), ("3", "a")):
        visits.new(session, [tmp_path / "me.jpg"], visitor).used -= 10 - len(visits._visits)
    assert [visits.find(session) is not None for session in ("1", "2", "other", "3")] == [False, True, True, True]


@pytest.mark.parametrize("name", ["..", ".", "", "../../x", "a/b.png", "c:\\b.png", "\0\n.png", "é" * 300])
def test_no_name_leads_out_of_an_uploads_folder(visits, tmp_path, name):
    path = _sent(visits, name=name)
    assert path.is_file() and path.parent.parent == tmp_path / "uploads" and path.name.isprintable()


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
        assert policy.endswith("; frame-ancestors 'self'")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-disposition"] == f'{kind}; filename="me-index.html"'
    wrong = [
        (other.folder.name, folder, "index.html"),
        (token, other.result.name, "index.html"),
        (token, folder, "../photo"),
        (token, folder, "/etc/passwd"),
        (token, "..", "index.html"),
        ("", folder, "index.html"),
        ("é", folder, "index.html"),
    ]
    codes = [command.result_response(visits, *names, download=False).status_code for names in wrong]
    assert codes == [404] * len(wrong)


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
    limits, kinds = Limits(keep_s=60), {"faces": "face"}
    worker, visits = Worker(fake_worker.broken, limits=limits), Visits(folder, limits)
    app = command.application(folder, visits, worker, limits, kinds=kinds, local=True)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as first:
        yield first
        worker.close()


def _post(client, handler, data, where="queue/join"):
    """Returns the status of what a page sends for one of its handlers."""
    (number,) = (
        handler_facts["id"]
        for handler_facts in client.get("/config").json()["dependencies"]
        if handler_facts["api_name"] == handler
    )
    body = {"data": data, "fn_index": number, "session_hash": "me"}
    return client.post(f"/gradio_api/{where}", json=body).status_code


def test_photos_that_were_sent_are_taken_and_files_of_the_machine_are_not(client, folder, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    (tmp_path / "mine.png").write_bytes(picture.getvalue())
    before = set(folder.rglob("*"))

    def joined(path):
        return _post(client, "photo_framed", [[{"path": path, "meta": {"_type": "gradio.FileData"}}], "people"])

    for path in (str(tmp_path / "mine.png"), "http://localhost/mine.png"):
        assert joined(path) == 403
    assert set(folder.rglob("*")) == before, "a copy was made"
    (sent,) = client.post("/gradio_api/upload", files={"files": ("me.png", picture.getvalue())}).json()
    assert joined(sent) == 200
    assert _post(client, "cancelled", [], "run/predict") == 200  # not queued


@pytest.mark.parametrize(
    "place", ["call/photo_framed", "api/photo_framed", "vibe-edit", "component_server", "process_recording"]
)
def test_a_path_that_no_page_calls_is_refused(client, place):
    assert client.post(f"/gradio_api/{place}", json={}).status_code == 403, place


def test_what_no_page_sends_is_refused(client):
    assert client.post("/gradio_api/upload", content=b"", headers={"Content-Length": "1000000000"}).status_code == 413
    assert client.get("/config", headers={"Host": "evil.example"}).status_code == 400
    dependencies = client.get("/config").json()["dependencies"]
    queued = {
        handler_facts["api_name"]
        for handler_facts in dependencies
        if handler_facts["queue"] is not False and handler_facts["backend_fn"]
    }
    assert queued == {"photo_framed", "reconstructed"}
