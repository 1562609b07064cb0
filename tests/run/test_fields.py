"""No field of the schema is silent: a run with another value resolves something else, or says something."""

import dataclasses
import functools
import itertools
import pathlib
import types
import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_config, tiny_lift
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from gan2shape_jax import stylegan2
from gan2shape_jax.config import flatten, schema, set_field
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io import data
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.required_files import required_files_of
from gan2shape_jax.lift import model_file, refinement, view_training
from gan2shape_jax.lift import task as lift_task
from gan2shape_jax.lift.samples import SampleMaker, maker_of
from gan2shape_jax.method import models, prior
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import from_config
from gan2shape_jax.method.state import Example, PreparedImage, TrainState
from gan2shape_jax.method.step3 import STEP3
from gan2shape_jax.networks import parsing
from gan2shape_jax.photos import explain
from gan2shape_jax.plan import inputs, runtime
from gan2shape_jax.plan.identity import resolve_auto
from gan2shape_jax.plan.recipe import Plan, resolve
from gan2shape_jax.run import joint
from gan2shape_jax.run.images import Trainer, no_gan_because
from gan2shape_jax.stylegan2 import inversion

_OTHER_TUPLES = {
    "sampling.rand_light": [(0.0,) * 7],
    "prior.cuboid": [(0.1, 0.05, 0.05, -30.0)],
    "schedule.stages": [((9, 9, 9), (8, 8, 8))],
    "schedule.flip1": [(True, True)],
    "schedule.flip3": [(False, False)],
    "refinement.stages": [((7, 7, 7),)],
}
_BLANK = jnp.zeros((8, 8))
_FROZEN = FrozenModels(view_mean=jnp.zeros(6), light_mean=jnp.zeros(4))
_EXAMPLE = Example(jnp.zeros((1, 8, 8, 3)), _BLANK, None, None, None, None, jax.random.key(0))
_FACTORS = Factors(_BLANK, jnp.zeros((8, 8, 3)), jnp.zeros(6), jnp.zeros(4), _BLANK)
_STATE = TrainState({}, (), _FACTORS, _BLANK)


class _Samples:
    """Stands in for a maker of samples."""

    frozen = _FROZEN

    @staticmethod
    def examples(stream, numbers):
        """Returns as many, without their content."""
        return [object.__new__(PreparedImage)] * len(numbers)


class _Told(Exception):
    """Raised by what stands in for a computation, with what it was called with."""


