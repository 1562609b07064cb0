"""The configuration of a single reconstruction: a bundled one, the caller's own, or one that suits the GAN."""

from __future__ import annotations

import operator
import os
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.validation import gan_problems, validate
from gan2shape_jax.errors import ArgumentError, ConfigError, UserError
from gan2shape_jax.io.required_files import required_files_of
from gan2shape_jax.run import refining
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["complete", "default", "of_model"]

# Files that a reconstruction reads even if image, mask, latent and GAN are passed in.
_READ = ("sampling.view_mvn", "sampling.light_mvn", "networks.pretrained", "loss.lpips_weights")
_LARGEST = 128  # pixels: the image side of the published method


def default(architecture: Architecture) -> ConfigDict:
    """Returns the configuration for a GAN about which nothing else is known; it needs only the package's own files.

    Up to 64 pixels, that is `ictface:scratch`, as for the bundled faces. Above, it is the published schedule for faces
    (`celeba`) at 128 pixels, started from the ellipsoid, with the GAN's discriminator as perceptual distance and the
    view and light statistics of the bundled faces.
    """
    bundled = load_config("ictface:scratch")
    if architecture.size <= bundled.image_size:
        return bundled
    config = load_config("celeba").unlock()
    config.image_size = min(architecture.size, _LARGEST)
    config.networks.pretrained = ""
    config.parsing.weights = ""
    config.loss.perceptual = "discriminator"
    config.sampling.view_mvn = bundled.sampling.view_mvn
    config.sampling.light_mvn = bundled.sampling.light_mvn
    return config


def complete(config: str | ConfigDict | None, architecture: Architecture, seed: int | None) -> ConfigDict:
    """Returns a valid configuration for one image and this GAN.

    Args:
      config: what `--config` takes on the command line, a configuration, or None for `default`.
      architecture: the GAN's; its sizes override the configuration's.
      seed: overrides `config.seed`, unless None.

    Raises:
      ConfigError: values that no reconstruction can use.
      UserError: a file that the configuration names is missing.
    """
    chosen = (default(architecture) if config is None else _named(config)).copy_and_resolve_references().unlock()
    chosen.gan.size, chosen.gan.style_dim, chosen.gan.channel_multiplier = architecture.size, architecture.style_dim, 0
    chosen.gan.checkpoint = "this GAN"  # for messages: the file has been loaded
    if seed is not None:
        chosen.seed = _whole(seed)
    if chosen.mode != "instance":
        raise ConfigError(f"config.mode is {chosen.mode!r}: an image is reconstructed by itself in mode 'instance'")
    validate(chosen)
    if problems := gan_problems(chosen, architecture):
        raise ConfigError("\n".join(problems))
    _require_files(chosen)
    return refining.as_refinement(chosen.lock())


def of_model(config: str | ConfigDict, model: str | os.PathLike[str] | None) -> ConfigDict:
    """Returns a valid configuration for predictions by a model.

    Args:
      config: what `--config` takes on the command line, or a configuration.
      model: the model file, overriding the configuration's; or None.

    Raises:
      ConfigError: values that no prediction can use.
      UserError: a file that the configuration names is missing.
    """
    chosen = _named(config).copy_and_resolve_references().unlock()
    chosen.mode = "predict"
    if model is not None:
        chosen.networks.pretrained = os.fspath(model)
    validate(chosen)
    _require_files(chosen)
    return chosen.lock()


def _whole(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise ArgumentError(f"seed is {str(seed)[:40]!r}: a whole number is needed") from None


def _named(config: Any) -> ConfigDict:
    if isinstance(config, str):
        return load_config(config)
    if not isinstance(config, ConfigDict):
        raise ArgumentError(f"config is a {type(config).__name__}: a name, a ConfigDict or None is possible")
    return config


def _require_files(config: ConfigDict) -> None:
    absent = [file for file in required_files_of(config) if file.field in _READ and not file.present]
    if absent:
        lines = [f"config.{file.field}: {file.path or '(empty)'} is not there; {file.advice}" for file in absent]
        raise UserError("\n".join(line.rstrip("; ") for line in lines))
