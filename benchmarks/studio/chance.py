"""Chance that tells pictures apart, and what the film of a camera adds, as functions of seed, split and number."""

import numpy as np

SPLITS = ("train", "validation", "test")


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """Returns the generator of one purpose: the numbers say which."""
    return np.random.default_rng([seed, *numbers])


def linear(*srgb: float) -> np.ndarray:
    """Returns the linear value of sRGB from 0 to 255."""
    value = np.array(srgb) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def film(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns how a picture is exposed and developed (see `photograph.developed`), and its JPEG quality."""
    return {
        "exposure": np.float32(np.exp(rng.normal(0, 0.22))),
        "contrast": np.float32(rng.uniform(0.1, 0.8)),
        "saturation": np.float32(rng.normal(1.03, 0.08)),
        "blur": np.float32(max(rng.normal(0.2, 0.22), 0.05)),
        "grain": np.float32(np.clip(rng.normal(0.004, 0.006), 0.001, 0.016)),
        "jpeg": np.int32(rng.uniform(70, 98) if rng.random() < 0.6 else 100),
        "grain_seed": np.int32(rng.integers(2**31 - 1)),
    }


def stacked(rows: list[dict]) -> dict[str, np.ndarray]:
    """Returns rows of numbers as arrays, float32 and int32."""
    return {key: np.stack([_narrow(row[key]) for row in rows]) for key in rows[0]}


def _narrow(value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    return value.astype(np.float32 if value.dtype.kind == "f" else np.int32)
