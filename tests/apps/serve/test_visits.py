"""Visitors' files: names, folders that nobody guesses, and that they go when they should."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

pytest.importorskip("gradio", reason="the extra `web` is not installed")

from gan2shape_jax.apps.serve import server
from gan2shape_jax.apps.serve.visits import Visits, server_folder, stored_bytes
from gan2shape_jax.errors import UserError

_NAMES = ["<script>alert(1)<b>.jpg", "a\nb.png", "...", "-rf.jpg", "CON.jpg", "ü" * 90 + ".jpg", ".hidden"]
_CRASH = """
import os, pathlib, sys
from gan2shape_jax.apps.serve.visits import server_folder
with server_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "uploads" / "photo").write_bytes(b"12345")
    os._exit(9)
"""


@pytest.fixture
def visits(tmp_path):
    (tmp_path / "visits").mkdir()
    return Visits(tmp_path / "visits", keep_s=60)


def _new(visits, tmp_path, session="s"):
    (tmp_path / "me.jpg").write_bytes(b"photo")
    return visits.new(session, tmp_path / "me.jpg")


def test_names_of_uploads_never_name_a_file(visits, tmp_path):
    for name in _NAMES:
        (tmp_path / name).write_bytes(b"photo")
        visit = visits.new("s", tmp_path / name)
        assert visit.photo == visit.folder / "photo" and visit.photo.read_bytes() == b"photo"
        assert visit.name == pathlib.PurePath(visit.name).name not in ("", "..") and visit.name.isprintable()
        assert "\n" not in visit.shown


def test_files_go_after_their_time_with_another_photo_and_where_a_late_job_has_left_them(visits, tmp_path):
    first = _new(visits, tmp_path)
    second = _new(visits, tmp_path)
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
    answer = server.result_response(visits, token, folder, "index.html", download=False)
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and policy.startswith("sandbox") and "allow-same-origin" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert (
        "attachment"
        in server.result_response(visits, token, folder, "index.html", download=True).headers["content-disposition"]
    )
    for token_, folder_, name in [
        (other.folder.name, folder, "index.html"),
        (token, other.result.name, "index.html"),
        (token, folder, "../photo"),
        (token, folder, "/etc/passwd"),
        (token, "..", "index.html"),
        ("", folder, "index.html"),
        ("é", folder, "index.html"),
    ]:
        assert server.result_response(visits, token_, folder_, name, download=False).status_code == 404


def test_a_servers_folder_is_private_and_goes_with_it_or_with_the_next_start_after_a_crash(tmp_path):
    root = tmp_path / "root"
    with server_folder(root) as running:
        assert running.stat().st_mode & 0o077 == 0
        (running / "uploads" / "photo").write_bytes(b"12345")
        assert stored_bytes(running) == 5
        subprocess.run([sys.executable, "-c", _CRASH, str(root)], check=False, env=os.environ | {"PYTHONPATH": _ROOT})
        assert len([path for path in root.iterdir() if path.is_dir()]) == 2
        with server_folder(root) as other:
            assert {path for path in root.iterdir() if path.is_dir()} == {running, other}
    assert list(root.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot hold"), server_folder(tmp_path / "file"):
        pass


_ROOT = str(pathlib.Path(server.__file__).parents[3])
