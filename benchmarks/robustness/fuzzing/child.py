"""The process that reads what the fuzzer makes; it may be killed at any time.

A line of JSON with a reader's name and a path comes in, and one goes out: the outcome, and how many lines of the
readers' code were run for the first time.
"""

import json
import pathlib
import sys
import tempfile
import types

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers import reading_program  # noqa: E402

_TRACED = ("/gan2shape_jax/", "/PIL/", "/yaml/", "/json/", "/zipfile")
_QUICK = 0.05  # seconds: what takes longer is not traced, as tracing would take ten times as long

_seen: set[tuple[types.CodeType, int]] = set()


def _trace(frame: types.FrameType, event: str, argument: object):
    if not any(part in frame.f_code.co_filename for part in _TRACED):
        return None
    return _trace_lines


def _trace_lines(frame: types.FrameType, event: str, argument: object):
    _seen.add((frame.f_code, frame.f_lineno))
    return _trace_lines


def _new_lines(read, path: str) -> int:
    before = len(_seen)
    sys.settrace(_trace)
    try:
        reading_program.read_one(read, path, 0.0)
    finally:
        sys.settrace(None)
    return len(_seen) - before


def main() -> None:
    known = reading_program.readers()
    with tempfile.TemporaryDirectory() as folder:
        reading_program.warm_up(known, pathlib.Path(folder))
    reading_program.warm_up_settings()
    print("ready", flush=True)
    for line in sys.stdin:
        reader, path = json.loads(line)
        answer = reading_program.read_one(known[reader], path, reading_program.memory("VmRSS"))
        answer["new"] = _new_lines(known[reader], path) if answer["seconds"] < _QUICK else 0
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
