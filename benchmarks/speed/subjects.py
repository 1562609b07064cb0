"""What is timed: a configuration with its GAN, its first image and its networks, loaded or drawn at random."""

import dataclasses
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import arrays, image_lists
from gan2shape_jax.method import frozen, models, perceptual, prior, projection
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, Example
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.stylegan2 import Architecture

COLLECT = "collecting samples"
_FLATTENED = 0.01


@dataclasses.dataclass(frozen=True)
class Subject:
    """A configuration ready to be timed.

    Attributes:
      name: as requested.
      drawn: what was drawn at random because its file is missing.
    """

    name: str
    config: ConfigDict
    settings: Settings
    frozen: FrozenModels
    example: Example
    params: models.Params
    drawn: tuple[str, ...]

    @property
    def context(self) -> Context:
        """What steps compute with."""
        return Context(self.example, self.frozen, self.settings)

    @property
    def phases(self) -> dict[str, Phase]:
        """The first phase of each kind in the schedule, by label."""
        by_label: dict[str, Phase] = {}
        for phase in RECIPES[self.config.recipe].schedule(self.config):
            by_label.setdefault(_label(phase), phase)
        return by_label

    @property
    def iterations(self) -> dict[str, int]:
        """How many iterations of each kind the whole schedule has."""
        counts: dict[str, int] = {}
        for phase in RECIPES[self.config.recipe].schedule(self.config):
            counts[_label(phase)] = counts.get(_label(phase), 0) + phase.iterations
        return counts | {COLLECT: self.settings.collect_iters * len(self.config.schedule.stages)}


def _label(phase: Phase) -> str:
    """The name in tables of iterations like this phase's."""
    return phase.step + (" mirrored" if phase.flip else "")


def load(name: str, overrides: dict[str, str], *, random_weights: bool) -> Subject:
    """Loads a configuration; what has no file is drawn at random if that is allowed.

    Args:
      name: as on a command line.
      overrides: values by field, which take precedence over the configuration's.
      random_weights: whether to draw what is missing.

    Raises:
      UserError: something is missing and must not be drawn, or the configuration is invalid.
    """
    config = apply_overrides(load_config(name), overrides)
    drawn = _absent(config)
    if drawn and not random_weights:
        raise UserError(f"{name} lacks {', '.join(drawn)}: fetch what `--check` names, or draw it by --random-weights")
    weights = "the GAN" in drawn
    architecture, gan = _random_gan(config) if weights else inputs.load_gan(config)
    frozen = _frozen(config, architecture, gan, drawn)
    if weights or "images" in drawn:
        settings, example = _random_example(config, architecture, frozen)
    else:
        first = image_lists.read_names(config.data.image_list)[0]
        with tempfile.TemporaryDirectory() as folder:
            prepared = inputs.load_image(resolve(config), first, architecture, frozen, pathlib.Path(folder))
        settings, example = prepared.settings, prepared.example
    params = _smooth(models.init_params(jax.random.key(config.seed), settings))
    return Subject(name, config, settings, frozen, example, params, drawn)


def _smooth(params: models.Params) -> models.Params:
    """The parameters with a depth network that gives a nearly flat surface.

    With parameters as drawn, its depth is noise, with triangles far larger than in any run after fitting the prior,
    and a rasteriser's time depends on their size.
    """
    output = params["depth"]["output"]
    return params | {"depth": params["depth"] | {"output": {"kernel": output["kernel"] * _FLATTENED}}}


def _absent(config: ConfigDict) -> tuple[str, ...]:
    files = {
        "the GAN": config.gan.checkpoint,
        "images": config.data.image_list,
        "statistics of views": config.sampling.view_mvn,
        "statistics of lights": config.sampling.light_mvn,
    }
    if config.loss.perceptual == "lpips":
        files["LPIPS"] = config.loss.lpips_weights
    return tuple(what for what, path in files.items() if not pathlib.Path(path).is_file())


def _random_gan(config: ConfigDict) -> tuple[Architecture, dict[str, Any]]:
    """A GAN of the size and widths given by the configuration (Karras et al., 2020, configs e and f)."""
    size, multiplier = config.gan.size, config.gan.channel_multiplier or 1
    sides = [2**k for k in range(2, size.bit_length())]
    channels = tuple(min(512, 16384 * multiplier // side) for side in sides)
    arch = Architecture(
        size=size, style_dim=config.gan.style_dim, mapping_layers=8, channels=channels, discriminator_channels=channels
    )
    return arch, stylegan2.init_params(jax.random.key(0), arch)


def _frozen(
    config: ConfigDict, architecture: Architecture, gan: dict[str, Any], drawn: tuple[str, ...]
) -> FrozenModels:
    def statistics(kind: str, path: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        random = f"statistics of {kind}" in drawn
        return (np.zeros(size), np.eye(size) * 0.05) if random else arrays.load_mvn(path, size)

    distances = {}
    if config.loss.perceptual == "lpips":
        random = "LPIPS" in drawn
        distances["lpips"] = _random_lpips() if random else perceptual.load_lpips(config.loss.lpips_weights)
    return frozen.build(
        gan,
        architecture,
        view_mvn=statistics("views", config.sampling.view_mvn, 6),
        light_mvn=statistics("lights", config.sampling.light_mvn, 4),
        F1_d=config.gan.F1_d,
        distances=distances,
    )


def _random_lpips() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    state = {
        name: (rng.standard_normal(shape) * (2 / max(np.prod(shape[1:]), 1)) ** 0.5).astype(np.float32)
        for name, shape in perceptual.torch_shapes().items()
    }
    state["scaling_layer.scale"] = np.full_like(state["scaling_layer.scale"], 0.45)
    return {name: jnp.asarray(value) for name, value in perceptual.lpips_from_torch(state).items()}


def _random_example(config: ConfigDict, architecture: Architecture, frozen: FrozenModels) -> tuple[Settings, Example]:
    """The GAN's own image of a random latent, with an ellipse as its mask."""
    original = max(config.gan.size, config.data.crop or 0)
    settings = settings_lib.from_config(config, architecture, original_size=original)
    key = jax.random.key(config.seed)
    latent = stylegan2.map_styles(
        frozen.generator, jax.random.normal(key, (1, architecture.style_dim)), arch=architecture
    )
    image = jax.jit(projection.synthesize)(latent, frozen, settings=settings)
    rows, columns = np.mgrid[: config.image_size, : config.image_size] / (config.image_size - 1) * 2 - 1
    mask = (columns**2 / 0.4 + rows**2 / 0.6 < 1).astype(np.float32)
    depth = prior.prior_depth(config, mask)
    return settings, Example(
        image=image,
        mask=jnp.asarray(mask),
        latent=latent,
        gan_image=image,
        prior=jnp.asarray(depth, jnp.float32),
        true_depth=None,
        key=key,
    )
