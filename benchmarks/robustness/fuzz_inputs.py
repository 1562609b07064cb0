"""Feeds malformed files to every reader, and reports any outcome other than a clean error.

    python benchmarks/robustness/fuzz_inputs.py --minutes 10

Mutates the hostile files of the tests and the saved corpus, byte by byte and piece by piece, and reads them in a
separate process: pictures, masks, alpha channels, latents, depths, statistics, settings in YAML, configurations in
JSON, image lists. A reader may return a value or raise a UserError, within 2 s of CPU time and 512 MiB over the idle
process. A file with any other outcome is written to --findings; the exit status is then 1. Files that reach new lines
of the readers (or of Pillow, PyYAML, json, zipfile) are mutated further; with --keep the smallest of them go into the
corpus in tests/io/corpus, which tests replay, up to 1 MiB in all.
"""

import argparse
import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import select
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(pathlib.Path(__file__).parent)]

from fuzzing.mutations import mutated  # noqa: E402

_CORPUS = ROOT / "tests" / "inputs" / "corpus"
_LARGEST_CORPUS, _LARGEST_KEPT = 2**20, 8 * 2**10  # bytes, of all and of one
_PATIENCE = 240  # seconds of wall time for one file, after which the process counts as stuck
_MOST_SECONDS, _MOST_MIB = 2.0, 512.0
# The words that are inserted, and the file extension, by reader.
_READERS = {
    "picture": ("picture", ".png"),
    "mask": ("picture", ".png"),
    "alpha": ("picture", ".png"),
    "latent": ("npy", ".npy"),
    "depth": ("npy", ".npy"),
    "statistics": ("npz", ".npz"),
    "yaml": ("text", ".yml"),
    "config.json": ("text", ".json"),
    "json": ("text", ".json"),
    "names": ("text", ".txt"),
}


class Child:
    """The reading process, restarted whenever it is gone."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, reader: str, path: pathlib.Path) -> dict:
        """Returns the child's answer, or one whose outcome says that the child exited or did not answer."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps([reader, str(path)]) + "\n")
            process.stdin.flush()
            if select.select([process.stdout], [], [], _PATIENCE)[0]:
                line = process.stdout.readline()
                if line:
                    return json.loads(line)
        except BrokenPipeError:
            pass
        told = "no answer" if process.poll() is None else f"the process ended with {process.wait()}"
        self.stop()
        return {"outcome": "gone", "told": told, "seconds": 0.0, "mib": 0.0, "new": 0}

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            program = pathlib.Path(__file__).parent / "fuzzing" / "child.py"
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen([sys.executable, program], text=True, bufsize=1, **pipes)
            assert self._process.stdout is not None
            while self._process.stdout.readline().strip() != "ready":
                if self._process.poll() is not None:
                    raise SystemExit(f"{program} does not start")
        return self._process


