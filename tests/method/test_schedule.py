"""The steps and their order: what the paper says that each of them trains, and when."""

from gan2shape_jax.lift import steps
from gan2shape_jax.method import models
from gan2shape_jax.method.schedule import STEPS, make_schedule


def test_every_step_trains_the_networks_that_the_paper_names():
    known = STEPS | {step.name: step for step in (steps.INVERSION_STEP, steps.ANCHORED_STEP)}
    assert {name: set(step.networks) for name, step in known.items()} == {
        "prior": {"depth"},
        "inversion": {"encoder"},  # before the first stage of a lift
        "step1": {"albedo"},
        "step2": {"encoder"},
        "step3": {"depth", "albedo", "view", "light"},
        "anchored": {"depth", "albedo", "view", "light"},  # step 3 of a lift
    }
    assert set().union(*(step.networks for step in known.values())) == set(models.NAMES)
    assert all(step.cache for step in known.values() if step.collect)


def test_the_schedule_is_data():
    planned = make_schedule(((6, 5, 4), (3, 2, 1)), flip1=(False, False), flip3=(True, False), prior_iterations=7)
    assert [(p.label, p.iterations, p.flip) for p in planned] == [
        ("prior", 7, False),
        ("stage 1 step1", 6, False),
        ("stage 1 step2", 5, False),
        ("stage 1 step3", 4, True),
        ("stage 2 step1", 3, False),
        ("stage 2 step2", 2, False),
        ("stage 2 step3", 1, False),
    ]
    assert [p.number for p in planned] == list(range(7))
    without = make_schedule(((1, 1, 1),), flip1=(False,), flip3=(False,), prior_iterations=0)
    assert [p.step for p in without] == ["step1", "step2", "step3"]
    twice = {"stages": ((1, 1, 1),) * 2, "flip1": (False,) * 2, "flip3": (False,) * 2, "prior_iterations": 1}
    lift = make_schedule(**twice, first=((steps.INVERSION_STEP, 5),), thirds=(steps.ANCHORED_STEP,))
    labels = ["prior", "inversion", *(f"stage 1 {name}" for name in ("step1", "step2", "anchored"))]
    assert [phase.label for phase in lift[:5]] == labels and lift[-1].label == "stage 2 step3"
