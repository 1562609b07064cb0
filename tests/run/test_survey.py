"""Finished results are what was written, or are found out: every file, every bit, at one look."""

import pytest
from helpers import bump
from helpers.harm import HARMS, JSON_OF_ANOTHER_FORM, as_of_an_earlier_version, do
from helpers.opened_files import counted

from gan2shape_jax.errors import UserError
from gan2shape_jax.results import load_metrics, load_result, save_result
from gan2shape_jax.run.survey import look_through

pytestmark = pytest.mark.hostile

MADE_WITH = {"configuration": "this"}


@pytest.fixture
def saved(tmp_path):
    """Two small results, `a` and `b`."""
    for name in ("a", "b"):
        save_result(bump.result(), tmp_path / name, made_with=MADE_WITH)
    return tmp_path


def _look(root, stems=("a", "b"), *, told=True):
    return look_through(stems, lambda stem: root / stem, made_by="this", told=told)


def test_what_is_whole_is_finished_and_what_is_missing_is_neither(saved):
    found = _look(saved, ("a", "b", "c"))
    assert found.finished == {"a", "b"} and not found.damaged and not found.unrecorded


@pytest.mark.parametrize("kind", HARMS)
def test_harm_to_any_file_is_found(saved, kind):
    for path in sorted((saved / "a").iterdir()):
        content = path.read_bytes()
        do(path, kind)
        found = _look(saved)
        path.write_bytes(content)
        if (path.name, kind) == ("files.json", "delete"):  # then the folder is one of an earlier version
            assert found.unrecorded == ("a",)
        else:
            assert found.finished == {"b"} and set(found.damaged) == {"a"}, path.name
            assert str(saved / "a") in found.damaged["a"]


@pytest.mark.parametrize("text", JSON_OF_ANOTHER_FORM)
@pytest.mark.parametrize("name", ["files.json", "result.json"])
def test_json_of_another_form_is_found(saved, name, text):
    (saved / "a" / name).write_text(text, encoding="latin-1")
    assert set(_look(saved).damaged) == {"a"}
    as_of_an_earlier_version(saved / "b")
    (saved / "b" / "result.json").write_text(text, encoding="latin-1")
    assert set(_look(saved).damaged) == {"a", "b"}
    for read in (load_result, load_metrics):
        with pytest.raises(UserError, match=r"result\.json"):
            read(saved / "b")


def test_each_file_is_read_once(saved):
    with counted() as opened:
        _look(saved)
    reads = {path: count for path, count in opened.items() if path.startswith(str(saved))}
    assert len(reads) == len(list((saved / "a").iterdir())) * 2 and set(reads.values()) == {1}


def test_files_of_the_users_own_do_not_matter(saved):
    (saved / "a" / "render.png").write_bytes(b"mine")
    (saved / "a" / "notes").mkdir()
    assert _look(saved).finished == {"a", "b"}


def test_results_of_another_configuration_are_refused_and_stay(saved):
    save_result(bump.result(), saved / "b", made_with={"configuration": "another"})
    with pytest.raises(UserError, match=r"/b was made with another configuration"):
        _look(saved)


def test_results_of_earlier_versions_count_where_the_folder_tells_its_configuration(saved):
    as_of_an_earlier_version(saved / "a")
    assert _look(saved).unrecorded == ("a",) and _look(saved).finished == {"a", "b"}
    assert "nothing tells which configuration made it" in _look(saved, told=False).damaged["a"]
    do(saved / "a" / "depth.npy", "flip")
    assert "depth.npy is damaged" in _look(saved).damaged["a"]


def test_what_lies_in_place_of_results_is_damage(saved):
    (saved / "file").write_text("")
    (saved / "stray").mkdir()
    (saved / "stray" / "x.png").write_text("")
    (saved / "empty").mkdir()
    found = _look(saved, ("file", "stray", "empty"))
    assert set(found.damaged) == {"file", "stray", "empty"} and "result.json is missing" in found.damaged["stray"]


def test_a_folder_of_other_images_results_is_no_damage(saved):
    save_result(bump.result(), saved / "c" / "d", made_with=MADE_WITH)
    found = _look(saved, ("c", "c/d"))
    assert found.finished == {"c/d"} and not found.damaged


def test_groups_are_told_by_any_of_their_results(saved):
    group = {"together": ["a.png", "b.png", "x.png"], "broken": ["x.png"]}
    save_result(bump.result(), saved / "b", made_with=MADE_WITH | group)
    found = _look(saved)
    assert found.together == (("a.png", "b.png", "x.png"),) and found.broken == {"x.png"}