@dataclasses.dataclass
class Fuzzer:
    """Files by reader, those that reached something new, and the findings so far."""

    pools: dict[str, list[bytes]]
    findings: pathlib.Path
    draw: random.Random
    fruitful: dict[str, list[bytes]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    found: int = 0

    def go_on(self, seconds: float, child: Child, folder: pathlib.Path) -> None:
        """Makes and reads files for the given time."""
        end, told = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            reader = self.draw.choice(list(self.pools))
            pool, fruitful = self.pools[reader], self.fruitful[reader]
            base = self.draw.choice(fruitful if fruitful and self.draw.random() < 0.5 else pool)
            kind, ending = _READERS[reader]
            content = mutated(base, kind, pool, self.draw)
            path = folder / f"file{ending}"
            path.write_bytes(content)
            self.judge(reader, content, child.read(reader, path))
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(self.summary(), flush=True)

    def judge(self, reader: str, content: bytes, answer: dict) -> None:
        """Counts an answer; keeps the file if it reached something new or did harm."""
        self.outcomes[answer["outcome"]] += 1
        if answer["new"]:
            self.fruitful[reader].append(content)
        slow, large = answer["seconds"] > _MOST_SECONDS, answer["mib"] > _MOST_MIB
        if answer["outcome"] in ("read", "refused") and not slow and not large:
            return
        self.found += 1
        self.findings.mkdir(parents=True, exist_ok=True)
        path = self.findings / _name(reader, content)
        path.write_bytes(content)
        print(
            f"{path}: {answer['outcome']}, {answer['seconds']:.1f} s, {answer['mib']:.0f} MiB: {answer['told'][-600:]}"
        )

    def summary(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common())
        return f"{counts}; {sum(map(len, self.fruitful.values()))} led somewhere new, {self.found} did harm"


def _name(reader: str, content: bytes) -> str:
    return f"{reader}-{hashlib.sha256(content).hexdigest()[:10]}{_READERS[reader][1]}"


def _pools() -> dict[str, list[bytes]]:
    """Returns the files to start from, by reader: the tests' hostile and valid ones of modest size, and the corpus."""
    from helpers import hostile_arrays, hostile_jpegs, hostile_pictures, hostile_pngs, hostile_texts

    from gan2shape_jax.config import load_config, to_json

    honest = to_json(load_config("ictface"))
    pictures = [*hostile_pngs.png_files().values(), *hostile_jpegs.jpeg_files().values()]
    pictures += hostile_pictures.other_files().values()
    texts = [*hostile_texts.json_files(honest).values(), honest.encode()]
    arrays = list(hostile_arrays.npy_files().values())
    lists = [b'001.png\n002.png 0.5 left\n# note\n"my photo.png"\n', b"a/b/c.jpg\r\n\xef\xbb\xbf", "é.png\n".encode()]
    pools = dict.fromkeys(("picture", "mask", "alpha"), pictures) | dict.fromkeys(("latent", "depth"), arrays)
    pools |= dict.fromkeys(("config.json", "json"), texts) | {"names": lists}
    pools |= {
        "statistics": list(hostile_arrays.npz_files().values()),
        "yaml": list(hostile_texts.yaml_files().values()),
    }
    kept = {reader: [path.read_bytes() for path in _CORPUS.glob(f"{reader}-*")] for reader in pools}
    return {reader: [file for file in files if len(file) < 2**16] + kept[reader] for reader, files in pools.items()}


def _keep(fuzzer: Fuzzer) -> None:
    """Adds files that reached something new to the corpus, the smallest first, until it is full."""
    _CORPUS.mkdir(parents=True, exist_ok=True)
    used = sum(path.stat().st_size for path in _CORPUS.iterdir())
    new = [(reader, content) for reader, contents in fuzzer.fruitful.items() for content in contents]
    for reader, content in sorted(new, key=lambda pair: len(pair[1])):
        used += len(content)
        if used > _LARGEST_CORPUS or len(content) > _LARGEST_KEPT:
            return
        (_CORPUS / _name(reader, content)).write_bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, help="of the changes (default: another each time)")
    parser.add_argument("--keep", action="store_true", help="add files that led somewhere new to the corpus")
    parser.add_argument("--readers", nargs="+", choices=_READERS, default=list(_READERS), help="(default: all)")
    parser.add_argument("--findings", type=pathlib.Path, default=pathlib.Path("findings"), help="(default: findings)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}", flush=True)
    pools = {reader: files for reader, files in _pools().items() if reader in options.readers}
    fuzzer, child = Fuzzer(pools, options.findings, random.Random(seed)), Child()
    with tempfile.TemporaryDirectory() as folder:
        try:
            fuzzer.go_on(options.minutes * 60, child, pathlib.Path(folder))
        except KeyboardInterrupt:
            pass
        finally:
            child.stop()
    print(fuzzer.summary())
    if options.keep:
        _keep(fuzzer)
    return 1 if fuzzer.found else 0


if __name__ == "__main__":
    sys.exit(main())
