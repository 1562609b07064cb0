"""Files and folders appear whole or not at all, whatever goes wrong while they are written."""

import errno

import pytest

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.io.atomic_files import atomic_bytes, atomic_file, atomic_folder, atomic_text


def test_a_file_is_written_beside_its_place_under_its_extension(tmp_path):
    target = tmp_path / "a" / "b.npz"

    def write(part):
        assert part.parent == target.parent and part.suffix == ".npz" and part.name.startswith(".")
        assert not target.exists()
        part.write_bytes(b"1")

    with pytest.raises(UserError, match="b.npz: No such file"):
        atomic_bytes(target, b"")
    atomic_file(target, write, parents=True)
    assert target.read_bytes() == b"1"
    atomic_bytes(target, b"2")
    atomic_text(tmp_path / "a" / "note", "größer")
    assert target.read_bytes() == b"2" and (tmp_path / "a" / "note").read_bytes() == "größer".encode()
    assert sorted(path.name for path in target.parent.iterdir()) == ["b.npz", "note"]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_file_that_fails_halfway_leaves_the_former_one_and_no_rubbish(tmp_path, fault):
    target = tmp_path / "file.txt"
    atomic_text(target, "old")

    def write(part):
        part.write_text("ne")
        raise fault

    with pytest.raises(DiskFullError if isinstance(fault, OSError) else type(fault)):
        atomic_file(target, write)
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"] and target.read_text() == "old"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(UserError, match=f"cannot write {target}"):
            atomic_text(target, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_interrupted_folder_leaves_the_former_one_and_no_rubbish(tmp_path):
    target = tmp_path / "r"
    with atomic_folder(target) as fresh:
        (fresh / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as fresh:
        (fresh / "a").write_text("new")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    with atomic_folder(target) as fresh:
        (fresh / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]


def test_a_full_disk_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(DiskFullError, match="the disk is full"), atomic_folder(tmp_path / "r"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
