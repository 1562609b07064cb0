"""Only https is followed, and plain http on this machine; redirections lead neither to files nor to this machine."""

import pytest

from gan2shape_jax.apps.get.addresses import check_address, host_of
from gan2shape_jax.errors import UserError


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.pkl",
        "https://example.org:8443/a.pkl?x=1",
        "http://127.0.0.1:8000/a",
        "http://localhost/a",
        "http://[::1]:80/a",
        "https://[2001:db8::1]/a",
    ],
)
def test_addresses_that_are_followed(url):
    check_address(url)


@pytest.mark.parametrize(
    "url, told",
    [
        ("http://example.org/a.pkl", "only https"),
        ("ftp://example.org/a.pkl", "only https"),
        ("file:///etc/passwd", "only https"),
        ("file://localhost/etc/passwd", "only https"),
        ("data:text/plain,hello", "only https"),
        ("javascript:alert(1)", "only https"),
        ("//example.org/a", "only https"),
        ("/a.pkl", "only https"),
        ("", "only https"),
        ("https://", "only https"),
        ("https:///a", "only https"),
        ("http://127.0.0.1.example.org/a", "only https"),
        ("http://10.0.0.1/a", "only https"),
        ("http://localhost.example.org/a", "only https"),
        ("https://user:secret@example.org/a", "name or password"),
        ("https://user@example.org/a", "name or password"),
        ("https://[::1/a", "no address"),
        ("https://example.org:99999/a", "no address"),
    ],
)
def test_addresses_that_are_not(url, told):
    with pytest.raises(UserError, match=told):
        check_address(url)


def test_a_server_elsewhere_cannot_send_us_to_this_machine():
    for target in ("http://127.0.0.1:631/", "https://localhost/", "https://[::1]/", "http://localhost./"):
        with pytest.raises(UserError, match="https://example.org/a sends on to .*this machine itself"):
            check_address(target, sent_by="https://example.org/a")
    check_address("http://127.0.0.1:2/b", sent_by="http://localhost:1/a")
    check_address("https://cdn.example.org/b", sent_by="https://example.org/a")


def test_messages_are_short_and_plain():
    with pytest.raises(UserError) as error:
        check_address("ftp://example.org/\x1b[2J" + "x" * 5000)
    assert len(str(error.value)) < 300 and "\x1b" not in str(error.value)


def test_hosts():
    assert host_of("https://Example.org:8443/a") == "example.org"
