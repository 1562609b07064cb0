"""Finding, running, changing and reading back configurations.

A configuration is an `ml_collections.ConfigDict` that the function `get_config` of a Python file returns; the file may
list `VARIANTS` of its own, which `get_config` then takes by name, and a `CATEGORY` (see `io.categories`). It is the
user's own program and runs as such; whatever goes wrong in it is reported in one line that names the file. Every
configuration has the same variants besides, the functions of `VARIANTS`.
"""

import contextlib
import difflib
import functools
import inspect
import itertools
import json
import os
import pathlib
import runpy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

from absl import flags
from ml_collections import ConfigDict, config_flags

from gan2shape_jax import extensions
from gan2shape_jax.config import schema
from gan2shape_jax.config.published_yaml import load_yaml
from gan2shape_jax.config.schema import set_field
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io import categories
from gan2shape_jax.io.bundled import configs
from gan2shape_jax.io.files import read_object

LIFT = "lift"
_BESIDE = ("plan", "identity")  # in `config.json` beside the fields: what the run does, and what makes it itself

# What belongs to the images of `config.data.image_root`, and what a run does without it. It is found by
# an image's name alone: a photo saved as `001.png` must not be given the mask of the bundled face 001.
_ROOTS = {
    "latent_root": "latents are found by inverting the GAN",
    "mask_root": "masks are the images' alpha channels or the parser's",
    "depth_root": "nothing is evaluated",
}


def names() -> list[str]:
    """Returns the names of the bundled configurations and of those that other packages add, sorted."""
    bundled = [path.stem for path in configs().glob("[a-z]*.py") if path.stem != "base"]
    return sorted([*bundled, *extensions.names("category", [*bundled, "base"])])


def load_config(spec: str) -> ConfigDict:
    """Returns the locked configuration named on a command line.

    `spec` is `NAME[:VARIANT]` of a bundled one, `PATH.py[:VARIANT]`, or `PATH.yml[:VARIANT]`, a settings file of the
    published implementation. Every configuration has the variants `predict`, `scratch`, `quick`, `joint`, `lift`,
    `finetune` and `train_detail`, also on top of one of its own: `church:published:lift`. Raises `ConfigError`: there
    is no such configuration or variant, or its file does not run.
    """
    name, *variants = spec.split(":")
    config, owned, variants = _found(name, variants)
    for variant in variants:
        if variant not in VARIANTS:
            has = ", ".join((*owned, *VARIANTS))
            raise ConfigError(f"config {pathlib.Path(name).stem} has no variant {variant!r} (it has {has})")
        config = VARIANTS[variant](config.unlock()).lock()
    return config


def _found(name: str, variants: list[str]) -> tuple[ConfigDict, tuple[str, ...], list[str]]:
    """Returns the locked configuration of a name or a path, with the first variant if it is its own.

    And its own variants, and those of `variants` that are left.
    """
    if name.endswith((".yml", ".yaml")):
        return load_yaml(name, load_config), (), variants
    if name in extensions.names("category"):
        module = extensions.load("category", name)
        return _made(vars(module), pathlib.Path(module.__file__), variants)
    path = pathlib.Path(name)
    if path.suffix != ".py":
        path = configs() / f"{name}.py"
        if name not in [*names(), "base"]:
            raise ConfigError(f"there is no config {name!r}; {_suggestion(name)}")
    elif not os.path.exists(path):
        bundled = path.parent.name == "configs" and path.stem in [*names(), "base"]  # from any folder
        if not bundled or path.is_absolute():
            raise ConfigError(f"there is no config file {name}; {_suggestion(path.stem)}")
        path = configs() / path.name
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is not a file")
    with _reported(f"{path} does not run"):
        module = runpy.run_path(str(path))  # leaves no compiled copy beside it
    return _made(module, path, variants)


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}bundled are: {', '.join(names())}"


