"""What comes in is refused before it fills the disk: by the length announced or sent, by what lies there."""

import asyncio

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from gan2shape_jax.serving.guard import Guard
from gan2shape_jax.serving.limits import Limits

_LIMITS = Limits(file_bytes=1_000_000, stored_bytes=5_000_000, uploads=1)


async def _eager(scope, receive, send):
    """Reads all there is, as an upload does."""
    while (await receive()).get("more_body"):
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _status(folder, path, parts, length=None, app=_eager):
    """Returns the answer's status, its headers, and how many parts of the request were taken."""
    sent, taken, waiting = [], [], list(parts)

    async def receive():
        taken.append(waiting.pop(0))
        return {"type": "http.request", "body": taken[-1], "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "path": path, "headers": headers, "method": "POST"}
    asyncio.run(Guard(app, folder, _LIMITS)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), len(taken)


def test_a_gigabyte_is_refused_unread(tmp_path):
    assert _status(tmp_path, "/gradio_api/upload", [b"x"], length=10**9)[::2] == (413, 0)


def test_a_length_that_was_not_announced_is_broken_off(tmp_path):
    status, _, taken = _status(tmp_path, "/gradio_api/upload", 1000 * [b"x" * 100_000])
    assert status == 413 and taken < 15


def test_requests_without_files_are_small(tmp_path):
    assert _status(tmp_path, "/gradio_api/queue/join", 30 * [b"x" * 100_000])[0] == 413


def test_a_full_disk_takes_no_more(tmp_path):
    assert _status(tmp_path, "/gradio_api/upload", [b"x"])[0] == 200
    (tmp_path / "large").write_bytes(bytes(5_000_001))
    assert _status(tmp_path, "/gradio_api/upload", [b"x"])[0] == 507
    assert _status(tmp_path, "/", [b""])[0] == 200


def test_pages_may_ask_nothing_of_other_servers(tmp_path):
    policy = _status(tmp_path, "/", [b""])[1][b"content-security-policy"].decode()
    assert "http" not in policy and "*" not in policy and "default-src 'self'" in policy
