"""A server's folder goes with it, or with the next start after a crash, and no server takes another's."""

import subprocess
import sys

import pytest

from gan2shape_jax.apps.serve.folders import held_folder, stored_bytes
from gan2shape_jax.errors import UserError

_CRASH = """
import os, pathlib, sys
from gan2shape_jax.apps.serve.folders import held_folder
with held_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "uploads" / "photo").write_bytes(b"12345")
    os._exit(9)
"""


def test_the_folder_is_private_and_goes_at_the_end(tmp_path):
    with held_folder(tmp_path / "root") as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "uploads" / "photo").write_bytes(b"12345")
        assert stored_bytes(folder) == 5
    assert list((tmp_path / "root").iterdir()) == []


def test_the_next_start_removes_what_a_crash_has_left_and_leaves_running_servers_alone(tmp_path):
    root = tmp_path / "root"
    with held_folder(root) as running:
        subprocess.run([sys.executable, "-c", _CRASH, str(root)], check=False)
        assert len([path for path in root.iterdir() if path.is_dir()]) == 2
        with held_folder(root) as other:
            assert {path for path in root.iterdir() if path.is_dir()} == {running, other}


def test_a_place_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot hold"), held_folder(tmp_path / "file"):
        pass
