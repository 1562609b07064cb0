"""`gan2shape-jax evaluate identity`: does a turned face still show the same person?

Each result is turned from -20 to 20 degrees of yaw in 20 views by its 3D sheet, by the GAN guided by it, and by
GANSpace and SeFa, following the comparison in GAN2Shape; the cosine between the embeddings of each view and of the
input is reported.
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.evaluate import identity, identity_report
from gan2shape_jax.apps.evaluate.embedding import Embedding, Preparation, cosine, load_embedding
from gan2shape_jax.apps.evaluate.folders import FoundRun, find_runs, read_config
from gan2shape_jax.apps.evaluate.identity import Gan, Turned
from gan2shape_jax.apps.evaluate.identity_report import Turn
from gan2shape_jax.apps.evaluate.manifest import manifest
from gan2shape_jax.config import option_types
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.writable import require_folder_place
from gan2shape_jax.plain_text import one_line
from gan2shape_jax.results.result import load_result

__all__ = ["run"]

_EPILOG = """\
examples:
  gan2shape-jax evaluate identity results/mine --embedding arcface.onnx --out results/identity
  gan2shape-jax evaluate identity results/mine --embedding facenet.onnx --layout nhwc --size 160 --mean 127.5 --std 128

No network comes with the package: those that tell faces apart have licences of their own, and want faces cut out and
scaled as they were trained (--crop, --size, --mean, --std, --bgr).
"""


def run(argv: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be turned.

    Raises:
        UserError: no embedding is given, or it cannot be used; or a folder has no results.
    """
    arguments = _parser().parse_args(argv)
    if not arguments.stand_in and arguments.embedding is None:
        raise UserError(
            "name a network that tells faces apart: --embedding FACE.onnx (none comes with the package, "
            "see docs/how-to/evaluation.md), or try the command out with --stand-in"
        )
    if arguments.out is not None:
        require_folder_place(arguments.out)
    embedding = None if arguments.stand_in else load_embedding(arguments.embedding, _preparation(arguments))
    yaws = np.linspace(-arguments.max_yaw, arguments.max_yaw, arguments.views)
    runs = find_runs(arguments.results)
    turns: list[Turn] = []
    problems: dict[str, str] = {}
    for each in runs:
        some, failed = _turn_all(each, embedding, yaws, arguments.out)
        turns += some
        problems |= failed
    title = identity_report.title(None if arguments.stand_in else arguments.embedding.name)
    text = identity_report.markdown(turns, problems, title)
    print(text)
    if arguments.out is not None:
        record = manifest(runs, embedding=str(arguments.embedding or "stand-in: GAN discriminator, not identity"))
        atomic_text(arguments.out / "identity.md", text)
        atomic_text(arguments.out / "identity.csv", identity_report.views_csv(turns))
        atomic_text(arguments.out / "manifest.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax evaluate identity",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How well turning an object keeps its identity, by a face-embedding network of yours.",
    )
    add = parser.add_argument
    add(
        "results",
        type=option_types.path("RESULTS"),
        nargs="+",
        metavar="RESULTS",
        help="folders of runs, or of single images",
    )
    add(
        "--embedding",
        type=option_types.path("--embedding"),
        metavar="FACE.onnx",
        help="the network, from pictures to vectors",
    )
    add(
        "--stand-in",
        action="store_true",
        help="no identity: compares the GAN discriminator's features instead, to try the command out",
    )
    views = option_types.whole("--views", 2, option_types.MOST_FRAMES)
    max_yaw = option_types.number("--max-yaw", 0.001, 90, "degrees")
    add("--views", type=views, default=20, help="how many yaws (default: 20)")
    add("--max-yaw", type=max_yaw, default=20.0, metavar="DEG", help="the greatest to either side (default: 20)")
    add("--layout", choices=("auto", "nchw", "nhwc"), default="auto", help="axes of its input (default: told by it)")
    add(
        "--size",
        type=option_types.size(least=0),
        default=0,
        metavar="PIXELS",
        help="its pictures' side (default: told)",
    )
    mean, std = option_types.number("--mean", -1e6, 1e6), option_types.number("--std", 1e-6, 1e6)
    add("--mean", type=mean, default=127.5, help="subtracted from values of 0 to 255 (default: 127.5)")
    add("--std", type=std, default=127.5, help="they are then divided by it (default: 127.5)")
    add("--bgr", action="store_true", help="swaps red and blue")
    crop = option_types.number("--crop", 0.01, 1)
    add("--crop", type=crop, default=1.0, metavar="SHARE", help="centred share of the side to keep (default: 1)")
    add(
        "--out",
        type=option_types.path("--out"),
        metavar="FOLDER",
        help="writes identity.md, identity.csv, manifest.json and a picture an image there",
    )
    return parser


def _preparation(arguments: argparse.Namespace) -> Preparation:
    return Preparation(
        layout=arguments.layout,
        size=arguments.size,
        mean=arguments.mean,
        std=arguments.std,
        bgr=arguments.bgr,
        crop=arguments.crop,
    )


def _turn_all(
    run: FoundRun, embedding: Embedding | None, yaws: np.ndarray, out: pathlib.Path | None
) -> tuple[list[Turn], dict[str, str]]:
    """Turns every image of a run by every method; also returns the reasons for those that failed."""
    config = read_config(run)
    gan = identity.load_gan(config)
    embed = embedding or _stand_in(gan)
    turns: list[Turn] = []
    problems: dict[str, str] = {}
    for name, folder in run.images.items():
        try:
            result = load_result(folder)
            subject = identity.load_subject(config, gan, result.name, result, folder, run.home / "latents")
        except UserError as error:
            problems[f"{run.label}: {name}"] = str(error)
            continue
        turned = identity.turn(subject, gan, yaws)
        reference = embed(result.image[None])
        turns += [_compared(run.label, name, each, cosine(embed(each.pictures), reference), yaws) for each in turned]
        if out is not None:
            identity_report.write_picture(out / identity_report.picture_name(run.label, name), result, turned)
        print(one_line(f"{run.label}: {name}"), file=sys.stderr)
    return turns, problems


def _compared(label: str, name: str, turned: Turned, similarity: np.ndarray, yaws: np.ndarray) -> Turn:
    return Turn(
        run=label,
        name=name,
        method=turned.method,
        how=turned.how,
        yaws_deg=yaws,
        seen_deg=turned.yaws_deg,
        reached=turned.reached,
        similarity=similarity,
    )


def _stand_in(gan: Gan) -> Embedding:
    """Returns means of the discriminator's last features: how alike pictures look, not whose face they show."""

    @functools.partial(jax.jit, static_argnames="arch")
    def features(params: stylegan2.Params, pictures: jax.Array, *, arch: stylegan2.Architecture) -> jax.Array:
        return jnp.mean(stylegan2.discriminator_features(params, pictures, arch=arch)[-1], axis=(1, 2))

    return lambda pictures: np.asarray(features(gan.frozen.discriminator, jnp.asarray(pictures), arch=gan.architecture))
