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

from gan2shape_jax.config import load_config, set_field
from gan2shape_jax.config import names as config_names
from gan2shape_jax.detection.assessment import Assessment
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io import arrays, data
from gan2shape_jax.io.bundled import MODEL, advice, asset, cache, cached_weights, names_of, suggestion, weights_file
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.networks.modules import param_shapes
from gan2shape_jax.results import Reconstruction
from gan2shape_jax.run import inference, prepare, trust
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files


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
    name, _, variant = spec.partition(":")
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
