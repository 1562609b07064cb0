"""Prediction: trained networks explain new images feed-forward, without any training.

No latent, GAN or mask is needed. Outputs are cut to where a lifted model's objects are, with other networks to the
image's mask; if true depth is known, they are measured against it; and if the GAN, an encoder and an image's latent
file are available, `outputs.gan_images` also makes the pictures through the GAN.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.config import former, load_config, set_field
from gan2shape_jax.config import names as config_names
from gan2shape_jax.detection.assessment import Assessment
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io import arrays, data
from gan2shape_jax.io.bundled import MODEL, advice, asset, cache, cached_weights, names_of, suggestion, weights_file
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import predict_batch
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.networks.modules import param_shapes
from gan2shape_jax.results import Projection, Reconstruction
from gan2shape_jax.run import inference, prepare, start, trust
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runner import FAILURES, RunHooks, WorkItems, failures_of
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import groups, network_files

_AT_ONCE = 8  # images that go through the networks together
_MANY = 32  # number of images from which a separate program for that pays off


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["frozen", "settings", "params"],
    meta_fields=["plan", "architecture", "grader"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """Networks that explain images, and what they were trained with; created by `load_predictor`."""

    plan: Plan
    architecture: Architecture  # the GAN's architecture, or its stand-in
    frozen: FrozenModels  # the frozen networks; `frozen.generator` is None if there is no GAN
    settings: Settings  # of the method
    params: models.Params
    grader: trust.Grader

    def prepared(self, item: data.Item) -> PreparedImage:
        """Returns an image ready to be explained, with its latent if there is one and the GAN is loaded."""
        latent = None if self.frozen.generator is None else item.latent
        return prepare.prepare_image(self.plan, item, latent, self.architecture, self.frozen)

    def reconstruct(self, prepared: PreparedImage) -> Reconstruction:
        """Returns the networks' result for an image."""
        return inference.reconstruct(self.params, prepared, self.frozen, self.grader)


def load_kind(model: str | os.PathLike[str]) -> ConfigDict:
    """Returns the locked configuration that goes with a model and names its file.

    Args:
      model: a name, of a bundled model or one that `gan2shape-jax get` has fetched; a configuration that names a model,
        as `--config` takes it; or a lifted model's file, which goes with the bundled configuration of its category.

    Raises:
      UserError: there is no such model, and the message lists the names; or its file is unusable.
    """
    spec = os.fspath(model)
    name, _, variant = former.config(spec).partition(":")
    if name in config_names() or name.endswith((".py", ".yml", ".yaml")):
        files = cached_weights(cache("weights") / name)
        if not variant and files and not os.path.isfile(asset(f"{name}/model.safetensors")):
            variant = "published"  # what was fetched is all that there is
        config = load_config(f"{name}:{variant}" if variant else name).unlock()
        files = files if variant.partition(":")[0] == "published" else {}
    else:
        facts = model_file.read_facts(path := weights_file(spec, MODEL))
        if facts is None or (found := _default_of(facts.category)) is None:
            what = "is missing, or not a lifted model" if facts is None else f"is a model of {facts.category[:80]!r}"
            raise ConfigError(f"{path} {what}: name a lifted model's file, or a configuration that has one (.py)")
        config, files = found.unlock(), {MODEL: path}
    for field, file in files.items():
        set_field(config, field, str(file))
    if not os.path.isfile(model_path := config.networks.pretrained):
        lacks = (
            f"names a model that is missing ({model_path})" if model_path else "names no model (networks.pretrained)"
        )
        named = names_of(MODEL)
        how = f"it {ours}" if (ours := advice(model_path)) else f"lift its GAN (gan2shape-jax lift --config={spec})"
        raise ConfigError(
            f"the configuration {spec}{suggestion(named, spec, config.category)} {lacks}: "
            f"{how}, or use one of the models {', '.join(named)}"
        )
    return config.lock()


def _default_of(category: str) -> ConfigDict | None:
    """Returns a category's configuration without a variant; None if it has none, or only the published one."""
    try:
        return load_config(category) if category in config_names() else None
    except ConfigError:
        return None


