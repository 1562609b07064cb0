"""Uploads as they come over a connection: broken off, slow, many, named to do harm; whoever is honest is served."""

import asyncio
import contextlib
import errno
import functools
import io
import json
import os
import select
import shutil
import socket
import sys
import time

import pytest

pytest.importorskip("gradio", reason="the extra `web` is not installed")

import uvicorn
from helpers import fake_worker
from helpers.served import Visitor, picture, served
from starlette.testclient import TestClient

from gan2shape_jax.apps.serve import command, guard
from gan2shape_jax.apps.serve.visits import Limits, Visits, server_folder
from gan2shape_jax.apps.serve.worker import Worker

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have 127.0.0.1 alone")
_LIMITS = Limits(file_bytes=1_000_000, photos=40, waiting=4)
_SILENT_S = 4.0


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Where the server writes what it has to say."""
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def server(log):
    """A server that expects a body's first byte, and a connection's first request, within seconds."""
    with log.open("w") as file, served(log.parent, _LIMITS, log=file, _GRACE_S=1.0, _SILENT_S=_SILENT_S) as server:
        yield server


def _until(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _uploads(server):
    return [path for path in server.files() if "uploads" in path.parts]


@linux
def test_nothing_stays_of_what_breaks_off_and_of_what_is_refused(server):
    before = _uploads(server)
    for number in range(4):
        Visitor(server, f"127.0.1.{number}").begins_upload(900_000, 500_000).close()
    visitor = Visitor(server, "127.0.1.9")
    assert visitor.upload(*[(f"{k}.png", picture()) for k in range(_LIMITS.together + 1)])[0] == 400
    assert visitor.upload(("a.png", picture()), ("large.png", bytes(1_000_001)))[0] == 413
    assert visitor.upload()[0] == 400
    assert visitor.ask("POST", "/gradio_api/upload", b"photo", content_type="image/png")[0] == 400
    assert visitor.upload(("a.png", picture()), origin="http://evil.example")[0] == 403
    assert visitor.upload(("large.png", bytes(1_000_001)))[0] == 413
    assert visitor.upload(("huge.png", bytes(4_100_000)))[0] == 413
    _until(lambda: _uploads(server) == before)
    status, content = visitor.upload(("..", picture()))
    assert status == 200 and json.loads(content)[0].endswith("/photo")
    status, content = visitor.upload(("a.png", picture()), ("b.png", picture()))
    assert status == 200 and [path.rpartition("/")[2] for path in json.loads(content)] == ["a.png", "b.png"]


@linux
def test_whoever_sends_slowly_is_sent_away_and_takes_no_other_visitors_place(server):
    slow = [Visitor(server, "127.0.2.1").begins_upload(900_000, 10) for _ in range(4)]
    time.sleep(0.3)
    assert Visitor(server, "127.0.2.1").upload(("a.png", picture()))[0] == 503
    assert Visitor(server, "127.0.2.2").upload(("a.png", picture()))[0] == 200
    for line in slow:
        answer = line.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408") and b"too slow" in answer + line.recv(1000)
        assert line.recv(1000) == b""  # the connection is closed
        line.close()
    assert Visitor(server, "127.0.2.1").upload(("a.png", picture()))[0] == 200


@linux
def test_an_address_has_so_many_connections_and_those_that_ask_for_nothing_are_closed(server):
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        silent = [stack.enter_context(Visitor(server, "127.0.4.1").connect()) for _ in range(210)]
        for line in silent[:100]:
            with contextlib.suppress(ConnectionError):  # on a slow machine the first are late by now
                line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # and no end of it
        _until(lambda: len(_closed(silent)) >= 10)
        closed = len(_closed(silent))
        # The others are not late before their time; how many are late after it is the machine's.
        assert closed == 10 or time.monotonic() - began > _SILENT_S
        assert Visitor(server, "127.0.4.2").ask("GET", "/config")[0] == 200
        _until(lambda: len(_closed(silent)) == 210, seconds=20)
    assert Visitor(server, "127.0.4.1").ask("GET", "/config")[0] == 200


@pytest.mark.ci
@linux
def test_with_few_files_to_open_connections_are_refused_and_the_log_stays_short(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        log = stack.enter_context((tmp_path / "log").open("w"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        server = stack.enter_context(served(tmp_path, _LIMITS, log=log, _SILENT_S=1.0))
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        silent = [stack.enter_context(Visitor(server, f"127.0.5.{k % 5}").connect()) for k in range(300)]
        _until(lambda: len(_closed(silent)) == 300, seconds=20)
        assert Visitor(server, "127.0.6.1").visit() == ""
    assert (tmp_path / "log").read_text() == ""


@linux
def test_connections_that_are_refused_have_room_until_they_are_closed(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 256))
    waiting, most = 16, 0
    protocol = guard.limited_connections([], waiting)
    settings = uvicorn.Config(lambda: None)
    settings.load()

    def sockets() -> int:
        count = 0
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the folder itself, by now
                count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        return count

    async def crowd() -> None:
        nonlocal most
        state = uvicorn.server.ServerState()
        made = functools.partial(protocol, settings, state, {})
        server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0, backlog=waiting)
        others = sockets()
        async with server:
            with contextlib.ExitStack() as stack:
                for visitor in range(24):  # as many come in each turn of the loop as the system lets wait
                    for _ in range(waiting):
                        line = stack.enter_context(socket.socket())
                        line.bind((f"127.0.5.{visitor % 8}", 0))
                        line.setblocking(False)
                        line.connect_ex(server.sockets[0].getsockname())
                    await asyncio.sleep(0)
                    most = max(most, sockets() - others - waiting * (visitor + 1))
            await asyncio.sleep(0.1)
            while state.connections:  # all have gone, and each end of theirs is closed
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(crowd(), 60))
    assert 200 < most <= 256 - guard._OTHERS


def _closed(lines):
    ready, _, _ = select.select(lines, [], [], 0)  # nothing is sent to them
    return ready


@linux
def test_one_visitor_takes_a_share_of_room_and_line_and_another_is_served(server):
    greedy = Visitor(server, "127.0.3.1")
    answers = [greedy.upload(("slow.png", picture())) for _ in range(11)]
    assert [status for status, _ in answers] == [200] * 10 + [507]  # a quarter of 40
    photo, number = (
        {"path": json.loads(answers[0][1])[0], "meta": {"_type": "gradio.FileData"}},
        greedy.number("photo_framed"),
    )
    for _ in range(4):  # one is computed, one waits
        page = Visitor(server, "127.0.3.1")
        assert page.join(number, [[photo], "people"])[0] == 200
    assert "of yours" in page.told()
    assert Visitor(server, "127.0.3.2").visit() == ""


@pytest.mark.ci
def test_a_full_disk_is_a_sentence_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # the application sets it: put back afterwards

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/secret")

    with server_folder(tmp_path / "serving") as folder:
        visits = Visits(folder, _LIMITS)
        app = command.application(
            folder, visits, Worker(fake_worker.broken, limits=_LIMITS), _LIMITS, kinds={"people": "face"}, local=True
        )
        with TestClient(app, base_url="http://localhost") as client:
            monkeypatch.setattr(shutil, "copyfileobj", full)
            answer = client.post("/gradio_api/upload", files={"files": ("me.png", io.BytesIO(b"photo"))})
        assert answer.status_code == 507 and "the disk is full" in answer.text and "/srv" not in answer.text
        assert not visits._uploads and list((folder / "uploads").iterdir()) == []


_WRONG = [
    ("crop_changed", ["1", None, 1, 1, 1]),
    ("crop_changed", ["1", {}, 1, 1, 1]),
    ("crop_changed", ["1", float("nan"), 1, 1, 1]),
    ("crop_changed", ["1", 1, 1, 1e308, 1]),
    ("crop_changed", ["1", 1, 1, 10**400, 1]),
    ("crop_changed", ["9", 1, 1, 1, 1]),
    ("crop_changed", [1, 1, 1, 1, 1]),
    ("crop_changed", ["1", 1]),
    ("object_chosen", [{"path": "x", "meta": {"_type": "gradio.FileData"}, "size": "x"}]),
    ("photo_clicked", ["1", 32, 0]),
    ("reconstructed", ["x", None, 30, 0, False, False]),
    ("reconstructed", [1, 2, 3]),
    ("photo_framed", [[{}], "people"]),
    ("photo_framed", ["x", "people"]),
    ("photo_framed", [None, 7]),
]


def test_values_that_no_page_sends_write_no_traceback_and_the_page_goes_on(server, log):
    me = Visitor(server)
    photo = {"path": json.loads(me.upload(("me.png", picture()))[1])[0], "meta": {"_type": "gradio.FileData"}}
    assert me.join(me.number("photo_framed"), [[photo], "people"])[0] == 200
    me.told()
    for handler, data in _WRONG:
        number = me.number(handler)
        if handler in ("photo_framed", "reconstructed"):
            if me.join(number, data)[0] == 200:
                assert "process_completed" in me.told()
        else:
            for event in (None, {"index": ["x", 10**400], "value": None}, {"index": [1]}):
                fields = {"fn_index": number, "session_hash": me.session, "event_data": event}
                assert me.post("run/predict", data=data, **fields)[0] in (200, 403)
    assert me.visit() == "" and log.read_text() == ""


def test_a_body_of_two_lengths_is_neither_stored_nor_kept_in_memory(server):
    before, body = server.memory(), b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    for place, kind in (("upload", "multipart/form-data; boundary=a"), ("queue/join", "application/json")):
        head = f"POST /gradio_api/{place} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        with Visitor(server).connect() as line, contextlib.suppress(ConnectionError):
            line.sendall(f"{head}Content-Length: 300\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            for _ in range(100):
                line.sendall(body)
            raise AssertionError("all of it was taken")
    assert server.memory() - before < 20 << 20
