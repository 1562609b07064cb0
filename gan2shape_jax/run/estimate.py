"""Crude estimates of a run's cost: time, memory, disk.

The scale comes from one measurement (the bundled configuration on two CPU cores); the rest is counting
pixels, channels and iterations with guessed exponents. Expect errors of up to a factor of two either way
for the bundled configuration on a CPU, and more for others; GPU and TPU figures are guesses.
"""

import dataclasses
import math

from ml_collections import ConfigDict

__all__ = ["Estimate", "estimate"]

# Seconds per iteration at 64 pixels, width 32, batch 8, with a 64-pixel GAN, on two CPU cores: 1.5 times
# what an idle machine took (0.020, 0.020, 0.061, 0.100 and 0.017 s, docs/reports/benchmarks.md).
_PRIOR, _STEP1, _STEP2, _STEP3 = 0.03, 0.03, 0.09, 0.15
_PROJECTION = 0.025
_SEARCH = 0.08  # one optimisation step on the latents of a batch
# Seconds for compiling every step once.
_COMPILING = 60.0
# Guesses, not measurements.
_GPU_FACTOR, _TPU_FACTOR = 40.0, 60.0
# For drawing the views of a strip, four at once: 0.8 GiB at 512 pixels a side.
_BYTES_A_PIXEL = 3000
# Share of the networks' bytes that a finished image keeps, by `config.outputs.networks`.
_KEPT = {"none": 0.0, "small": 1 / 6, "full": 1.0}

# Modes that train one set of networks.
_SHARED = ("joint", "lift")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Hours for the whole list, peak memory and disk space in GiB, and the kind of device that they apply to."""

    hours: float
    memory_gib: float
    disk_gib: float
    device: str


def estimate(config: ConfigDict, images: int, *, device: str = "cpu", cores: int = 2, devices: int = 1) -> Estimate:
    """Returns the estimate for a number of images.

    Args:
      config: the run's configuration, with values in their ranges.
      images: how many images are to be reconstructed; lifting uses its own samples instead.
      device: 'cpu', 'gpu' or 'tpu'.
      cores: number of CPU cores.
      devices: number of devices that simultaneous images, or the batches of one iteration, are divided among; the
        memory is that of one device.
    """
    if config.mode == "lift":
        images = config.lift.samples
    faster = {"gpu": _GPU_FACTOR, "tpu": _TPU_FACTOR}.get(device, math.sqrt(cores / 2))
    if config.mode == "predict":
        seconds = _relative_costs(config)[0] * _PRIOR * images / faster + _COMPILING / 6  # a forward pass
    else:
        seconds = _seconds_per_image(config) * (1 if config.mode in _SHARED else images) / faster + _COMPILING
    most = min(images, cores) if device == "cpu" else images  # as in `group_plan.choose_size`
    together = min(config.runtime.images_at_once, most)
    if config.mode in _SHARED:
        together = config.schedule.batches_per_iteration
    memory = _memory(config, images, math.ceil(together / devices))
    return Estimate(seconds / 3600, memory, _disk(config, images), device)


def _relative_costs(config: ConfigDict) -> tuple[float, float, float]:
    """Returns costs relative to the measurement: networks on one image, networks on a batch, GAN on a batch."""
    width = config.networks.width or max(4096 // config.image_size, 16)
    pixels = (config.image_size / 64) ** 2
    batch = config.sampling.batch_size / 8
    networks = pixels * max(width / 32, 0.5) ** 1.5 * (2.5 if config.loss.perceptual == "lpips" else 1.0)
    channels = max(config.gan.channel_multiplier, 0.5)
    gan = (config.gan.size / 64) ** 1.3 * (channels / 0.5) ** 0.8 * batch
    return networks, networks * batch, gan


def _seconds_per_image(config: ConfigDict) -> float:
    one, many, gan = _relative_costs(config)
    together = max(1, config.schedule.batches_per_iteration)
    total = 0.0 if config.networks.pretrained else together * config.prior.iterations * _PRIOR * one
    if config.mode == "lift":
        drawn = config.lift.inversion_samples / config.sampling.batch_size
        total += together * config.lift.inversion_iterations * drawn * (_STEP2 * many + _PROJECTION * gan) / 2
    for stage, (step1, step2, step3) in enumerate(config.schedule.stages, start=1):
        total += together * (step1 * _STEP1 * one + step3 * _STEP3 * many + step2 * _STEP2 * (many + gan) / 2)
        searched = _searched(config) if stage <= config.lift.anchored_stages else 0
        total += _collected(config) * (_PROJECTION * gan + searched * _SEARCH * gan)
        if config.mode == "lift" and stage > config.lift.anchored_stages:
            total += config.lift.samples * config.lift.own_encoder_iterations * _STEP2 * (many + gan) / 2
    if config.mode != "lift" and not config.data.latent_root:
        total += config.inversion.steps * _STEP2 * gan / config.sampling.batch_size
    return total


def _searched(config: ConfigDict) -> int:
    """Returns the number of steps that search for the latent of each projected sample."""
    return config.lift.latent_iterations if config.mode == "lift" else 0


def _collected(config: ConfigDict) -> int:
    """Returns the number of batches of projected samples that a stage keeps."""
    return config.lift.samples * config.lift.batches if config.mode == "lift" else config.sampling.collect_iters


def _memory(config: ConfigDict, images: int, together: int) -> float:
    """Returns GiB needed for training, or for drawing the results if that takes more."""
    return max(_training_memory(config, images, together), _drawing_memory(config))


def _training_memory(config: ConfigDict, images: int, together: int) -> float:
    """Returns GiB needed for the widest step's activations, the kept samples, and JAX and its compiler."""
    one, many, gan = _relative_costs(config)
    if config.mode == "predict":
        return 1.0 + 0.3 * one
    samples = _collected(config) * config.sampling.batch_size
    problems = 40 * (images if config.mode in _SHARED else 1)  # arrays the size of an image, factors and scene included
    kept = (4 * samples + problems) * config.image_size**2 * 4
    steps = 0.3 * one + 0.6 * max(many, gan)
    if config.mode in _SHARED:
        return 2.9 + max(1, together) * steps + kept / 2**30
    return 2.9 + max(1, together) * (steps + kept / 2**30)


def _drawing_memory(config: ConfigDict) -> float:
    """Returns GiB needed for drawing a result's strips from the mesh."""
    side = config.outputs.picture_size or max(config.image_size, 192)
    return 0.5 + _BYTES_A_PIXEL * side**2 / 2**30


def _disk(config: ConfigDict, images: int) -> float:
    """Returns GiB needed for checkpoints (networks and optimiser state), networks, and the pictures of every image."""
    width = config.networks.width or max(4096 // config.image_size, 16)
    networks = 0.06 * (width * config.image_size / 2048) ** 2  # the widest layers hold nearly all of it
    if config.mode == "predict":
        return images * 0.02
    if config.mode == "lift":
        return (
            config.checkpoint.keep + 1
        ) * 4 * networks + 2 * networks  # includes the moving average; no image results
    share = _KEPT[config.outputs.networks] if config.schedule.reset_weight else 1
    kept = images * share if config.mode == "instance" else 1
    return (config.checkpoint.keep + 1) * 3 * networks + kept * networks + images * 0.02
