"""What comes in is refused before it does harm: by its length, what lies there, what it names."""

import asyncio
import json

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from gan2shape_jax.apps.serve.guard import Guard, forwarded
from gan2shape_jax.apps.serve.visits import Limits, visitor_of

_LIMITS = Limits(file_bytes=200_000)
_UPLOAD, _JOIN = "/gradio_api/upload", "/gradio_api/queue/join"
_HANDLERS = dict.fromkeys(range(3), lambda data, event: isinstance(data, list))


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
    return TestClient(Guard(_echo, tmp_path, _LIMITS, _HANDLERS))


@pytest.mark.parametrize(("path", "length"), [(_UPLOAD, 10**9), (_JOIN, 2 * 10**6)])
def test_what_is_too_large_is_refused(client, path, length):
    assert client.post(path, content=b"x", headers={"Content-Length": str(length)}).status_code == 413


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("/" + "a" * 2000, id="long"),
        pytest.param("/gradio_api/queue/data?session_hash=" + "a" * 2000, id="long"),
    ],
)
def test_an_address_that_is_too_long_is_refused(client, address):
    assert client.get(address).status_code == 414


def test_what_is_too_large_or_of_no_known_length_is_refused(client):
    assert client.post(_UPLOAD, content=iter([b"x"])).status_code == 411
    both = {"Content-Length": "1", "Transfer-Encoding": "chunked"}
    for place in (_UPLOAD, _JOIN):
        assert client.post(place, content=b"x", headers=both).status_code == 411
    assert client.request("GET", "/", content=iter([b"x"])).status_code == 411
    assert client.post(_UPLOAD, content=b"x").content == b"x"
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("place", [_UPLOAD, _JOIN])
def test_a_body_that_is_longer_than_its_header_says_is_not_taken(client, place):
    assert client.post(place, content=b"x" * 400, headers={"Content-Length": "300"}).status_code == 408


def test_what_is_too_long_is_called_what_it_is(client):
    assert "MB" in client.post(_UPLOAD, content=b"", headers={"Content-Length": "1000000"}).text
    assert client.post(_JOIN, content=b"{}" + b" " * 70_000).text == "This request is too long."


@pytest.mark.parametrize("field", ["session_hash", "event_id"])
@pytest.mark.parametrize(("name", "status"), [("a" * 12, 200), ("a" * 65, 403), (["a"], 403)])
def test_names_of_pages_and_jobs_that_are_too_long_are_refused(client, field, name, status):
    assert client.post(_JOIN, json={"data": [], "fn_index": 0, field: name}).status_code == status


def test_pages_and_jobs_have_short_names(client):
    assert client.post(_JOIN, json={"data": [{"session_hash": "a" * 1000}]}).status_code == 403


@pytest.mark.parametrize(("number", "status"), [(2, 200), (3, 403), (-1, 403), ("0", 403), (None, 403), ([0], 403)])
def test_a_handler_that_there_is_not_is_refused(client, number, status):
    for place in (_JOIN, "/gradio_api/run/predict", "/gradio_api/cancel"):
        assert client.post(place, json={"data": [], "fn_index": number}).status_code == status
    for place in (_JOIN, "/gradio_api/run/predict"):
        for body in ({"data": []}, {"fn_index": 0}, {"fn_index": 0, "data": 7}, {"fn_index": True, "data": []}, [], 7):
            assert client.post(place, json=body).status_code == 403


@pytest.mark.parametrize(
    "place",
    ["openapi.json", "gradio_api/openapi.json", "gradio_api/dev/reload", "gradio_api/info", "monitoring", "docs"],
)
def test_what_the_page_does_not_ask_for_is_not_there(client, place):
    assert client.get(f"/{place}").status_code == client.get(f"/{place}/").status_code == 404
    assert client.get("/gradio_api/call/photo_framed/1").status_code == 404


