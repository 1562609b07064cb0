"""Refining a model on one image: the configuration of such runs, and how much of what training gives is kept.

As a model's networks are refined on one image, they explain that image ever better, while its shape first improves and
then may get worse. Held-out samples tell where to stop on the straight line in weight space from the model's networks
to the refined ones: the first point that explains these samples nearly as well as the best one is kept. The line
includes its starting point, so a refinement that does not help changes nothing. (Interpolating weights between networks
and their fine-tuned version: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Scalar
from ml_collections import ConfigDict

from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import Context, PreparedImage, ProjectedSamples, TrainState
from gan2shape_jax.method.step3 import STEP3, reference_code, step3_loss
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.training.task import collecting

Map = Float[np.ndarray, "s s"]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def mixed(start: models.Params, end: models.Params, share: Float[Scalar, ""] | float) -> models.Params:
    """Returns the networks at `share` on the straight line from `start` (0) to `end` (1)."""
    return jax.tree.map(lambda first, last: (1 - share) * first + share * last, start, end)


def chosen(l1: Sequence[float], *, gain: float) -> int:
    """Returns the first index at which the error is lower than at the start by a sufficient gain.

    `l1` is the L1 error on held-out samples, for each of `SHARES`; `gain` says which gain is sufficient, as a fraction
    of the largest one, in (0, 1]: 1 requires the lowest error. What is not finite is no gain.
    """
    gains = [l1[0] - value if np.isfinite(value) else -np.inf for value in l1]
    return next((place for place, value in enumerate(gains) if value >= gain * max(gains)), 0)


def keep_best(
    start: models.Params,
    state: TrainState,
    prepared: PreparedImage,
    frozen: FrozenModels,
    *,
    batches: int,
    gain: float,
) -> tuple[models.Params, float, list[float]]:
    """Returns the first networks, going from a model's to the refined ones, that explain held-out samples well enough.

    Also returns their share of the way, and the L1 error on held-out samples for each of `SHARES`. The samples, in
    `batches` batches, at least one, are drawn from the factors at the end of the refinement; for `gain`, see `chosen`.
    The error of networks that show less than half of the object, since they moved it out of the picture, is NaN.
    """
    example, settings = prepared.example, prepared.settings
    start = start | {"encoder": state.params["encoder"]}  # the score ignores it, but projecting needs it trained
    context = prepared.context(frozen)
    code, key = _code(start, context), key_of(example.key, Stream.HELD_OUT)
    collected = collecting(STEP3)
    drawn = [collected(start, state.factors, code, example, key, number, frozen, settings) for number in range(batches)]
    samples = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *drawn)
    errors = [_explained(start, state.params, jnp.float32(share), samples, context) for share in SHARES]
    least = float(errors[0]["shown"]) / 2
    l1 = [float(error["l1"]) if float(error["shown"]) >= least else np.nan for error in errors]
    share = SHARES[chosen(l1, gain=gain)]
    if share == 1:
        return state.params, share, l1
    first, last = jax.device_get((start, state.params))
    return mixed(first, last, share), share, l1  # in NumPy: JAX would compile a program for every shape


@jax.jit
def _explained(
    start: models.Params,
    end: models.Params,
    share: Float[Scalar, ""],
    samples: ProjectedSamples,
    context: Context,
) -> dict[str, Float[Scalar, ""]]:
    """Returns how far the networks' reconstructions are from the samples, and how many pixels of objects they show.

    Where none are shown, nothing differs.
    """
    _, (metrics, (geometry, _)) = step3_loss(mixed(start, end, share), samples, context, flip=False)
    return {"l1": metrics["l1_samples"], "shown": (geometry.valid[1:] * samples.masks).sum()}


_code = jax.jit(reference_code)


def finished(
    config: ConfigDict, start: models.Params, state: TrainState, prepared: PreparedImage, frozen: FrozenModels
) -> tuple[models.Params, dict[str, Any]]:
    """Returns the networks that a refinement keeps, and what `metrics` report of that.

    If no samples are kept out, these are the networks that it ended with; `start` are those that it began with.
    """
    batches, gain = config.refinement.held_out, config.refinement.gain
    if not batches:
        return state.params, {}
    params, share, l1 = keep_best(start, state, prepared, frozen, batches=batches, gain=gain)
    return params, {"refinement_share": share, "held_out_l1": dict(zip(map(str, SHARES), l1, strict=True))}


def outcome(metrics: Mapping[str, Any]) -> str:
    """Returns what a refinement brought, as a sentence, by what `finished` reports; "" if no samples were kept out."""
    if not (l1 := metrics.get("held_out_l1")):
        return ""
    share, start = metrics["refinement_share"], l1["0.0"]
    if not share:
        return (
            f"refinement kept nothing: held-out pictures are explained best by the model as it was (error {start:.3f})"
        )
    end = l1[str(share)]
    return f"refinement kept: {share:.0%} of the way, error on held-out pictures from {start:.3f} to {end:.3f}"
