"""Times this package's convolutions, forward and both gradients, against those of another version of the module.

    git show bdda8fd:gan2shape_jax/networks/convolution.py > old.py
    python benchmarks/speed/convolutions.py --beside old.py --width 64 --batch 17

The shapes are those of the networks at 64 pixels; the two take turns. Times are in milliseconds, lower third of the
repeats.
"""

import argparse
import importlib.util
import pathlib
import time
from types import ModuleType

import jax
import jax.numpy as jnp

from gan2shape_jax.networks import convolution

Case = tuple[str, tuple[int, ...], tuple[int, ...]]


def cases(width: int, batch: int) -> list[Case]:
    """Function, shape of the features and shape of the kernel of every convolution."""
    listed: list[Case] = []
    for count in (1, batch):
        for level in range(4):
            side, before = 64 >> level, 3 if level == 0 else width << (level - 1)
            listed.append(("convolve_half", (count, side, side, before), (4, 4, before, width << level)))
    for level in range(3):
        side, channels = 32 >> level, width << level
        listed.append(("convolve_twice", (1, side // 2, side // 2, 2 * channels), (4, 4, 2 * channels, channels)))
        listed.append(("convolve", (1, side, side, channels), (3, 3, channels, channels)))
    listed.append(("convolve", (1, 4, 4, 8 * width), (3, 3, 8 * width, 8 * width)))
    listed += [("convolve", (1, 64, 64, width), (5, 5, width, out)) for out in (width, 3)]
    listed.append(("upsample_convolve", (1, 32, 32, width), (3, 3, width, width)))
    listed += [("convolve", (batch, 32 >> n, 32 >> n, 32 << n), (3, 3, 32 << n, 32 << n)) for n in (1, 2, 3)]
    return listed


def _gradients(module: ModuleType, case: Case):
    """The compiled function from features, kernel and cotangent to both gradients."""
    return jax.jit(lambda x, kernel, cotangent: jax.vjp(getattr(module, case[0]), x, kernel)[1](cotangent))


def compare(modules: list[ModuleType], case: Case, repeat: int) -> tuple[list[float], float]:
    """Milliseconds of each module, and the largest difference of their gradients relative to the largest value."""
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(case[1:]))
    shape = jax.eval_shape(getattr(convolution, case[0]), x, kernel)
    arguments = x, kernel, jax.random.normal(jax.random.key(2), shape.shape)
    runs = [_gradients(module, case) for module in modules]
    first, second = (run(*arguments) for run in runs)
    error = max(float(jnp.abs(a - b).max() / jnp.abs(a).max()) for a, b in zip(first, second, strict=True))
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeat):
        for run, taken in zip(runs, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            taken.append(time.perf_counter() - begin)
    return [1e3 * sorted(taken)[repeat // 3] for taken in seconds], error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--beside", type=pathlib.Path, required=True, help="the other version's convolution.py")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=17)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("other_convolution", options.beside)
    assert spec is not None and spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    totals = [0.0, 0.0]
    for case in cases(options.width, options.batch):
        (before, now), error = compare([other, convolution], case, options.repeat)
        totals = [totals[0] + before, totals[1] + now]
        print(f"{case[0]:18s}{case[1]!s:22s}{case[2]!s:20s} other {before:7.2f}  this {now:7.2f}  differ {error:.0e}")
    print(f"all: other {totals[0]:.1f}, this {totals[1]:.1f}")


if __name__ == "__main__":
    main()