@pytest.mark.parametrize("place", [_UPLOAD, _JOIN, "/gradio_api/cancel"])
@pytest.mark.parametrize(
    ("origin", "others", "status"),
    [
        ("http://evil.example", {}, 403),
        ("null", {}, 403),
        ("http://evil.example", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("http://testserver:81", {}, 403),
        ("http://testserver", {}, 200),
        ("https://shapes.example", {"X-Forwarded-Host": "shapes.example"}, 200),
        ("https://shapes.example", {"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_nothing_is_taken_from_another_sites_page(client, place, origin, others, status):
    body = b'{"fn_index": 0, "data": []}'
    assert client.post(place, content=body, headers={"Origin": origin, **others}).status_code == status


@pytest.mark.parametrize(
    ("peer", "named", "kept"),
    [
        ("192.0.2.7", "127.0.0.1", set()),
        ("127.0.0.1", None, {"x-forwarded-proto", "x-forwarded-for"}),
        ("127.0.0.1", "127.0.0.1", {"x-forwarded-host", "x-forwarded-proto", "x-forwarded-for"}),
    ],
)
def test_by_which_name_and_way_a_page_was_asked_for_is_believed_of_proxies_alone(monkeypatch, peer, named, kept):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    if named:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", named)

    async def tell(scope, receive, send):
        names = [name.decode() for name, _ in scope["headers"] if name.startswith((b"x-forwarded", b"x-gradio"))]
        await Response(json.dumps([names, scope["client"][0], scope["scheme"]]))(scope, receive, send)

    sent = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.1"}
    sent["X-Gradio-Server"] = "http://evil.example"
    client = TestClient(forwarded(tell, "127.0.0.1"), client=(peer, 1))
    names, visitor, scheme = client.get("/", headers=sent).json()
    assert set(names) == kept
    assert (visitor, scheme) == (("198.51.100.1", "https") if kept else (peer, "http"))


def test_a_visitor_is_an_address_and_has_so_many_requests_at_a_time(tmp_path):
    assert visitor_of(("192.0.2.7", 1)) == "192.0.2.7" != visitor_of(("192.0.2.8", 1))
    assert visitor_of(("2001:db8::1", 1)) == visitor_of(("2001:db8::2:3", 9)) != visitor_of(("2001:db8:0:1::1", 1))
    assert visitor_of(None) == ""

    async def check():
        begun, end = [], asyncio.Event()

        async def waiting(scope, receive, send):
            begun.append(scope)
            await end.wait()
            await Response()(scope, receive, send)

        guard, said = Guard(waiting, tmp_path, _LIMITS, _HANDLERS), []

        def requests(address):
            async def send(message):
                said.append((address, message.get("status")))

            scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
            return asyncio.create_task(guard(scope | {"client": (address, 1)}, _nothing, send))

        tasks = [requests("192.0.2.7") for _ in range(101)] + [requests("192.0.2.8")]
        while len(begun) < 101:
            await asyncio.sleep(0)
        assert said[0] == ("192.0.2.7", 429)
        end.set()
        await asyncio.gather(*tasks)
        assert [status for _, status in said if status].count(200) == 101 and not guard._open

    asyncio.run(check())


async def _nothing():
    await asyncio.sleep(60)


def test_no_file_is_named_that_nobody_has_sent(client, tmp_path):
    uploads = tmp_path / "uploads"

    def joined(path, where=_JOIN):
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        return client.post(where, json={"fn_index": 0, "data": data}).status_code

    sent, secret = str(uploads / "me.jpg"), str(tmp_path / "secret.jpg")
    assert joined(sent) == 200
    out = [secret, str(uploads / ".." / "secret.jpg"), str(uploads / "link.jpg"), str(uploads), "secret.jpg"]
    paths = (*out, "https://example.com/a.jpg", "\0", None, [sent])
    assert [path for path in paths if joined(path) != 403] == []
    assert joined(secret, "/gradio_api/run/photo_sent") == joined(sent, "/gradio_api/call/photo_sent") == 403
    assert joined(sent, "/other/gradio_api/queue/join") == 403


def test_no_file_is_given_out_but_pictures_of_the_page_and_nothing_of_other_servers(client, tmp_path):
    assert client.get(f"/gradio_api/file={tmp_path / 'uploads' / 'me.jpg'}").status_code == 200
    places = ("https://example.com/a", "http:/example.com/a", tmp_path / "secret.jpg", tmp_path / "uploads")
    addresses = [f"/gradio_api/{door}{place}" for door in ("file=", "file/", "proxy=") for place in places]
    assert [address for address in addresses if client.get(address).status_code != 404] == []
    policy = client.get("/").headers["content-security-policy"]
    assert "http" not in policy and "*" not in policy and "default-src 'self'" in policy
    assert policy.endswith("; frame-ancestors 'self'")


def test_visitors_do_not_learn_where_files_are_and_may_name_them_all_the_same(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "me.jpg").write_bytes(b"photo")

    async def tell(scope, receive, send):
        body = await Request(scope, receive).body()
        told = f'{{"path": "{tmp_path}/uploads/me.jpg", "asked": "{scope["path"]}", "got": {len(body)}}}'
        await Response(told, media_type="application/json")(scope, receive, send)

    client = TestClient(Guard(tell, tmp_path, _LIMITS, _HANDLERS))
    shown = client.get("/gradio_api/file=/kept/uploads/me.jpg").json()
    assert shown == {"path": "/kept/uploads/me.jpg", "asked": "/gradio_api/file=/kept/uploads/me.jpg", "got": 0}
    sent = {"fn_index": 0, "data": [{"path": "/kept/uploads/me.jpg"}]}
    real = json.dumps({"fn_index": 0, "data": [{"path": f"{tmp_path}/uploads/me.jpg"}]}, separators=(",", ":"))
    assert client.post(_JOIN, json=sent).json()["got"] == len(real)  # the application gets the real path
    assert client.post(_JOIN, json=sent | {"data": [{"path": "/kept/../etc/passwd"}]}).status_code == 403


@pytest.mark.parametrize("no_json", [b"{", pytest.param(b"[" * 60_000, id="long"), b"\xff"])
def test_a_body_that_is_not_json_is_refused(client, no_json):
    assert client.post(_JOIN, content=no_json).status_code == 403


def test_what_a_request_was_looked_at_for_still_reaches_the_application(client):
    body = b'{"fn_index": 0, "data": [1, 2]}'
    assert client.post(_JOIN, content=body).content == body
