"""Visitors: names of photos, folders that nobody guesses, files that go when they are told to."""

import pathlib

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from starlette.requests import Request

from gan2shape_jax.apps.serve import downloads
from gan2shape_jax.apps.serve.jobs import Jobs
from gan2shape_jax.apps.serve.visits import Visits
from gan2shape_jax.errors import UserError

_NAMES = ["<script>alert(1)</script>.jpg", "a\nb.png", "..", "-rf.jpg", "CON.jpg", "ü" * 90 + ".jpg", ".hidden"]


class _Instant:
    def run(self, task, tell, cancelled, *, seconds):
        pass


class _Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return _Clock()


@pytest.fixture
def visits(tmp_path, clock):
    jobs = Jobs(_Instant(), waiting=2, seconds=10)
    (tmp_path / "visits").mkdir()
    one = Visits(tmp_path / "visits", jobs, keep_s=60, clock=clock)
    yield one
    one.close()
    jobs.close()


def _photo(tmp_path, name="me.jpg"):
    path = tmp_path / name
    path.write_bytes(b"photo")
    return path


def _ask(visits, token, folder, name):
    scope = {"type": "http", "headers": [], "query_string": b"", "method": "GET"}
    return downloads.answer(visits, Request(scope | {"path_params": {"token": token, "folder": folder, "name": name}}))


@pytest.mark.parametrize("name", _NAMES)
def test_names_of_uploads_never_name_a_file(visits, tmp_path, name):
    upload = _photo(tmp_path)

    class Named(type(upload)):
        @property
        def name(self):
            return name

    photo = visits.take_photo("s", Named(upload))
    assert photo.path.parent.parent == visits.find("s").folder and photo.path.name == "photo"
    assert photo.name == pathlib.PurePath(photo.name).name not in ("", "..") and photo.name.isprintable()
    assert "\n" not in photo.shown


def test_a_visit_and_its_files_go_after_the_time_that_is_told(visits, tmp_path, clock):
    visits.take_photo("s", _photo(tmp_path))
    folder = visits.find("s").folder
    clock.now = 59
    visits.tidy()
    assert folder.is_dir() and visits.find("s") is not None
    clock.now = 125
    visits.tidy()
    assert visits.find("s") is None and not folder.exists()
    with pytest.raises(UserError, match="no longer kept"):
        visits.submit("s", None, refine=False, pixels=1)


def test_another_photo_replaces_the_first_and_removing_it_removes_all(visits, tmp_path):
    first = visits.take_photo("s", _photo(tmp_path, "a.jpg"))
    visits.take_photo("s", _photo(tmp_path, "b.jpg"))
    visits.tidy()
    assert not first.path.exists()
    folder = visits.find("s").folder
    visits.forget("s")
    visits.tidy()
    assert not folder.exists()


def test_results_are_reached_by_their_visitor_alone_and_nothing_else_is(visits, tmp_path):
    for session in ("a", "b"):
        visits.take_photo(session, _photo(tmp_path))
        visits.submit(session, (1, 1, 1, 0), refine=False, pixels=1).finished.wait(5)
    mine, other = visits.find("a"), visits.find("b")
    (mine.result / "index.html").write_text("page")
    assert mine.token != other.token and len(mine.token) >= 32
    assert _ask(visits, mine.token, mine.result.name, "index.html").status_code == 200
    for token, folder, name in [
        (other.token, mine.result.name, "index.html"),
        (mine.token, other.result.name, "index.html"),
        (mine.token, mine.result.name, "../photo/photo"),
        (mine.token, mine.result.name, "/etc/passwd"),
        (mine.token, "..", "index.html"),
        ("", mine.result.name, "index.html"),
        ("é", mine.result.name, "index.html"),
    ]:
        assert _ask(visits, token, folder, name).status_code == 404


def test_a_page_runs_without_an_origin(visits, tmp_path):
    visits.take_photo("a", _photo(tmp_path))
    visits.submit("a", (1, 1, 1, 0), refine=False, pixels=1).finished.wait(5)
    visit = visits.find("a")
    (visit.result / "index.html").write_text("page")
    headers = _ask(visits, visit.token, visit.result.name, "index.html").headers
    assert "allow-same-origin" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("sandbox") and headers["cache-control"] == "no-store"
    assert pathlib.Path(visit.result).is_dir()
