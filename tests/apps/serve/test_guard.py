"""What comes in is refused before it does harm: by the length announced, what lies there, what it names."""

import json

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from gan2shape_jax.apps.serve.guard import Guard
from gan2shape_jax.apps.serve.visits import Limits

_LIMITS = Limits(file_bytes=200_000, uploads=1)
_UPLOAD, _JOIN = "/gradio_api/upload", "/gradio_api/queue/join"


async def _echo(scope, receive, send):
    """Reads all there is, as an upload does, and sends it back."""
    await Response(await Request(scope, receive).body())(scope, receive, send)


@pytest.fixture
def client(tmp_path):
    """What is behind the guard, whose folder is `tmp_path`, with an upload, a link out of the uploads, and a secret."""
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "me.jpg").write_bytes(b"photo")
    (tmp_path / "secret.jpg").write_bytes(b"not sent")
    (tmp_path / "uploads" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return TestClient(Guard(_echo, tmp_path, _LIMITS))


def test_what_is_too_large_or_of_no_known_length_is_refused_and_a_full_disk_takes_no_more(client, tmp_path):
    for path, length in ((_UPLOAD, 10**9), (_JOIN, 2 * 10**6)):
        assert client.post(path, content=b"x", headers={"Content-Length": str(length)}).status_code == 413
    assert client.post(_UPLOAD, content=iter([b"x"])).status_code == 411
    assert client.post(_UPLOAD, content=b"x").content == b"x"
    (tmp_path / "large").write_bytes(bytes(8_000_001))
    assert client.post(_UPLOAD, content=b"x").status_code == 507
    assert client.get("/").status_code == 200


def test_no_file_is_named_that_nobody_has_sent(client, tmp_path):
    uploads = tmp_path / "uploads"

    def joined(path, where=_JOIN):
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        return client.post(where, json={"fn_index": 0, "data": data}).status_code

    sent, secret = str(uploads / "me.jpg"), str(tmp_path / "secret.jpg")
    assert joined(sent) == 200
    out = [secret, str(uploads / ".." / "secret.jpg"), str(uploads / "link.jpg"), str(uploads), "secret.jpg"]
    for path in (*out, "https://example.com/a.jpg", "\0", None, [sent]):
        assert joined(path) == 403, path
    assert joined(secret, "/gradio_api/run/photo_sent") == joined(sent, "/gradio_api/call/photo_sent") == 403


def test_no_file_is_given_out_but_pictures_of_the_page_and_nothing_of_other_servers(client, tmp_path):
    assert client.get(f"/gradio_api/file={tmp_path / 'uploads' / 'me.jpg'}").status_code == 200
    for place in ("https://example.com/a", "http:/example.com/a", tmp_path / "secret.jpg", tmp_path / "uploads"):
        for door in ("file=", "file/", "proxy="):
            assert client.get(f"/gradio_api/{door}{place}").status_code == 404, (door, place)
    policy = client.get("/").headers["content-security-policy"]
    assert "http" not in policy and "*" not in policy and "default-src 'self'" in policy


def test_visitors_do_not_learn_where_files_are_and_may_name_them_all_the_same(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "me.jpg").write_bytes(b"photo")

    async def tell(scope, receive, send):
        body = await Request(scope, receive).body()
        told = f'{{"path": "{tmp_path}/uploads/me.jpg", "asked": "{scope["path"]}", "got": {len(body)}}}'
        await Response(told, media_type="application/json")(scope, receive, send)

    client = TestClient(Guard(tell, tmp_path, _LIMITS))
    shown = client.get("/gradio_api/file=/kept/uploads/me.jpg").json()
    assert shown == {"path": "/kept/uploads/me.jpg", "asked": "/gradio_api/file=/kept/uploads/me.jpg", "got": 0}
    sent = {"data": [{"path": "/kept/uploads/me.jpg"}]}
    real = json.dumps({"data": [{"path": f"{tmp_path}/uploads/me.jpg"}]}, separators=(",", ":"))
    assert client.post(_JOIN, json=sent).json()["got"] == len(real)  # the application gets the real path
    assert client.post(_JOIN, json={"data": [{"path": "/kept/../etc/passwd"}]}).status_code == 403


def test_what_a_request_was_looked_at_for_still_reaches_the_application(client):
    assert client.post(_JOIN, content=b'{"data": [1, 2]}').content == b'{"data": [1, 2]}'
    for no_json in (b"{", b"[" * 100_000, b"\xff"):
        assert client.post(_JOIN, content=no_json).status_code == 403
