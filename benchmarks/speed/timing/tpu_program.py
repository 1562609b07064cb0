"""What the text of a program compiled for a TPU says about its operations."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

__all__ = ["counts", "cycles", "kernels", "too_large"]

_PACKAGE = "gan2shape_jax/"


def cycles(text: str) -> tuple[collections.Counter[str], collections.Counter[str]]:
    """Returns the cycles that the compiler estimates, by operation and by the module that it comes from.

    A module is a file of the package, the innermost one on the stack when the operation was traced; operations without
    a recorded stack count as "other".
    """
    modules = _modules(text)
    by_operation: collections.Counter[str] = collections.Counter()
    by_module: collections.Counter[str] = collections.Counter()
    for line in text.splitlines():
        found = re.search(r'"estimated_cycles":"?(\d+)', line)
        if not found or "async-done" in line:
            continue
        name, frame = re.search(r'op_name="([^"]*)"', line), re.search(r"stack_frame_id=(\d+)", line)
        by_operation[name[1] if name else line.split("=")[0].strip()] += int(found[1])
        by_module[modules.get(int(frame[1]), "other") if frame else "other"] += int(found[1])
    return by_operation, by_module


def counts(text: str, kinds: Sequence[str]) -> dict[str, int]:
    """Returns how many operations of the given kinds a program has, omitting kinds that it lacks."""
    numbers = {kind: len(re.findall(rf"[)\]}}] {kind}(?:-start)?\(", text)) for kind in kinds}
    return {kind: number for kind, number in numbers.items() if number}


def kernels(text: str) -> dict[str, int]:
    """Returns how often a program calls each Pallas kernel."""
    calls = re.findall(r"%([\w-]+?)(?:\.\d+)* = .*custom_call_target=\"tpu_custom_call\"", text)
    return dict(collections.Counter(calls))


def too_large(message: str, images: int) -> str | None:
    """Returns the message for a program that needs more memory than a chip has, or None for any other error.

    Args:
      message: the compiler's error message.
      images: the number of images at once on the chip.

    Returns:
      By how much it is too large, if that is known, and which setting to lower to what.
    """
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    found = re.search(r"\(([\d.]+)G\) exceeds available HBM \(([\d.]+)G\)", message)
    share = float(found[2]) / float(found[1]) if found else 0.5
    beside = f": {found[1]} GiB of {found[2]}" if found else ""
    if images > 1:
        fewer = max(1, int(images * share))
        return f"does not fit{beside}; take --images {fewer} (config.runtime.images_at_once in a run)"
    return f"does not fit{beside}; take a config.sampling.batch_size {share:.0%} as large, or --precision bfloat16"


def _modules(text: str) -> dict[int, str]:
    """Returns the innermost module of the package of each stack frame."""
    tables: dict[str, dict[int, str]] = {}
    for title in ("FileNames", "FileLocations", "StackFrames"):
        found = re.search(rf"^{title}\n((?:\d+ .*\n)+)", text, re.MULTILINE)
        rows = found[1].splitlines() if found else []
        tables[title] = {int(row.split(" ", 1)[0]): row.split(" ", 1)[1] for row in rows}
    modules: dict[int, str] = {}
    for frame, row in tables["StackFrames"].items():  # parents come first
        location, parent = (int(number) for number in re.findall(r"=(\d+)", row)[:2])
        file_number = re.search(r"file_name_id=(\d+)", tables["FileLocations"][location])
        path = tables["FileNames"][int(file_number[1])].strip('"') if file_number else ""
        # A parent's number is stored plus one, 1 if there is none.
        modules[frame] = path.rpartition(_PACKAGE)[2] if _PACKAGE in path else modules.get(parent - 1, "other")
    return modules
