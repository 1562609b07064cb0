"""How reliable the trust estimates of a result are: whether a picture is of the GAN's kind, and how good its shape is.

    python benchmarks/quality/trust.py kind --data FACES --others CATS_IMAGES [--out kind.json]
    python benchmarks/quality/trust.py kind --gan cats.safetensors --like CATS_IMAGES --others FACES_IMAGES \
        --leave-out chelsea
    python benchmarks/quality/trust.py shape --data FACES [--out shape.json]

`kind` scores pictures of the GAN's kind that it was not trained on, and pictures of other things: another folder's,
crops of scikit-image's everyday pictures, its textures, and noise. It prints the AUROC for every kind of other things,
and how many on either side are misclassified at the limit. The bundled GAN comes with its guide; for another one, what
the score needs is measured first, on 2,048 of its samples.

`shape` reconstructs faces 024 to 047, as they are and disturbed in several ways, and prints the rank correlation of the
expected SIDE with the true one, and the share of pixels whose error is within the spread.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import trust_record
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import stats

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo import framing
from gan2shape_jax.geometry import resample
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.run import trust
from gan2shape_jax.stylegan2 import typicality, typicality_measure

_JUDGED = range(24, 48)
_CROPS = 64  # of everyday pictures, and of textures
_EVERYDAY = ("astronaut", "camera", "chelsea", "coffee", "rocket", "coins", "page", "clock", "hubble_deep_field")
_TEXTURES = ("brick", "grass", "gravel")
_SAMPLES = 2048


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kind", "shape"))
    parser.add_argument("--data", type=pathlib.Path, help="folder of faces: image, mask, depth")
    parser.add_argument("--gan", default=asset("ictface/gan.safetensors"))
    parser.add_argument("--like", type=pathlib.Path, help="pictures of the GAN's kind (default: the faces')")
    parser.add_argument("--others", type=pathlib.Path, help="pictures of another kind")
    parser.add_argument("--leave-out", nargs="*", default=["astronaut"], help="everyday pictures of the GAN's kind")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of the figures")
    options = parser.parse_args(arguments)
    found = _kind(options) if options.what == "kind" else _shape(options.data)
    if options.out:
        atomic_text(options.out, json.dumps(found, indent=1) + "\n")


def _kind(options: argparse.Namespace) -> dict[str, Any]:
    arch, weights = stylegan2.load(options.gan)
    known = typicality.read_typicality(pathlib.Path(options.gan))
    if known is None:
        drawn = framing.drawn_samples(arch, weights, _SAMPLES).astype(np.float32) / 127.5 - 1
        known = typicality_measure.measure(weights["discriminator"], drawn, arch=arch, seed=0)

    def scores(pictures: Sequence[np.ndarray]) -> np.ndarray:
        side = typicality.side_of(arch)
        sized = [_sized(picture, side) for picture in pictures]
        judged = (typicality.atypicality(known, weights["discriminator"], one[None], arch=arch) for one in sized)
        return np.concatenate([np.asarray(value) for value in judged])

    like = scores(_folder(options.like or options.data / "image"))
    others = {name: scores(pictures) for name, pictures in _other_things(options.others, options.leave_out).items()}
    rows = {"all": np.concatenate(list(others.values()))} | others
    table = Table("other things", "pictures", "AUROC", "taken for the kind", title=f"limit {typicality.LIMIT}")
    found: dict[str, Any] = {"like": len(like), "false alarms": float((like > typicality.LIMIT).mean())}
    for name, values in rows.items():
        auroc = stats.mannwhitneyu(values, like).statistic / (len(values) * len(like))
        missed = float((values <= typicality.LIMIT).mean())
        found[name] = {"pictures": len(values), "auroc": float(auroc), "taken for the kind": missed}
        table.add_row(name, str(len(values)), f"{auroc:.4f}", f"{missed:.1%}")
    console = Console(width=100)
    console.print(table)
    quantiles = np.percentile(like, [5, 50, 95, 100]).round(2).tolist()
    console.print(f"{len(like)} of the kind: {found['false alarms']:.1%} refused; 5, 50, 95, 100%: {quantiles}")
    return found


def _folder(path: pathlib.Path) -> list[np.ndarray]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def _other_things(folder: pathlib.Path | None, left_out: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Returns pictures of other things, by their source."""
    from skimage import data  # only here: nothing else needs it

    rng = np.random.default_rng(0)
    named: dict[str, list[np.ndarray]] = {} if folder is None else {"the other folder": _folder(folder)}

    def crops(names: Sequence[str], least: float) -> list[np.ndarray]:
        pictures = [_rgb(getattr(data, name)) for name in names]
        return [_crop(rng, pictures[k % len(pictures)], least) for k in range(_CROPS)]

    named["everyday pictures"] = crops([name for name in _EVERYDAY if name not in left_out], 0.5)
    named["textures"] = crops(_TEXTURES, 0.25)
    grain = [rng.integers(0, 256, (2**k, 2**k, 3), dtype=np.uint8) for k in (1, 2, 3, 4, 5, 6) for _ in range(8)]
    named["noise"] = [np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC)) for one in grain]
    named["one colour"] = [np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(16)]
    return named


def _rgb(read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        picture = np.asarray(read())
    except Exception as error:  # a picture that is not on this machine and would have to be downloaded
        raise SystemExit(f"scikit-image lacks a picture ({error}): leave it out of the list above") from error
    return np.repeat(picture[..., None], 3, -1) if picture.ndim == 2 else picture[..., :3]


def _crop(rng: np.random.Generator, picture: np.ndarray, least: float) -> np.ndarray:
    side = int(min(picture.shape[:2]) * rng.uniform(least, 1))
    y, x = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
    return picture[y : y + side, x : x + side]


def _sized(picture: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 127.5 - 1


def _shape(folder: pathlib.Path) -> dict[str, Any]:
    networks = trust_record.networks_of(folder, "")
    record = networks.judge.record
    assert record is not None, "the model has no record: benchmarks/quality/trust_record.py writes one"
    rows: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in trust_record.DISTURBANCES}
    for kind, item in trust_record.faces_of(networks, _JUDGED, trust_record.DISTURBANCES):
        one = trust_record.judged(networks, item)
        expected = trust.expected_side(record, one.atypical)
        assert expected is not None
        spread = trust.spread_of(record, expected)
        there = np.asarray(resample.grid_sample(spread[..., None], one.to_input))[..., 0]
        inside = one.result.input_mask > 0.5
        covered = float((np.abs(one.error[inside]) <= there[inside]).mean())
        rows[kind].append((one.result.metrics["side"], expected, covered))
    table = Table("faces 024 to 047", "SIDE", "expected", "rank correlation", "pixels within the spread")
    sets = {kind: rows[kind] for kind in rows} | {
        "none and framing": rows["none"] + rows["framing"],
        "all": [row for some in rows.values() for row in some],
    }
    found = {}
    for name, some in sets.items():
        side, expected, covered = (np.array(column) for column in zip(*some, strict=True))
        rank = float(stats.spearmanr(side, expected).statistic)
        found[name] = {"side": side.mean(), "expected": expected.mean(), "rank": rank, "covered": covered.mean()}
        figures = f"{side.mean():.4f}", f"{expected.mean():.4f}", f"{rank:.2f}", f"{covered.mean():.1%}"
        table.add_row(name, *figures)
    Console(width=100).print(table)
    return {name: {key: float(value) for key, value in row.items()} for name, row in found.items()}


if __name__ == "__main__":
    main()