def _made(
    module: Mapping[str, Any], path: pathlib.Path, variants: list[str]
) -> tuple[ConfigDict, tuple[str, ...], list[str]]:
    """Returns what `_found` does, of a file that has run."""
    with _reported(f"{path} does not run"):
        owned = tuple(module.get("VARIANTS", ()))
    make = module.get("get_config")
    if not callable(make):
        raise ConfigError(f"{path} has no function get_config")
    chosen = variants[:1] if variants and variants[0] in owned else []
    if not chosen and owned and _needs_variant(make):
        what = f"config {path.stem} is {', '.join(f'{path.stem}:{one}' for one in owned)}"
        if path.parent == configs():
            what += f": nothing of it is bundled, and gan2shape-jax get {path.stem} downloads its weights"
        raise ConfigError(what)
    with _reported(f"get_config of {path} does not run"):
        config = make(*chosen)
        if path.parent != configs():
            config = _checked(config, path)
    if isinstance(record := module.get("CATEGORY"), categories.Category) and path.parent != configs():
        if config.category != record.name:
            given = f"get_config gives the category {config.category!r}: set config.category = CATEGORY.name"
            raise ConfigError(f"{path}: CATEGORY describes {record.name!r}, but {given}")
        del config.category  # or it would be turned into plain text
        config.category = categories.NameWithRecord(record.name)
        config.category.record = record
    return config.lock(), owned, variants[len(chosen) :]


def _needs_variant(get_config: Callable[..., Any]) -> bool:
    """Whether a `get_config` cannot be called without the name of a variant."""
    named = [one for one in inspect.signature(get_config).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    return any(one.default is one.empty for one in named)


def _checked(config: Any, path: pathlib.Path) -> ConfigDict:
    """Returns what a user's `get_config` has given, unlocked; raises `ConfigError`."""
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"get_config of {path} does not return an ml_collections.ConfigDict")
    config = ConfigDict(config).unlock()
    if faults := schema.faults(schema.flatten(config)):
        raise ConfigError(f"{path}: {faults[0]}")
    _drop_foreign_roots(config)
    return config


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """Turns whatever a config file raises into a `ConfigError`, except Ctrl-C and errors already meant for the user."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit: a file that is no configuration must not end the program silently
        message = " ".join(str(error).split())[:500]
        raise ConfigError(f"{what}: {': '.join(filter(None, (type(error).__name__, message)))}") from error


@functools.cache
def _bundled_data() -> tuple[ConfigDict, ...]:
    found = []
    for name, variant in itertools.product(names(), ("", ":published", ":published_joint")):
        with contextlib.suppress(ConfigError):  # there is no such variant, or nothing bundled without one
            found.append(load_config(f"{name}{variant}").data)
    return tuple(found)


def _drop_foreign_roots(config: ConfigDict, overrides: Collection[str] = ()) -> None:
    """Empties folders that belong to a bundled configuration's images if `data.image_root` is another folder.

    A single warning names what was dropped; fields in `overrides`, which the user set explicitly, stay as they are.
    """
    data, real = config.data, os.path.realpath

    def is_foreign(root: str) -> bool:
        owners = {real(other.image_root) for other in _bundled_data() if real(other[root]) == real(data[root])}
        return bool(owners) and real(data.image_root) not in owners

    dropped = [root for root in _ROOTS if data[root] and f"data.{root}" not in overrides and is_foreign(root)]
    if dropped:
        folders = ", ".join(f"config.data.{root} {data[root]}" for root in dropped)
        then = "; ".join(_ROOTS[root] for root in dropped)
        of_others = f"of other images than those of config.data.image_root {data.image_root}"
        warnings.warn(f"dropped {folders}: {of_others} ({then}; name a folder to set it)", stacklevel=3)
    data.update(dict.fromkeys(dropped, ""))


def apply_overrides(config: ConfigDict, overrides: Mapping[str, str]) -> ConfigDict:
    """Returns a locked copy with fields set from text, such as `{"schedule.use_mask": "True"}`.

    Changing `data.image_root` drops the bundled latents, masks and depths that the overrides do not set themselves.
    Raises `ConfigError` for a field that does not exist (it names the nearest one), or a text that is no value of it.
    """
    config = ConfigDict(config).copy_and_resolve_references().unlock()
    images, fields = config.data.image_root, schema.fields()
    for path, text in overrides.items():
        if path in fields:
            _override(config, path, text)
        elif inside := [field for field in fields if field.startswith(f"{path}.")]:
            raise ConfigError(f"config.{path} is a group of fields: set one of them: {', '.join(inside)}")
        else:
            raise ConfigError(schema.no_field(path))
    if config.data.image_root != images:
        _drop_foreign_roots(config, overrides=overrides)
    return config.lock()


def _override(config: ConfigDict, path: str, text: str) -> None:
    field, parsed, words = schema.fields()[path], flags.FlagValues(), ["", f"--config.{path}={text}"]
    if field.default is None and text == "None":
        set_field(config, path, None)
        return
    *parents, last = path.split(".")
    alone = {last: 0 if field.default is None else field.default}  # its type decides how text is read
    for parent in reversed(parents):
        alone = {parent: alone}
    try:
        config_flags.DEFINE_config_dict("config", ConfigDict(alone), flag_values=parsed, sys_argv=words)
        parsed(words)
    except (flags.Error, ValueError, TypeError, MemoryError, RecursionError):
        raise ConfigError(f"config.{path} is {field.kind}, not {schema.shown(text)}") from None
    value = schema.as_tuples(schema.flatten(parsed.config)[path])
    if fault := field.fault(value):
        raise ConfigError(f"config.{path} {fault}")
    set_field(config, path, value)


def to_json(config: ConfigDict) -> str:
    """Returns the resolved configuration as indented JSON; equal configurations give equal text."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def read_config(path: pathlib.Path) -> ConfigDict:
    """Returns the locked configuration in a run's `config.json`; fields that it lacks have defaults.

    Raises `UserError`: the file cannot be read, or holds a configuration that no run could have had.
    """
    try:
        return config_of_tree(read_object(path, "a run's configuration"), path)
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read as a run's configuration: there is no such file") from error


