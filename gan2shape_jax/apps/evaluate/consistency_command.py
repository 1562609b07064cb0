"""`gan2shape-jax evaluate consistency`: how good are shapes without ground truth?"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from gan2shape_jax.apps.evaluate import consistency, consistency_report
from gan2shape_jax.apps.evaluate.consistency import Measured
from gan2shape_jax.apps.evaluate.folders import FoundRun, find_runs, read_config
from gan2shape_jax.apps.evaluate.manifest import manifest
from gan2shape_jax.config import option_types
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.writable import require_folder_place
from gan2shape_jax.plain_text import one_line
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.run import feed_forward

__all__ = ["run"]

_EPILOG = """\
examples:
  gan2shape-jax evaluate consistency results/catface --out results/cats_measured
  gan2shape-jax evaluate consistency results/seed0 results/seed1 results/seed2

About two minutes an image on two cores: an encoder of its own learns to make pictures of it that no run has seen.
Where true depths are known, as of the bundled faces, the report also says how well each measure ranks shapes.
"""
_MOST_ROUNDS = 64


def run(argv: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be measured.

    Raises:
        UserError: a folder without results, runs that cannot be compared, or a missing file.
    """
    arguments = _parser().parse_args(argv)
    if arguments.out is not None:
        require_folder_place(arguments.out)
    runs = find_runs(arguments.results)
    names = [name for name in runs[0].images if all(name in each.images for each in runs)]
    if not names:
        raise UserError("the runs have no image in common: shapes of the same images are compared")
    subject = consistency.subject_of(runs)
    networks = {each.label: found for each in runs if (found := _networks(each)) is not None}
    measured: list[Measured] = []
    problems: dict[str, str] = {}
    for number, name in enumerate(names[: arguments.images]):
        try:
            results = {each.label: load_result(each.images[name]) for each in runs}
            another = load_result(runs[0].images[names[number - 1]]) if len(names) > 1 else None
            one = consistency.measure(name, results, another, subject, rounds=arguments.rounds)
            measured.append(_mirrored(one, results, networks, subject))
        except UserError as error:
            problems[name] = str(error)
        print(one_line(f"{name}: {number + 1} of {len(names[: arguments.images])}"), file=sys.stderr)
    text = consistency_report.markdown(measured, problems)
    print(text)
    if arguments.out is not None:
        _write(arguments.out, text, measured, runs)
    return 1 if problems else 0


def _write(out: pathlib.Path, text: str, measured: Sequence[Measured], runs: Sequence[FoundRun]) -> None:
    atomic_text(out / "consistency.md", text)
    atomic_text(out / "consistency.csv", consistency_report.images_csv(measured))
    atomic_text(out / "manifest.json", json.dumps(manifest(runs), indent=2, allow_nan=False) + "\n")


def _networks(run: FoundRun) -> feed_forward.FeedForward | None:
    """Returns the networks of a run that explains images in one pass; None for other runs, or if they are missing."""
    config = read_config(run)
    if config.mode != "predict" or not pathlib.Path(config.networks.pretrained).is_file():
        return None
    return feed_forward.load(config, None)


def _mirrored(
    one: Measured,
    results: dict[str, Result],
    networks: dict[str, feed_forward.FeedForward],
    subject: consistency.Subject,
) -> Measured:
    for label, found in networks.items():
        one.mirrored[label] = consistency.mirrored_apart(found, subject, one.name, results[label])
    return one


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax evaluate consistency",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How good shapes are where no true depth is known: unseen views, agreement, mirror images.",
    )
    add = parser.add_argument
    add(
        "results",
        type=option_types.path("RESULTS"),
        nargs="+",
        metavar="RESULTS",
        help="folders of runs on the same images, such as of several seeds",
    )
    whole = option_types.whole
    add("--images", type=whole("--images", 1, 10**6), metavar="N", help="of the list's images, so many (default: all)")
    add(
        "--rounds",
        type=whole("--rounds", 1, _MOST_ROUNDS),
        default=1,
        metavar="N",
        help="of 4 unseen pictures of each shape that is compared (default: 1)",
    )
    add(
        "--out",
        type=option_types.path("--out"),
        metavar="FOLDER",
        help="writes consistency.md, consistency.csv and manifest.json there",
    )
    return parser
