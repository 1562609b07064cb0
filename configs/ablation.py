"""The bundled faces with one part of the method changed or left out, on a short schedule.

python -m gan2shape_jax.main --config=configs/ablation.py                 the whole method
python -m gan2shape_jax.main --config=configs/ablation.py:flat            with a flat prior

docs/reports/ablations.md compares them, with the commands that do.
"""

from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config

# What each variant sets. The published text takes the encoder's offset through the mapping network and penalises its
# length; `no_regularization` does neither. `weak_prior` is half as deep, as its authors made theirs.
_FIELDS: dict[str, dict[str, Any]] = {
    "no_symmetry": {"schedule.flip3": (False,)},
    "no_regularization": {"gan.regularize_offset": False, "loss.lam_regular": 0.0},
    "flat": {"prior.shape": "flat"},
    "shifted": {"prior.shape": "shifted_ellipsoid"},
    "weak_prior": {"prior.far": 0.96},
    "symmetry_from_step1": {"schedule.flip1": (True,)},
}
VARIANTS = tuple(_FIELDS)


def get_config(variant: str = "") -> ConfigDict:
    """Returns the short schedule of the bundled faces, whole or with a variant's changes."""
    config = load_config("ictface:scratch").unlock()
    config.workdir = f"results/ablation/{variant or 'whole'}"
    config.prior.iterations = 400
    config.schedule.update(stages=((100, 100, 120),), flip1=(False,), flip3=(True,))
    config.sampling.collect_iters = 25
    config.outputs.update(gan_images=False, animation=False, picture_size=64)
    config.logging.update(every_iterations=50, tensorboard=False)
    for field, value in _FIELDS.get(variant, {}).items():
        group, name = field.split(".")
        config[group][name] = value
    return config
