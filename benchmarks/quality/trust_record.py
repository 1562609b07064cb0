"""Measures how far a model's shapes are from the truth, and writes it beside the model: `NAME.trust.safetensors`.

    python benchmarks/quality/trust_record.py --data FACES --faces 0 24 [MODEL]

FACES has the folders `image`, `mask` and `depth`. Faces from the first number up to but excluding the second
are reconstructed as they are and wrongly framed (`judged_faces`). The usual error is that of faces as they are, in the
canonical frame; the expected SIDE is a line fitted to log(SIDE) of all over their atypicality.
"""

import argparse
import pathlib
from collections.abc import Sequence

import cv2
import judged_faces
import numpy as np
from judged_faces import Judged

from gan2shape_jax.geometry import resample
from gan2shape_jax.io.atomic_files import atomic_bytes
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.run.trust import TrustRecord, beside, trust_bytes

_SOFT = 2 / 128  # of a side: the usual error is blurred by this much
_SHARE = 0.8  # of pixels within the spread


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="", help="by default the bundled one")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    options = parser.parse_args(arguments)
    networks = judged_faces.networks_of(options.data, options.model)
    faces = list(judged_faces.faces_of(networks, range(*options.faces), ("none", "framing")))
    seen = [judged_faces.judged(networks, item) for _, item in faces]
    plain = [one for (kind, _), one in zip(faces, seen, strict=True) if kind == "none"]
    model = pathlib.Path(networks.judge.config.networks.pretrained)
    record = record_of(plain, seen)
    atomic_bytes(beside(model), trust_bytes(record, sha256(model)))
    line, span = np.round(record.side_line, 3).tolist(), np.round(record.side_range, 4).tolist()
    print(f"{beside(model)}: level {record.level:.3f}, line {line}, range {span}")


def record_of(plain: list[Judged], seen: list[Judged]) -> TrustRecord:
    """Returns what is measured on faces as they are, and on these and disturbed ones together."""
    weight = np.stack([one.seen_canonical for one in plain])
    squares = np.stack([np.square(one.error_canonical) for one in plain])  # where unseen, both are 0
    soft = _SOFT * weight.shape[-1]
    total = cv2.GaussianBlur(weight.sum(0), (0, 0), soft)
    mean = squares.sum() / weight.sum()
    # Where hardly any face was seen, the overall mean takes over.
    usual = np.sqrt((cv2.GaussianBlur(squares.sum(0), (0, 0), soft) + mean) / (total + 1))
    atypical = np.array([max(one.atypical, 0) for one in seen])
    sides = np.array([one.result.metrics["side"] for one in seen])
    slope, constant = np.polyfit(atypical, np.log(sides), 1)
    more = np.exp(slope * np.array([max(one.atypical, 0) for one in plain]))
    ratios = [ratios_of(one, usual * factor) for one, factor in zip(plain, more, strict=True)]
    usual_sides = np.array([one.result.metrics["side"] for one in plain])
    return TrustRecord(
        usual_error=usual,
        level=float(np.quantile(np.concatenate(ratios), _SHARE)),
        side_line=np.array([constant, slope]),
        side_range=np.percentile(usual_sides, [5, 95]),
    )


def ratios_of(one: Judged, spread: np.ndarray) -> np.ndarray:
    """Returns errors in units of the spread, for each pixel of the object in the input's view."""
    there = np.asarray(resample.grid_sample(spread[..., None].astype(np.float32), one.to_input))[..., 0]
    inside = one.result.input_mask > 0.5
    return np.abs(one.error[inside]) / np.maximum(there[inside], 1e-9)


if __name__ == "__main__":
    main()
