"""Which images go together, and how many at once."""

import types

import pytest

from gan2shape_jax.training import groups


def _device(stats=None, platform="gpu"):
    """What `choose_size` asks of a device."""
    return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)


def _gpu(limit, used=0):
    return _device({"bytes_limit": limit, "bytes_in_use": used})


@pytest.mark.parametrize(
    ("devices", "images", "size"),
    [
        ([_gpu(1000, 200)], 100, 6),  # 0.8 of 800 bytes, 100 an image
        ([_gpu(1000, 200)] * 4, 100, 24),
        ([_gpu(1000, 200), _gpu(1000, 700)], 100, 4),  # the fuller device decides
        ([_gpu(1000, 200)], 3, 3),
        ([_gpu(10)], 100, 1),
        ([_gpu(10**6)], 1000, 64),
        ([_device()] * 3, 100, 3),
    ],
)
def test_free_memory_decides(devices, images, size):
    assert groups.choose_size(0, images, devices, lambda: 100) == size


def test_a_wanted_size_or_a_cpu_need_no_memory():
    assert groups.choose_size(5, 100, [_gpu(1000)], pytest.fail) == 5
    assert groups.choose_size(5, 3, [_gpu(1000)], pytest.fail) == 3
    assert groups.choose_size(0, 100, [_device(platform="cpu")] * 2, pytest.fail) == 1
    assert groups.choose_size(2, 100, [_device(platform="cpu")] * 2, pytest.fail) == 2
    assert groups.choose_size(4, 100, [_device(platform="cpu")] * 2, pytest.fail) == 2
    assert groups.choose_size(0, 1, [_gpu(1000)], pytest.fail) == 1


def test_groups_under_way_stay_as_they_are():
    units = [["a", "b", "c"], ["d"], ["e"], ["f"]]
    assert groups.plan(units, 2) == [["a", "b", "c"], ["d", "e"], ["f"]]
    assert groups.plan(units, 1) == [["a", "b", "c"], ["d"], ["e"], ["f"]]
    assert groups.plan([], 4) == []


def test_groups_are_found_again_until_they_are_finished(tmp_path):
    groups.record(tmp_path, ["a.png", "b.png"])
    groups.record(tmp_path, ["c.png", "d.png"])
    every = ["a.png", "b.png", "c.png", "d.png"]
    assert sorted(groups.unfinished(tmp_path, every)) == [["a.png", "b.png"], ["c.png", "d.png"]]
    assert groups.unfinished(tmp_path, every[:3]) == [["a.png", "b.png"]]
    groups.finish(tmp_path, ["a.png", "b.png"])
    assert groups.unfinished(tmp_path, every) == [["c.png", "d.png"]]


def test_a_damaged_note_counts_as_none(tmp_path):
    groups.record(tmp_path, ["a.png"])
    next((tmp_path / ".groups").iterdir()).write_text("[")
    assert groups.unfinished(tmp_path, ["a.png"]) == []
