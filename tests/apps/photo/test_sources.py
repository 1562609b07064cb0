"""Which photos are meant, and under which names their results are filed."""

import os

import pytest

from gan2shape_jax.apps.photo import sources
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.image_lists import fault_of


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


def test_files_folders_and_patterns_are_found_once_and_in_order(tmp_path):
    a, b, _, c = _touch(tmp_path, "a.jpg", "b.PNG", "notes.txt", "in/c.webp")
    _touch(tmp_path, ".hidden.png")
    assert sources.expand([str(tmp_path)]) == [a, b]
    assert sources.expand([str(b), str(tmp_path / "*.jpg"), str(tmp_path)]) == [b, a]
    assert sources.expand([str(tmp_path / "**" / "*.webp")]) == [c]


def test_a_file_with_a_pattern_in_its_name_is_that_file(tmp_path):
    (tmp_path / "[1].png").write_bytes(b"x")
    assert sources.expand([str(tmp_path / "[1].png")]) == [tmp_path / "[1].png"]


@pytest.mark.parametrize("argument", ["none.png", "none*.png", "", "a\0b.png", "x" * 5000])
def test_what_names_no_photo_is_told(tmp_path, argument):
    with pytest.raises(UserError):
        sources.expand([str(tmp_path / "empty" / argument) if argument else str(tmp_path)])


_HOSTILE = ("<script>x</script>.png", "line\nbreak.png", "CON.png", ".png", "a:b.png", '"q".png', "…" * 80 + ".png")


@pytest.mark.parametrize("file", ["my cat.png", "Füße.jpg", *_HOSTILE])
def test_every_file_gets_a_name_that_a_run_takes(tmp_path, file):
    (name,) = sources.names_for([tmp_path / file], {})
    assert not fault_of(f"{name}.png") and "/" not in name
    assert sources.names_for([tmp_path / file], {}) == [name]


def test_ordinary_names_stay_as_they_are(tmp_path):
    assert sources.names_for([tmp_path / "my cat.png", tmp_path / "Füße.jpg"], {}) == ["my cat", "Füße"]


def test_photos_of_one_name_are_numbered_and_keep_their_names(tmp_path):
    paths = [tmp_path / "a" / "cat.png", tmp_path / "b" / "Cat.jpg", tmp_path / "c" / "cat.webp"]
    names = sources.names_for(paths, {})
    assert names == ["cat", "Cat-2", "cat-3"]
    taken = {name: os.path.realpath(path) for name, path in zip(names, paths, strict=True)}
    assert sources.names_for(paths[::-1], taken) == names[::-1]
    assert sources.names_for([tmp_path / "d" / "cat.png"], taken) == ["cat-4"]