def _telling(*places):
    """Returns a stand-in that raises `_Told` with the arguments at these places, numbers or names."""

    def stand_in(*arguments, **named):
        raise _Told([named[place] if isinstance(place, str) else arguments[place] for place in places])

    return stand_in


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Runs of each kind, by the group of fields that may matter to no other."""

    def config(name, make=tiny_config, **fields):
        return make(tmp_path_factory.mktemp(name), **fields)

    model = tmp_path_factory.mktemp("model") / "model.safetensors"
    with safe_open(asset("ictface/model.safetensors"), "np") as file:  # without the axes, with which there is no step 2
        kept = {name: file.get_tensor(name) for name in file.keys() if "turning" not in name}
        save_file(kept, model, file.metadata())
    refines = {"recipe": "refine", "networks__pretrained": str(model), "image_size": 64, "gan__size": 64}
    refines["gan__checkpoint"] = asset("ictface/gan.safetensors")
    together = {"recipe": "joint", "names": ("001.png", "005.png")}
    parsed = {"data__mask_source": "parser", "category": "face", "parsing__weights": "parser.safetensors"}
    return {
        "general": config("general"),
        "prior": config("prior", prior__shape="shifted_ellipsoid", data__crop=50),
        "cuboid": config("cuboid", prior__shape="cuboid"),
        "refinement": config("refinement", **refines),
        "schedule": config("schedule", **together, schedule__batches_per_iteration=3),
        "loss": config("loss", loss__perceptual="lpips", loss__lpips_weights="vgg.safetensors"),
        "networks": config("networks", recipe="predict", networks__pretrained=str(model)),
        "lift": config("lift", tiny_lift, data__crop=50),
        "parsing": config("parsing", **parsed),
        "detail": config("detail", tiny_lift, **refines | {"recipe": "train_detail"}),
    }


_gan = functools.cache(stylegan2.load)


def _told(function, *arguments, **named):
    """Returns what a function returns, says or, if its work has a stand-in, would compute with."""
    try:
        return function(*arguments, **named)
    except (_Told, UserError, OSError) as error:
        return repr(error)


def _observed(config) -> Iterator[object]:
    """Yields what a run of this configuration resolves and says, the cheapest first."""
    problems = schema.problems(config)
    yield problems
    if problems:
        return
    yield [(file.field, file.path, file.present) for file in required_files_of(config)]
    yield no_gan_because(config), dataclasses.astuple(runtime.cadence_of(config))
    yield dataclasses.astuple(explain.options_of(config)), jax.random.key_data(inputs.image_key(config.seed, "001"))
    plan = _told(resolve, config)
    if not isinstance(plan, Plan):
        yield plan
        return
    config = plan.config
    yield plan.record, [(phase.flip, phase.kind.networks) for phase in plan.schedule]
    architecture = _told(inputs.load_gan, config)
    yield architecture if isinstance(architecture, str) else ""
    config = resolve_auto(config, plan.recipe)
    if plan.recipe.lifts:
        yield from _observed_lift(config) if config.recipe != "train_detail" else ()
    elif not isinstance(architecture, str):
        settings = plan.settings(architecture[0], original_size=70)
        yield _leaves(settings)
        yield _told(inputs.find_latent, config, "001", Image.new("RGB", (8, 8)), architecture[0], _FROZEN)
        image = PreparedImage("001", _EXAMPLE, settings, None)
        yield _told(refinement.finished, config, {}, _STATE, image, _FROZEN)
        folder = types.SimpleNamespace(is_finished=lambda stem: True)  # of the image before
        trainer = {"config": config, "names": ("000", "001"), "folder": folder}
        trainer |= {"_pretrained_or_fresh": lambda settings: {"networks": "its own"}}
        yield _told(Trainer._initial, types.SimpleNamespace(**trainer), "001", image)
    if config.recipe == "joint":
        yield config.schedule.batches_per_iteration, _told(joint.require_enough_for, config, ["001.png", "005.png"])
    if plan.recipe.single:
        item = _told(data.load_item, config, "001.png")
        yield item if isinstance(item, str) else _leaves(dataclasses.astuple(item))
        yield item if isinstance(item, str) else _leaves(_told(prior.prior_depth, config, item.mask))


def _observed_lift(config) -> Iterator[object]:
    maker = _told(maker_of, config, _gan(config.gan.checkpoint)[0], _FROZEN)
    if isinstance(maker, str):  # it draws samples, or lacks a file
        yield maker
        return
    task = lift_task.Lift(config, maker, config.schedule.batches_per_iteration)
    yield _leaves(maker.settings), task.window
    yield len(task.held_out), _told(task.stage, 1)
    state = dataclasses.replace(_STATE, average={"kept": 0})
    yield _told(task.advance, state, Phase(0, 1, STEP3, 5, False), 0, None, 1)
    yield _told(view_training.taught, config, {}, maker)
    yield _told(model_file.write, config, {}, maker, [], pathlib.Path("unused"), configuration="")


def _at_two_rates(rates, learning_rate):
    """Stands in for `_at_rate`, which a stage calls twice, where `rates` stands in for its task."""
    rates.append(learning_rate)
    if len(rates) == 4:
        raise _Told(rates)
    return rates


def _leaves(tree):
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [leaf if isinstance(leaf, str) else np.asarray(leaf).tobytes() for leaf in leaves]


@pytest.fixture
def stand_ins(monkeypatch):
    """What takes the place of computations: it tells what they would compute with."""
    monkeypatch.setattr(inputs.stylegan2, "load", _gan)
    monkeypatch.setattr(inputs.image_files, "crop_and_resize", lambda picture, crop, size: np.zeros((size, size, 3)))
    monkeypatch.setattr(inversion, "invert", _telling("steps", "learning_rate"))
    monkeypatch.setattr(models, "init_params", _telling())
    monkeypatch.setattr(refinement, "keep_best", _telling("batches", "gain"))
    monkeypatch.setattr(model_file, "measure", _telling(2))
    monkeypatch.setattr(
        data, "load_parser", lambda weights: (types.SimpleNamespace(family="bisenet", classes=19), None)
    )
    monkeypatch.setattr(parsing, "find_labels", _telling("normalize"))
    monkeypatch.setattr(SampleMaker, "images", _telling(2))
    monkeypatch.setattr(lift_task, "ema_update", _telling(3))
    advance = types.SimpleNamespace(advance=lambda state, *_: (state, {}))
    monkeypatch.setattr(lift_task.Lift, "_of", lambda task, phase: advance)
    monkeypatch.setattr(lift_task, "shared", lambda images, *_, **arguments: [len(images), arguments["collect_iters"]])
    monkeypatch.setattr(lift_task, "_at_rate", _at_two_rates)
    monkeypatch.setattr(lift_task.Lift, "_maker", _Samples)


def _others(path, value, field):
    """Returns other values that a field may have."""
    if field.choices:
        return [choice for choice in field.choices if choice != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, tuple):
        return _OTHER_TUPLES[path]
    if isinstance(value, str):
        return ["elsewhere", "car"]
    kind = float if isinstance(field.default, float) else int
    numbers = map(kind, (2 * (value or 1), field.high, field.low, 1, 2, 64))
    return [number for number in numbers if number != value and not field.fault(number)]


def _differs(config, path, other, before):
    changed = config.copy_and_resolve_references().unlock()
    set_field(changed, path, other)
    absent = object()
    after = _observed(changed.lock())
    return any(_text(value) != _text(next(after, absent)) for value in before)


def _text(value):
    return repr(value) if not isinstance(value, jax.Array) else repr(np.asarray(value))


def test_every_field_changes_something_or_the_schema_says_that_it_does_not(bases, stand_ins):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = {name: list(_observed(config)) for name, config in bases.items()}
        assert all(figures[0] == [] for figures in before.values())  # runs that could start
        again = {name: list(_observed(config)) for name, config in bases.items()}
        assert _text(before) == _text(again)  # nothing differs by itself

        def changes_something(path, field):
            group = schema.group_of(path)
            likely = sorted(bases, key=lambda name: name != group)
            tries = [[(name, other) for other in _others(path, flatten(bases[name])[path], field)] for name in likely]
            in_turn = itertools.chain.from_iterable(
                itertools.zip_longest(*tries)
            )  # each kind of run with one value first
            return any(_differs(bases[name], path, other, before[name]) for name, other in filter(None, in_turn))

        affecting = {  # one with a single choice has others where a package adds them (tests/test_extensions.py)
            path: field
            for path, field in schema.fields().items()
            if field.role != "machine" and len(field.choices) != 1
        }
        silent = [path for path, field in affecting.items() if not changes_something(path, field)]
    assert silent == [] and len(affecting) > 80


@pytest.mark.parametrize("group", ["loss", "sampling", "optimizer"])
def test_a_field_that_no_step_reads_is_refused(bases, group):
    config = bases["general"].copy_and_resolve_references().unlock()
    config[group].lam_even = 0.1
    with pytest.raises(
        ConfigError, match=rf"config\.{group}\.lam_even: no step reads this, so it would change nothing"
    ):
        from_config(config.lock(), _gan(config.gan.checkpoint)[0], original_size=32)