def config_of_tree(tree: Mapping[str, Any], path: pathlib.Path) -> ConfigDict:
    """Returns what `read_config` does, from the content of `path`."""
    known = schema.fields()
    _require_extensions(tree, path)
    fields = schema.flatten({group: value for group, value in tree.items() if group not in _BESIDE})
    # The weight of a loss that a package added, which is not installed any more and which the run did not use.
    fields = {name: value for name, value in fields.items() if value or not name.startswith("loss.") or name in known}
    values = schema.flatten(load_config("base")) | {field: schema.as_tuples(value) for field, value in fields.items()}
    if problems := schema.faults(values):
        raise UserError(f"{path}: {problems[0]}")
    config = load_config("base").unlock()
    for field, value in values.items():
        set_field(config, field, float(value) if isinstance(known[field].default, float) else value)
    if problems := schema.problems(config):
        raise UserError(f"{path}: {problems[0]}")
    return config.lock()


def _require_extensions(tree: Mapping[str, Any], path: pathlib.Path) -> None:
    """Raises `UserError` if a run has used what another package adds, and no package that is installed does."""
    identity = tree.get("identity")
    used = identity.get("extensions") if isinstance(identity, dict) else None
    for name, version in used.items() if isinstance(used, dict) else ():
        kind, _, name = name.partition(".")
        if kind in get_args(extensions.Kind) and kind != "output" and name not in extensions.names(kind):
            what = f"the {kind} {name!r} of {version}"
            raise UserError(f"{path}: the run uses {what}, which is not installed: install it")


def _predicted(config: ConfigDict) -> ConfigDict:
    """Returns a configuration, modified, whose model explains images as it is, feed-forward."""
    config.recipe = "predict"
    config.workdir = f"{config.workdir}_predict"
    return config


def _from_scratch(config: ConfigDict) -> ConfigDict:
    """Returns a configuration, modified, that trains networks for each image by itself, from random ones."""
    config.recipe = "train"
    config.workdir = f"{config.workdir}_scratch"
    config.networks.pretrained = ""
    return config


def _quick(config: ConfigDict) -> ConfigDict:
    """Returns a short schedule from random networks, to see that every step works: the shapes are rough.

    Of images in `LIST.txt` it takes those in `LIST_quick.txt`, if that is there.
    """
    mirrored, few = any(config.schedule.flip3), f"{config.data.image_list.removesuffix('.txt')}_quick.txt"
    config = _from_scratch(config)
    config.workdir = f"{config.workdir.removesuffix('_scratch')}_quick"
    if os.path.isfile(few):
        config.data.image_list = few
    config.prior.iterations = 150
    config.schedule.update(stages=((60, 60, 40),), flip1=(False,), flip3=(mirrored,))
    config.sampling.collect_iters = 10
    config.outputs.update(turntable_frames=8, picture_size=128)
    config.logging.every_iterations = 20
    return config


def _joint(config: ConfigDict) -> ConfigDict:
    """Returns a configuration, modified, that trains one set of networks for all images."""
    config.workdir = f"{config.workdir}_joint"
    config.sampling.collect_iters = 60
    return _joined(config, ((600, 900, 1200), (300, 600, 900)))


def jointly_published(config: ConfigDict, *, batch_size: int, stages: int = 4) -> ConfigDict:
    """Returns a category's published configuration, modified, as its authors trained one set of networks jointly."""
    config.workdir = config.workdir.replace("_published", "_published_joint")
    config.data.image_list = f"{config.data.image_root}/list_0-199.txt"
    config.sampling.update(collect_iters=800, batch_size=batch_size)
    config.checkpoint.keep = 2
    return _joined(config, ((1500, 1500, 1500), *(stages - 1) * ((700, 1000, 1000),)))


