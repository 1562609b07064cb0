"""Times train steps and their parts, and the same work in PyTorch: one table and a JSON file.

    python benchmarks/speed/speed.py --configs ictface:scratch --json speed.json
    python benchmarks/speed/speed.py --configs ictface:scratch ictface:full --random-weights --torch
    python benchmarks/speed/speed.py --configs celeba car --random-weights --iterations 3

`ictface:full` is the bundled faces with the published code's network widths, batch of 16 and LPIPS. Fields of all
configurations are set as in a run, `--config.sampling.batch_size=4`. Steps run on the first image of the list; step 3
uses samples of zeros, which cost the same. Compilation time is the first call minus a later one: measure it without a
persistent cache. Our iterations and PyTorch's take turns. A ratio above 1 means that PyTorch took longer.

What `--torch` compares with (`torch_reference` beside this file): `plain` is PyTorch's defaults; `published` computes
the gradients that the published code computes, `grouped` convolves with a kernel for each image as it does;
`channels_last` and `fused` (Adam) are PyTorch's own options. Names can be combined: `published+grouped`.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from rich.console import Console
from timing import clock, ours, report, subjects
from timing.clock import Call

from gan2shape_jax.errors import UserError
from gan2shape_jax.main import keep_freed_memory


def _parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, dict[str, str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["ictface:scratch"], metavar="NAME")
    parser.add_argument("--iterations", type=int, default=12, help="timed calls of each")
    parser.add_argument("--only", choices=("steps", "parts"), help="leave the other out")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these steps or parts, as 'step3 mirrored'")
    parser.add_argument("--random-weights", action="store_true", help="draw what a configuration has no file of")
    parser.add_argument("--torch", nargs="*", metavar="WAYS", help="PyTorch beside it; 'plain' if nothing is named")
    parser.add_argument("--device", default="cpu", help="PyTorch's: cpu or cuda")
    parser.add_argument("--json", type=pathlib.Path)
    options, rest = parser.parse_known_args(arguments)
    overrides = {}
    for argument in rest:
        field, equals, value = argument.removeprefix("--config.").partition("=")
        if not (argument.startswith("--config.") and equals):
            parser.error(f"{argument!r}: fields are set as --config.FIELD=VALUE")
        overrides[field] = value
    return options, overrides


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    versions = {"python": platform.python_version(), "jax": jax.__version__}
    if options.torch is not None:
        import torch

        versions["torch"] = torch.__version__
    return {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "torch_device": options.device, **versions}


def _rows(calls: Mapping[str, Mapping[str, Call]], rounds: int) -> report.Rows:
    """Times the calls of every name side by side; `calls` by who and by name."""
    rows: report.Rows = {}
    for name in calls[report.OURS]:
        who = [key for key, by_name in calls.items() if name in by_name]
        timings = clock.side_by_side([calls[key][name] for key in who], rounds)
        rows[name] = dict(zip(who, timings, strict=True))
        told = ", ".join(f"{key} {timing.median_s * 1e3:.1f} ms" for key, timing in rows[name].items())
        print(f"{name}: {told}", flush=True)
    return rows


def _theirs(subject: subjects.Subject, options: argparse.Namespace, kind: str) -> dict[str, dict[str, Call]]:
    if options.torch is None:
        return {}
    from timing import theirs  # torch is optional

    make: dict[str, Callable[..., dict[str, Call]]] = {"steps": theirs.train_steps, "parts": theirs.parts}
    return {
        f"torch {name}": make[kind](subject, theirs.model(subject, theirs.ways(name), options.device))
        for name in options.torch or ["plain"]
    }


def _measure(name: str, overrides: dict[str, str], options: argparse.Namespace) -> report.Report:
    """Times one configuration, ours alone first, so that its memory is known."""
    subject = subjects.load(name, overrides, random_weights=options.random_weights)
    make = {"steps": ours.train_steps, "parts": ours.parts}
    kinds = [options.only] if options.only else list(make)
    calls = {kind: {report.OURS: make[kind](subject, options.rows)} for kind in kinds}
    peak = {"jax, process": clock.host_peak_gib()}
    if (on_device := clock.device_peak_gib()) is not None:
        peak["jax, device"] = on_device
    rows = {kind: _rows(by_who | _theirs(subject, options, kind), options.iterations) for kind, by_who in calls.items()}
    return report.Report(name, subject.drawn, rows.get("steps", {}), rows.get("parts", {}), subject.iterations, peak)


def _in_processes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs each configuration in its own process, since peak memory is per process."""
    reports = []
    for name in options.configs:
        arguments = sys.argv[1:]
        first = arguments.index("--configs")
        last = first + 1 + len(options.configs)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "one.json"
            command = [
                sys.executable,
                __file__,
                *arguments[:first],
                *arguments[last:],
                "--configs",
                name,
                "--json",
                str(path),
            ]
            if subprocess.run(command).returncode:
                raise SystemExit(1)
            reports += json.loads(path.read_text())["configs"]
    return reports


def main() -> None:
    options, overrides = _parse()
    keep_freed_memory()  # as the program does
    if len(options.configs) > 1:
        reports = _in_processes(options)
    else:
        try:
            measured = _measure(options.configs[0], overrides, options)
        except UserError as error:
            raise SystemExit(str(error)) from error
        for table in report.tables(measured):
            Console(width=140).print(table)
        print("peak memory, GiB:", ", ".join(f"{what} {value:.2f}" for what, value in measured.peak_gib.items()))
        if measured.drawn:
            print("drawn at random:", ", ".join(measured.drawn))
        reports = [report.to_json(measured) | {"overrides": overrides}]
    if options.json:
        content = {"machine": _machine(options), "configs": reports}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
