"""Seconds from nothing installed to the first finished mesh.

    python benchmarks/speed/first_mesh.py                              the default: the bundled model, refined
    python benchmarks/speed/first_mesh.py --config=ictface:predict     the model feed-forward
    python benchmarks/speed/first_mesh.py --config=ictface:scratch     the published schedule

Makes a virtual environment in a temporary folder, installs the project there (using pip's download cache
if there is one), runs the program with an empty compilation cache, and stops it when the first
face's mesh exists. Prints the time of each part and the run's peak memory.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _peak_gib(pid: int) -> float:
    """Peak resident memory of a living process (Linux)."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    return float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default="configs/ictface.py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-e", ROOT], check=True)
        installed = time.perf_counter() - begin
        mesh = folder / "run" / "results" / "001" / "mesh.glb"
        process = subprocess.Popen(
            [
                python,
                "-m",
                "gan2shape_jax.main",
                f"--config={options.config}",
                f"--config.workdir={folder / 'run'}",
                f"--config.runtime.compilation_cache={folder / 'xla'}",
            ],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"XDG_CACHE_HOME": str(folder)},
        )
        peak = 0.0
        while not mesh.is_file():
            if process.poll() is not None:
                print(f"the run ended with exit code {process.returncode} before the first mesh")
                return 1
            peak = _peak_gib(process.pid)
            time.sleep(0.5)
        total = time.perf_counter() - begin
        process.send_signal(signal.SIGINT)
        process.wait()
        metrics = json.loads((mesh.parent / "metrics.json").read_text())
        before = f" (prior {metrics['prior']['side']:.4f})" if "prior" in metrics else ""
        print(
            f"installed after {installed:.0f} s; first mesh after {total:.0f} s; peak memory {peak:.2f} GiB; "
            f"SIDE {metrics['side']:.4f}{before}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
