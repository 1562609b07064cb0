"""The process that mutates files and opens them. The current file is on the disk, in case the process is killed."""

import dataclasses
import faulthandler
import gc
import hashlib
import itertools
import json
import os
import pathlib
import random
import re
import time
from collections.abc import Callable, Iterator

from helpers.hostile import cases
from helpers.hostile.measure import MIB, Measured, bounded_address_space, measured
from helpers.hostile.mutated import change_bytes
from helpers.hostile.targets import targets

from fuzzing import pickled, structured
from fuzzing.lines import Lines

__all__ = ["CURRENT", "SECONDS", "Options", "work"]

CURRENT = "current"  # the file being opened, beside the findings
SECONDS, MEBIBYTES = 2, 512  # the most that a file may take beyond the idle process

_QUICK = 0.2  # seconds; what takes longer is not opened line by line
_LONGEST = 100_000  # bytes of a file that is mutated further
_KEPT, _CORPUS = 8 * 1024, MIB  # bytes of a file that is kept, and of all of them


@dataclasses.dataclass(frozen=True)
class Options:
    """What a worker is to do: kinds of files, their corpus, where findings go, for how long, and with which seed."""

    kinds: tuple[str, ...]
    corpus: pathlib.Path
    findings: pathlib.Path
    seconds: float
    seed: int


Change = Callable[[bytes, random.Random], bytes]
_CHANGES: dict[str, Change] = {
    "torch_zip": pickled.change_archive,
    "torch_legacy": pickled.change_pickles,
    "nvidia": pickled.change_pickles,
    "tensorflow": pickled.change_pickles,
    "safetensors": structured.change_header,
    "onnx": structured.change_messages,
}


class _Reached:
    """What files have reached so far: lines of the readers, and messages."""

    def __init__(self) -> None:
        self.lines, self._told = Lines(), set[str]()

    def is_new(
        self, reader: str, open_file: Callable[[pathlib.Path], None], path: pathlib.Path, found: Measured
    ) -> bool:
        """Whether a file is the first to yield its message, or to reach a line; opens it once more to find out."""
        words = f"{reader} {found.outcome} {_words(found.message)}"
        untold = words not in self._told
        self._told.add(words)
        return (found.seconds < _QUICK and self.lines.reaches_new(lambda: open_file(path))) or untold


def work(options: Options) -> None:
    """Opens changed files until the time is up, and prints a line of JSON for each finding and at the end."""
    begin = time.monotonic()
    faulthandler.dump_traceback_later(options.seconds + 60)  # shows where it is if it gets stuck
    readers = {kind: targets(kind) for kind in options.kinds}
    pools = {kind: list(_seeds(options.corpus, kind)) for kind in options.kinds}
    gc.freeze()
    bounded_address_space(2048 * MIB)
    chance, reached, opened = random.Random(options.seed), _Reached(), 0
    path = options.findings / CURRENT
    known = iter([(kind, content) for kind, pool in pools.items() for content in pool])
    for kind in itertools.cycle(options.kinds):
        if time.monotonic() - begin > options.seconds:
            break
        first = next(known, None)  # known files come first, so that new ones are recognised as new
        kind, content = first or (kind, _changed(kind, pools[kind], chance))
        path.write_bytes(content)
        is_new = False
        for reader, open_file in readers[kind].items():
            opened += 1
            found = measured(open_file, path)
            if fault := _fault(found):
                _report(options, kind, reader, fault, found, content)
            is_new |= reached.is_new(f"{kind} {reader}", open_file, path, found)
        if is_new and not first and len(content) <= _LONGEST:
            pools[kind].append(content)
            _keep(options.corpus, kind, content)
    faulthandler.cancel_dump_traceback_later()
    sizes = {kind: len(pool) for kind, pool in pools.items()}
    print(json.dumps({"opened": opened, "lines": len(reached.lines), "pools": sizes}), flush=True)


def _seeds(corpus: pathlib.Path, kind: str) -> Iterator[bytes]:
    for path in sorted((corpus / kind).iterdir()):
        yield path.read_bytes()
    for _, content in cases(kind):
        if len(content) < _KEPT:
            yield content


def _changed(kind: str, pool: list[bytes], chance: random.Random) -> bytes:
    content = chance.choice(pool)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = content[: 4 * _LONGEST]  # changes that make it forty times as long may follow one another
        if chance.random() < 0.75:
            content = _CHANGES[kind](content, chance)
            continue
        changed = bytearray(content or b"\0")
        if chance.random() < 0.1:
            other = chance.choice(pool)
            at = chance.randrange(len(changed))
            changed[at:] = other[min(at, len(other)) :] or b"\0"
        else:
            change_bytes(changed, chance)
        content = bytes(changed)
    return content[: 4 * _LONGEST]


def _fault(found: Measured) -> str:
    if found.outcome not in ("read", "refused"):
        return found.outcome
    if found.seconds > SECONDS:
        return "seconds"
    return "memory" if found.mebibytes > MEBIBYTES else ""


def _words(message: str) -> str:
    """A message without the parts that differ from file to file."""
    return re.sub(r"[^a-z ]+", "#", message.lower())[:80]


def _report(options: Options, kind: str, reader: str, fault: str, found: Measured, content: bytes) -> None:
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}"
    (options.findings / name).write_bytes(content)
    told = {"finding": fault, "kind": kind, "reader": reader, "file": name, **dataclasses.asdict(found)}
    print(json.dumps(told), flush=True)


def _keep(corpus: pathlib.Path, kind: str, content: bytes) -> None:
    """Keeps a small file for the tests to open again, if there is room."""
    taken = sum(path.stat().st_size for path in corpus.glob("*/*"))
    if len(content) > _KEPT or taken + len(content) > _CORPUS:
        return
    part = corpus / kind / f".{os.getpid()}"
    part.write_bytes(content)
    part.rename(corpus / kind / hashlib.sha256(content).hexdigest()[:16])
