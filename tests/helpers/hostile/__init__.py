"""Weight files made to do harm: small ones that would take a large memory or a long time, or end in a traceback.

`cases(kind)` yields the files of a kind by their names. None of them is a file that any reader takes.
"""

from collections.abc import Iterator

from helpers.hostile import archives, checkpoints, forms, graphs, headers, networks, pickles, records

__all__ = ["KINDS", "cases"]

KINDS = ("torch_zip", "torch_legacy", "nvidia", "tensorflow", "safetensors", "onnx")


def cases(kind: str) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of hostile files of a kind."""
    if kind == "safetensors":
        yield from headers.cases()
    elif kind == "onnx":
        yield from graphs.cases()
    elif kind == "tensorflow":
        yield from networks.cases()
    else:
        form = {form.name: form for form in forms.FORMS}[kind]
        yield from pickles.cases(form)
        yield from checkpoints.cases(form)
        more = {"torch_zip": archives.zip_cases, "torch_legacy": archives.legacy_cases, "nvidia": records.cases}
        yield from more[kind]()
