"""The records of the steps: what the paper says that each of them trains."""

from gan2shape_jax.method import models
from gan2shape_jax.method.schedule import make_schedule
from gan2shape_jax.method.steps import STEPS


def test_every_step_trains_the_networks_that_the_paper_names():
    assert {name: set(step.networks) for name, step in STEPS.items()} == {
        "prior": {"depth"},
        "inversion": {"encoder"},  # before the first stage of a lift
        "step1": {"albedo"},
        "step2": {"encoder"},
        "step3": {"depth", "albedo", "view", "light"},
        "anchored": {"depth", "albedo", "view", "light"},  # step 3 of a lift
    }
    assert set().union(*(step.networks for step in STEPS.values())) == set(models.NAMES)


def test_a_schedule_goes_through_all_steps_in_order():
    phases = make_schedule(((1, 1, 1),), flip1=(False,), flip3=(False,), prior_iterations=1)
    assert [phase.step for phase in phases] == [name for name in STEPS if name not in ("inversion", "anchored")]


def test_a_lifts_schedule_begins_with_the_encoder_and_is_anchored():
    phases = make_schedule(
        ((1, 1, 1), (1, 1, 1)),
        flip1=(False, False),
        flip3=(False, False),
        prior_iterations=1,
        inversion_iterations=5,
        anchored=1,
    )
    assert [(phase.stage, phase.step) for phase in phases] == [
        (0, "prior"),
        (0, "inversion"),
        (1, "step1"),
        (1, "step2"),
        (1, "anchored"),
        (2, "step1"),
        (2, "step2"),
        (2, "step3"),
    ]


def test_only_what_is_cached_is_collected_from():
    assert all(step.cache for step in STEPS.values() if step.collect)
