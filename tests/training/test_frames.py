"""The way of one image is short: few calls lead from the command to the loss of step 3."""

import dataclasses
import pathlib
import traceback

import pytest
from helpers.command_line import overrides
from helpers.tiny import tiny_config

import gan2shape_jax
from gan2shape_jax import main as program
from gan2shape_jax.errors import UserError
from gan2shape_jax.method.schedule import STEPS

_PACKAGE = str(pathlib.Path(gan2shape_jax.__file__).parent)

pytestmark = pytest.mark.heavy  # compiles step 3 in its own way


def _own_calls() -> list[str]:
    """Returns the package's calls under way, outermost first, as "module.function"; libraries' do not count."""
    frames = traceback.extract_stack()
    return [f"{pathlib.Path(f.filename).stem}.{f.name}" for f in frames if f.filename.startswith(_PACKAGE)]


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """The calls from `main` to the loss of step 3 while a run of one image traces it, both included."""
    seen = []

    def loss(*args, **options):
        seen.append([*_own_calls(), "step3.step3_loss"])
        raise UserError("seen enough")

    config = tiny_config(
        tmp_path_factory.mktemp("frames"),
        prior__iterations=1,
        schedule__stages=((1, 1, 1),),
        schedule__flip1=(False,),
        schedule__flip3=(False,),
        sampling__collect_iters=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "step3", dataclasses.replace(STEPS["step3"], loss=loss))
        assert program.main(["--config=ictface", *overrides(config)]) == 1
    (way,) = seen
    return way[way.index("main.main") :]


def test_few_calls_lead_from_main_and_from_the_loop_to_the_loss_of_step_3(calls):
    assert len(calls) <= 8, calls
    assert calls[calls.index("loop.run_schedule") :] == [
        "loop.run_schedule",
        "task.advance",
        "devices.local",
        "iteration.iterate",
        "step3.step3_loss",
    ]