def _joined(config: ConfigDict, stages: tuple[tuple[int, int, int], ...]) -> ConfigDict:
    """Returns joint training as published: from scratch, mirrored in all stages.

    `config` is unlocked, and modified; `stages` are iterations of steps 1, 2 and 3, one triple a stage.
    """
    config.recipe = "joint"
    config.networks.pretrained = ""
    config.schedule.update(reset_weight=False, average_gradients=True, stages=stages)
    config.schedule.flip1 = (False, *(len(stages) - 1) * (True,))
    config.schedule.flip3 = len(stages) * (True,)
    return config


def _lifted(config: ConfigDict) -> ConfigDict:
    """Returns a configuration, modified, for lifting its GAN: one set of networks trained from scratch.

    Camera, GAN, networks, losses and sampling stay the same. A category is taken to be symmetric only if its networks
    learn from mirrored depth maps.
    """
    mirrored, later = any(config.schedule.flip3), 5
    config.recipe = "lift"
    config.workdir = f"{config.workdir}_lift"
    config.networks.pretrained = ""
    config.prior.iterations = 300
    if config.prior.shape == "ellipsoid":
        config.prior.shape = "whole_ellipsoid"
    config.schedule.update(reset_weight=False, average_gradients=True, distinct_images=True)
    config.schedule.stages = ((500, 150, 700), *later * ((150, 100, 700),))
    config.schedule.update(flip1=(False, *later * (mirrored,)), flip3=(mirrored, *later * (mirrored,)))
    config.schedule.batches_per_iteration = 4  # samples that share an iteration
    config.sampling.batch_size = 2  # pseudo-images of each
    config.optimizer.learning_rate = 5e-4
    # The output of an encoder that has seen exact latents needs no mapping network to keep it among the GAN's images.
    config.gan.update(relative_enc=True, regularize_offset=False)
    config.lift.detail_pictures = 25_000
    return config


def _finetuned(config: ConfigDict) -> ConfigDict:
    """Returns how training continues from a lift (`networks.pretrained`): two stages without an anchor."""
    config = _lifted(config)
    mirrored = config.schedule.flip3[:2]
    config.recipe = "finetune"
    config.workdir = f"{config.workdir.removesuffix('_lift')}_finetune"
    config.schedule.update(stages=2 * ((1, 1, 500),), flip1=mirrored, flip3=mirrored)
    config.sampling.batch_size = 4
    config.lift.update(batches=12, inversion_iterations=0, warmup_iterations=20)
    config.optimizer.learning_rate = 1e-4  # of the second stage
    config.lift.update(first_learning_rate=3e-4, encoder_learning_rate=1e-4)
    return config


def _detail_trained(config: ConfigDict) -> ConfigDict:
    """Returns how a lifted model's albedo gets its detail: by samples of the GAN that are never seen twice."""
    model = config.networks.pretrained
    config = _lifted(config)
    folder = f"{config.workdir.removesuffix('_lift')}_detail"
    return as_detail_training(config, model=model, folder=folder, pictures=1_000_000)


def as_detail_training(config: ConfigDict, *, model: str, folder: str, pictures: int) -> ConfigDict:
    """Returns an unlocked lift's configuration, modified: it trains the albedo's detail network for a lifted model.

    `model` is the path of that model, `folder` the run's; the configuration's images are not used.
    """
    config.recipe, config.workdir, config.networks.pretrained = "train_detail", folder, model
    config.data.update(image_list="", image_root="", latent_root="", mask_root="", depth_root="")
    config.schedule.batches_per_iteration = 8  # pairs of pictures
    config.optimizer.update(learning_rate=1e-3, weight_decay=0.0)
    config.detail.pictures = pictures
    config.lift.update(detail_pictures=0, average=0.999)
    config.checkpoint.every_iterations = 250
    config.logging.every_iterations = 1563  # 25,000 pictures
    return config


# What every configuration can be changed to, unlocked.
VARIANTS: Mapping[str, Callable[[ConfigDict], ConfigDict]] = {
    "predict": _predicted,
    "scratch": _from_scratch,
    "quick": _quick,
    "joint": _joint,
    LIFT: _lifted,
    "finetune": _finetuned,
    "train_detail": _detail_trained,
}
