"""`gan2shape-jax evaluate`: errors of finished runs, recomputed from what they saved, side by side.

The other runs are compared with the first.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from gan2shape_jax.apps.evaluate import report
from gan2shape_jax.apps.evaluate.compare import ScoredRun, compare
from gan2shape_jax.apps.evaluate.folders import find_runs
from gan2shape_jax.apps.evaluate.manifest import manifest
from gan2shape_jax.apps.evaluate.scores import score_run
from gan2shape_jax.config import option_types
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.writable import require_folder_place

__all__ = ["main"]

_EPILOG = """\
examples:
  gan2shape-jax evaluate results/ictface
  gan2shape-jax evaluate results/a results/b --out results/a_b          compares b with a
  gan2shape-jax evaluate results/mine --truth depths                    NAME.npy or NAME.png for every image
  gan2shape-jax evaluate identity results/ictface --embedding FACE.onnx (evaluate identity --help)
  gan2shape-jax evaluate consistency results/mine                       without true depth (... consistency --help)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, or 1 after an error that has been printed."""
    return exit_code(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["identity"]:
        from gan2shape_jax.apps.evaluate import identity_command  # imports the networks, which the rest does not need

        return identity_command.run(arguments[1:])
    if arguments[:1] == ["consistency"]:
        from gan2shape_jax.apps.evaluate import consistency_command

        return consistency_command.run(arguments[1:])
    return _run(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax evaluate",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Errors of finished runs with 95% intervals, computed anew from the saved arrays.",
    )
    parser.add_argument(
        "results",
        type=option_types.path("RESULTS"),
        nargs="+",
        metavar="RESULTS",
        help="folders of runs, or of single images; the first is what the others are compared with",
    )
    parser.add_argument(
        "--truth",
        type=option_types.path("--truth"),
        metavar="FOLDER",
        help="true depths, NAME.npy (scene units) or NAME.png, instead of those in the results",
    )
    parser.add_argument(
        "--out",
        type=option_types.path("--out"),
        metavar="FOLDER",
        help="writes evaluation.md, images.csv, summary.csv and manifest.json there",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    truth = arguments.truth
    if truth is not None and not truth.is_dir():
        raise UserError(f"--truth {truth} is not a folder of true depths: there is no such folder")
    if arguments.out is not None:
        require_folder_place(arguments.out)
    run_folders = find_runs(arguments.results)
    runs = [ScoredRun(run, score_run(run, truth)) for run in run_folders]
    comparisons = [compare(runs[0], other) for other in runs[1:]]
    text = report.markdown(runs, comparisons)
    print(text)
    if arguments.out is not None:
        record = json.dumps(manifest(run_folders, truth), indent=2, allow_nan=False)
        for name, content in (
            ("evaluation.md", text),
            ("images.csv", report.images_csv(runs)),
            ("summary.csv", report.summary_csv(runs, comparisons)),
            ("manifest.json", record + "\n"),
        ):
            atomic_text(arguments.out / name, content)
        print(f"written to {arguments.out}", file=sys.stderr)
    return 1 if any(score.broken for run in runs for score in run.scores) else 0
