"""Runs the variants of configs/ablation.py on the six bundled faces and tabulates their errors.

    python benchmarks/quality/ablations.py --out results/ablation                       # every variant, one seed
    python benchmarks/quality/ablations.py --out results/ablation --seeds 0 1           # a second seed on top of it
    python benchmarks/quality/ablations.py --out results/ablation --report              # only rewrites the tables

Stop it whenever you like: the same command resumes where it left off. All variants run in one process, so that a
step is compiled once for all that share it. Writes `ablations.json`, `.csv` and `.md` after every variant;
benchmarks/pages/ablations_page.py copies the last of these into docs/reports/ablations.md.
"""

import argparse
import json
import pathlib
import sys
import time

from ablation_tables import MEANING, WHOLE, Metrics, csv_table, tables

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.io.data import read_names
from gan2shape_jax.run.result_folders import saved_result


def _config(variant: str, seed: int, out: pathlib.Path, overrides: dict[str, str]):
    config = load_config("ablation" if variant == WHOLE else f"ablation:{variant}")
    fields = {"seed": str(seed), "workdir": str(out / "runs" / f"seed{seed}" / variant)}
    return apply_overrides(config, fields | overrides)


def _collect(out: pathlib.Path, variants: list[str], seeds: list[int]) -> Metrics:
    """Metrics of all finished runs, by variant, face and seed."""
    collected: Metrics = {}
    for variant in variants:
        for seed in seeds:
            config = _config(variant, seed, out, {})
            for name in read_names(config.data.image_list):
                face = pathlib.PurePath(name).stem
                path = saved_result(pathlib.Path(config.workdir), face) / "metrics.json"
                if path.is_file():
                    metrics = json.loads(path.read_text())
                    collected.setdefault(variant, {}).setdefault(face, {})[str(seed)] = metrics
    return collected


def _report(out: pathlib.Path, metrics: Metrics) -> str:
    text = tables(metrics)
    (out / "ablations.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (out / "ablations.csv").write_text(csv_table(metrics))
    (out / "ablations.md").write_text(text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/ablation"))
    parser.add_argument("--variants", nargs="*", default=list(MEANING), choices=list(MEANING))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--report", action="store_true", help="run nothing, write the tables of what is there")
    options, rest = parser.parse_known_args()
    wrong = [item for item in rest if not item.startswith("--config.") or "=" not in item]
    if wrong:
        parser.error(f"unknown argument {wrong[0]} (fields of all variants: --config.FIELD=VALUE)")
    overrides = dict(item.removeprefix("--config.").split("=", 1) for item in rest)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    code = 0
    if not options.report:
        from gan2shape_jax.run import experiment  # imports jax, which the tables do not need

        for seed in options.seeds:
            for variant in options.variants:
                begin = time.perf_counter()
                code |= experiment.run(_config(variant, seed, out, overrides))
                print(f"{variant}, seed {seed}: {time.perf_counter() - begin:.0f} s", flush=True)
                _report(out, _collect(out, options.variants, options.seeds))
    print(_report(out, _collect(out, options.variants, options.seeds)))
    return code


if __name__ == "__main__":
    sys.exit(main())
