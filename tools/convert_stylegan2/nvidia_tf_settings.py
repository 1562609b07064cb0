"""The settings that a network of NVIDIA's TensorFlow code was made with; each must be known here.

Those that change the computation are read or compared with what the package computes, those that only matter in
training are ignored, and a file with any other is rejected.
"""

import os
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.child import Record
from gan2shape_jax.io.weights.messages import listed, short
from gan2shape_jax.io.weights.pickles import TENSORFLOW

__all__ = ["Settings"]

_VERSIONS = (4, 5)  # of the saved state: stylegan2, stylegan2-ada

# Settings that do not affect what a trained network computes; widths are read from the shapes.
_PASSED_OVER = {
    "generator": (
        *("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val"),
        *("dlatent_avg_beta", "w_avg_beta", "style_mixing_prob", "randomize_noise", "fused_modconv", "structure"),
        *("fmap_base", "fmap_decay", "fmap_min", "fmap_max", "fmap_const", "num_fp16_res", "mapping_func"),
        *("synthesis_func", "label_fmaps", "dlatent_broadcast"),
    ),
    "discriminator": (
        *("fmap_base", "fmap_decay", "fmap_min", "fmap_max", "num_fp16_res", "structure", "freeze_layers"),
        *("mapping_layers", "mapping_fmaps", "mapping_lrmul", "augment_strength", "pagan_num", "pagan_fade"),
    ),
}
_READ = {
    "generator": (
        *("resolution", "latent_size", "dlatent_size", "mapping_layers", "mapping_fmaps", "mapping_lrmul"),
        *("architecture", "conv_clamp", "resample_kernel", "use_noise"),
    ),
    "discriminator": (
        *("resolution", "architecture", "conv_clamp", "resample_kernel", "mbstd_group_size", "mbstd_num_features"),
    ),
}
# Settings with a single supported value.
_FIXED: dict[str, dict[str, Any]] = {
    "generator": {
        "num_channels": 3,
        "nonlinearity": "lrelu",
        "mapping_nonlinearity": "lrelu",
        "normalize_latents": True,
        "dtype": "float32",
    },
    "discriminator": {
        "num_channels": 3,
        "nonlinearity": "lrelu",
        "dtype": "float32",
        "use_pagan": False,
        "use_spectral_norm": False,
        "adaptive_dropout": 0,
        "score_size": 1,
        "score_max": 1,
    },
}


def is_network(value: Any) -> bool:
    """Whether a value of a pickle is a network of NVIDIA's TensorFlow code."""
    return isinstance(value, Record) and value.class_name == TENSORFLOW


def _array_of(value: Any) -> np.ndarray | None:
    if isinstance(value, np.ndarray):
        return value
    # Scalars without axes are stored as numbers.
    return np.asarray(value) if type(value) in (int, float, bool) and abs(value) < 2**53 else None


class Settings:
    """A network, what it is (`generator`), the file's name, and its settings."""

    def __init__(self, network: Record, what: str, source: str | os.PathLike) -> None:
        """Checks nothing yet; `check` does."""
        self.network, self.what, self.source = network, what, source
        kwargs = network.fields.get("static_kwargs", {})
        if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
            raise UserError(f"{source}: the {what} has no settings by name")
        self._kwargs: dict[str, Any] = kwargs

    @property
    def builder(self) -> str:
        """The name of the function that builds the network."""
        return str(self.network.fields.get("build_func_name"))

    def has(self, component: str) -> bool:
        """Whether there is such a component."""
        components = self.network.fields.get("components")
        return isinstance(components, dict) and is_network(components.get(component))

    def component(self, name: str) -> "Settings":
        """Returns a component; raises `UserError` if there is none."""
        if not self.has(name):
            raise UserError(f"{self.source}: the {self.what} has no component {name!r}")
        return Settings(self.network.fields["components"][name], f"{self.what}'s {name}", self.source)

    @property
    def variables(self) -> dict[str, np.ndarray | None]:
        """Its own variables by name; None for what is no array of numbers, nor a number.

        Raises:
          UserError: they are no list of pairs of a name and a value, or two have one name.
        """
        entries = self.network.fields.get("variables", [])
        pairs = [tuple(entry) for entry in entries if isinstance(entry, (list, tuple)) and len(entry) == 2]
        names = [name for name, _ in pairs if isinstance(name, str)]
        if not isinstance(entries, (list, tuple)) or len(names) < len(entries) or len(set(names)) < len(names):
            raise UserError(
                f"{self.source}: the variables of the {self.what} are no list of different names and arrays"
            )
        return {name: _array_of(value) for name, value in pairs}

    def get(self, name: str, default: Any) -> Any:
        """Returns a setting, or the default if it is missing."""
        return self._kwargs.get(name, default)

    def count(self, name: str, default: int | None, *, none: int | None = None) -> int:
        """Returns a non-negative integer, or `none` for None; raises `UserError` for anything else."""
        value = self.get(name, default)
        value = none if value is None and none is not None else value
        if type(value) is not int or value < 0:
            raise UserError(f"{self.source}: {name} of the {self.what} is no whole number: {short(value)}")
        return value

    def check(self) -> None:
        """Raises `UserError` for another version, for classes, or for unsupported settings, all of which it lists."""
        version = self.network.fields.get("version")
        if version not in _VERSIONS or type(version) is not int:
            raise UserError(
                f"{self.source}: the {self.what} is of version {short(version)} of NVIDIA's networks; "
                "StyleGAN2's are of version 4 or 5"
            )
        if self.get("label_size", 0) != 0:
            raise UserError(
                f"{self.source}: the {self.what} is conditional. Of TensorFlow's pickles, unconditional ones are "
                "converted; take the PyTorch pickle of the same network, and choose a class of it with --class"
            )
        known = {*_PASSED_OVER[self.what], *_READ[self.what], *_FIXED[self.what], "label_size"}
        faults = [
            f"{name} is {short(self.get(name, value))}, supported is {value!r}"
            for name, value in _FIXED[self.what].items()
            if not _equal(self.get(name, value), value)
        ]
        unknown = [name for name in self._kwargs if name not in known]
        faults += [f"{listed(unknown, 10)}: not known here"] if unknown else []
        if faults:
            raise UserError(
                f"{self.source}: settings of a {self.what} that is not supported:\n  " + "\n  ".join(faults)
            )


def _equal(value: Any, supported: Any) -> bool:
    return (
        isinstance(value, bool) == isinstance(supported, bool)
        and isinstance(value, (str, bool, int, float))
        and (value == supported)
    )
