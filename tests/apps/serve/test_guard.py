"""What comes in is refused before it does harm: by the length announced or sent, what lies there, what it names."""

import asyncio
import json

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from gan2shape_jax.apps.serve.visits import Guard, Limits

_LIMITS = Limits(file_bytes=200_000, uploads=1)


async def _eager(scope, receive, send):
    """Reads all there is, as an upload does."""
    while (await receive()).get("more_body"):
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _status(folder, path, parts, length=None, app=_eager, method="POST"):
    """Returns the answer's status, its headers, and how many parts of the request were taken."""
    sent, taken, waiting = [], [], list(parts)

    async def receive():
        taken.append(waiting.pop(0))
        return {"type": "http.request", "body": taken[-1], "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "path": path, "headers": headers, "method": method}
    asyncio.run(Guard(app, folder, _LIMITS)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), len(taken)


def test_what_is_too_large_is_refused_unread_or_broken_off(tmp_path):
    assert _status(tmp_path, "/gradio_api/upload", [b"x"], length=10**9)[::2] == (413, 0)
    status, _, taken = _status(tmp_path, "/gradio_api/upload", 1000 * [b"x" * 100_000])
    assert status == 413 and taken < 15
    assert _status(tmp_path, "/gradio_api/queue/join", 30 * [b"x" * 100_000])[0] == 413


def test_a_full_disk_takes_no_more(tmp_path):
    assert _status(tmp_path, "/gradio_api/upload", [b"x"])[0] == 200
    (tmp_path / "large").write_bytes(bytes(8_000_001))
    assert _status(tmp_path, "/gradio_api/upload", [b"x"])[0] == 507
    assert _status(tmp_path, "/", [b""], method="GET")[0] == 200


def _joined(folder, path, where="/gradio_api/queue/join"):
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
    return _status(folder, where, [json.dumps({"fn_index": 0, "data": data}).encode()])[0]


def test_no_file_is_named_that_nobody_has_sent(tmp_path):
    sent = tmp_path / "uploads" / "0a" / "me.jpg"
    sent.parent.mkdir(parents=True)
    sent.write_bytes(b"photo")
    (tmp_path / "secret.jpg").write_bytes(b"not sent")
    (tmp_path / "uploads" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert _joined(tmp_path, str(sent)) == 200
    for path in (
        str(tmp_path / "secret.jpg"),
        str(tmp_path / "uploads" / ".." / "secret.jpg"),
        str(tmp_path / "uploads" / "link.jpg"),
        str(tmp_path / "uploads"),
        "https://example.com/a.jpg",
        "secret.jpg",
        "\0",
        None,
        [str(sent)],
    ):
        assert _joined(tmp_path, path) == 403, path
    assert _joined(tmp_path, str(tmp_path / "secret.jpg"), "/gradio_api/run/photo_sent") == 403
    assert _joined(tmp_path, str(sent), "/gradio_api/call/photo_sent") == 403


def test_no_file_is_given_out_but_pictures_of_the_page_and_nothing_of_other_servers(tmp_path):
    picture = tmp_path / "uploads" / "0a" / "crop.webp"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    (tmp_path / "secret.jpg").write_bytes(b"not sent")
    assert _status(tmp_path, f"/gradio_api/file={picture}", [b""], method="GET")[0] == 200
    for place in ("https://example.com/a", "http:/example.com/a", tmp_path / "secret.jpg", tmp_path / "uploads"):
        for door in ("file=", "file/", "proxy="):
            assert _status(tmp_path, f"/gradio_api/{door}{place}", [b""], method="GET")[0] == 404, (door, place)


def test_what_a_request_was_looked_at_for_still_reaches_the_application(tmp_path):
    seen = []

    async def reading(scope, receive, send):
        seen.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    parts = [b'{"data": ', b"[1, 2]}", b""]
    assert _status(tmp_path, "/gradio_api/queue/join", parts, app=reading)[0] == 200
    assert seen == [b'{"data": [1, 2]}']
    for no_json in (b"{", b"[" * 100_000, b"\xff"):
        assert _status(tmp_path, "/gradio_api/queue/join", [no_json])[0] == 403


def test_pages_may_ask_nothing_of_other_servers(tmp_path):
    policy = _status(tmp_path, "/", [b""], method="GET")[1][b"content-security-policy"].decode()
    assert "http" not in policy and "*" not in policy and "default-src 'self'" in policy