def load_predictor(
    plan: Plan, gan: tuple[Architecture, FrozenModels] | None, assessed: Mapping[str, Assessment] | None = None
) -> Predictor:
    """Reads the networks of `config.networks.pretrained`, with the encoder if a GAN is given to make pictures through.

    `assessed` is what pictures show, by name, if that is known already. Raises `UserError`: the networks or the
    statistics are unusable, or do not fit the configuration.
    """
    config = plan.config
    if gan is None:  # a stand-in for its architecture, and the mean view and light
        files = {"view_mean": (config.sampling.view_mvn, 6), "light_mean": (config.sampling.light_mvn, 4)}
        means = {name: jnp.asarray(arrays.load_mvn(*file)[0], jnp.float32) for name, file in files.items()}
        architecture, frozen = stand_in_sizes(config), FrozenModels(means["view_mean"], means["light_mean"])
    else:
        architecture, frozen = gan
    frozen = prepare.with_landmarks(frozen, plan)
    settings = plan.settings(architecture, original_size=config.image_size)
    plan.require_model_fits(settings, gan=gan is not None)
    needed = needed_networks(gan=gan is not None)
    like = {name: param_shapes(models.modules(settings)[name]) for name in needed}
    params = network_files.load_networks(pathlib.Path(config.networks.pretrained), like, settings, needed=needed)
    params = jax.device_put({name: value for name, value in params.items() if name in (*needed, models.DETAIL)})
    grader = trust.load_grader(plan, None if gan is None else (architecture, frozen.discriminator), assessed=assessed)
    return Predictor(plan, architecture, frozen, settings, params, grader)


def needed_networks(*, gan: bool) -> tuple[str, ...]:
    """Returns the networks that explaining an image requires, with or without pictures through the GAN."""
    return tuple(name for name in models.NAMES if gan or name != "encoder")


def stand_in_sizes(config: ConfigDict) -> Architecture:
    """Returns a stand-in architecture for the GAN that the configuration describes, for use when none is loaded."""
    levels = config.gan.size.bit_length() - 2
    return Architecture(
        size=config.gan.size,
        style_dim=config.gan.style_dim,
        mapping_layers=8,
        channels=(1,) * levels,
        discriminator_channels=(1,) * levels,
    )


def no_gan_because(config: ConfigDict) -> str | None:
    """Returns why the GAN is not loaded, '' if no pictures through it are asked for; None if there can be some."""
    if not (config.outputs.gan_images and config.outputs.preset == "all"):
        return ""
    if not pathlib.Path(config.gan.checkpoint).is_file():
        return f"there is no config.gan.checkpoint {config.gan.checkpoint}"
    if not config.data.latent_root:
        return "config.data.latent_root is empty, and prediction does not invert the GAN"
    return None


def predict_images(plan: Plan, names: list[str], hooks: RunHooks) -> int:
    """Explains every image of the list with `config.networks.pretrained`; returns 0, or 1 if an image failed.

    Raises `UserError`: the networks or the statistics are unusable.
    """
    with start.begin(plan, names) as started:
        plan, config = started.plan, started.plan.config
        reason, folder = no_gan_because(config), started.folder
        gan = prepare.load_frozen(plan, perceptual_weights=False) if reason is None else None
        networks = load_predictor(plan, gan, hooks.assessed)
        folder.describe(config, started.identity, plan.record)
        params, frozen = networks.params, networks.frozen
        at_once = _AT_ONCE if len(started.work_items) >= _MANY and frozen.generator is None else 1
        with Monitor(plan.schedule, None) as monitor, WorkItems(folder, names, monitor.say, hooks) as work_items:
            monitor.say(f"{plan.recipe.name}: {plan.recipe.words}")
            if reason:
                monitor.say(f"no pictures by the GAN: {reason}")

            def write(name: str, prepared: PreparedImage, result: Reconstruction) -> None:
                if sentence := trust.sentence_of(result.name, result.metrics):
                    monitor.say(sentence)
                has_latent = prepared.example.latent is not None
                project = inference.projector(params, prepared, frozen) if has_latent else None
                result, files = hooks.decorate(result)
                made_with = started.wanted(name).record
                inference.write(
                    result, folder.result(result.name), config, project=project, extra=files, made_with=made_with
                )

            def projector(name: str) -> Projection | None:
                prepared = networks.prepared(data.load_item(config, name))
                return None if prepared.example.latent is None else inference.projector(params, prepared, frozen)

            work_items.redraw(started, config, projector)
            for group in work_items.unfinished(groups.grouped(started.work_items, at_once)):
                monitor.check()
                # Finished ones too: where an image stands among the others decides its last bits.
                images = work_items.usable(group, lambda name: networks.prepared(data.load_item(config, name)))
                try:
                    examples = [prepared.example for prepared in images.values()]
                    if examples and at_once > 1:  # they have the same settings
                        views = predict_batch(params, examples, frozen, networks.settings, size=at_once)
                    else:
                        views = [
                            inference.predict(params, prepared.example, frozen, prepared.settings)
                            for prepared in images.values()
                        ]
                    ungraded = {
                        name: inference.reconstruct_ungraded(params, prepared, frozen, networks.grader, view=view)
                        for (name, prepared), view in zip(images.items(), views, strict=True)
                        if not folder.is_finished(stem_of(name))
                    }
                    results = dict(zip(ungraded, trust.graded(networks.grader, [*ungraded.values()]), strict=True))
                except FAILURES as error:
                    work_items.fail(failures_of(list(images), error))
                    continue
                work_items.write(
                    {name: functools.partial(write, name, images[name], result) for name, result in results.items()}
                )
            return work_items.status
