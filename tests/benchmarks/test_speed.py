"""The arithmetic of the speed benchmark, and what it refuses."""

import pathlib

import pytest

from gan2shape_jax.errors import UserError

_FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.fixture(name="timing")
def _timing(monkeypatch):
    monkeypatch.syspath_prepend(str(_FOLDER))
    import timing.clock
    import timing.report
    import timing.subjects

    return timing


def test_calls_take_turns_and_the_first_is_not_counted(timing):
    order = []
    calls = [timing.clock.Call(lambda name=name: order.append(name)) for name in "ab"]
    timings = timing.clock.side_by_side(calls, 5)
    assert "".join(order) == "ab" + "aaabbb" + "aabb"
    assert len(timings) == 2 and all(0 <= timing.least_s <= timing.median_s for timing in timings)


def test_the_whole_schedule_weighs_steps_by_their_iterations(timing):
    def row(ours, theirs):
        return {"jax": timing.clock.Timing(ours, ours, 2.0), "torch plain": timing.clock.Timing(theirs, theirs, 0.0)}

    rows = {"step1": row(0.1, 0.2), "step2": row(0.5, 0.4)}
    report = timing.report.Report("x", (), rows, {}, {"step1": 10, "step2": 2}, {"jax, process": 1.0})
    content = timing.report.to_json(report)
    assert content["whole_schedule_s"] == pytest.approx({"jax": 2.0, "torch plain": 2.8})
    assert content["torch_over_jax"] == pytest.approx({"torch plain": 1.4})
    assert content["images_per_hour"]["jax"] == pytest.approx(1800)
    assert len(list(timing.report.tables(report))) == 1
    # Where a step was left out there is no whole schedule.
    partial = timing.report.Report("x", (), {"step1": row(0.1, 0.2)}, {}, report.iterations, {})
    assert timing.report.to_json(partial)["whole_schedule_s"] == {}


def test_what_is_absent_is_named(timing):
    with pytest.raises(UserError, match="car lacks the GAN, images, .*LPIPS"):
        timing.subjects.load("car", {}, random_weights=False)
    with pytest.raises(UserError, match="ictface:full lacks LPIPS"):
        timing.subjects.load("ictface:full", {}, random_weights=False)


@pytest.mark.heavy
def test_what_is_absent_is_drawn_at_the_configurations_sizes(timing):
    sizes = {
        "image_size": "32",
        "gan.size": "16",
        "gan.style_dim": "8",
        "networks.width": "8",
        "networks.group_base": "4",
        "networks.zdim": "4",
        "networks.encoder_width": "4",
    }
    subject = timing.subjects.load("car", sizes, random_weights=True)
    assert subject.problem.image.shape == (1, 32, 32, 3) and subject.problem.latent.shape == (1, 8)
    assert subject.settings.architecture.channels == (512, 512, 512)
    assert subject.frozen.lpips["conv5_3/kernel"].shape == (3, 3, 512, 512)
    assert subject.iterations == {
        "prior": 1000,
        "step1": 1300,
        "step2": 2200,
        "step3": 1800,
        timing.subjects.COLLECT: 400,
    }
