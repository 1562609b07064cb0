"""What visitors read, as HTML; names and messages from elsewhere are escaped here."""

import html
import time

from gan2shape_jax.apps.serve import tasks
from gan2shape_jax.apps.serve.downloads import FRAMING_PICTURE
from gan2shape_jax.apps.serve.jobs import Seen
from gan2shape_jax.errors import message_line

__all__ = ["ended", "failure", "note", "result", "stages", "status"]

_STAGES = {
    tasks.MASK: "Crop and mask",
    tasks.SHAPE: "Shape and page",
    tasks.TEXTURES: "Textures and files",
}
_MASKS = {
    "alpha": "mask: the photo's own alpha channel",
    "found": "mask: found",
    "usual": "mask: the usual one",
    "file": "mask: given",
}
# Command-line options that messages name, in the page's terms.
_OPTIONS = {"give another --mask or --box": "choose another crop", "--which chooses another": "choose another above"}
_DOWNLOADS = {
    tasks.ARCHIVE: "Everything (ZIP, with OBJ)",
    "mesh.glb": "Mesh (GLB)",
    "textured/textured.glb": "Mesh with the photo's texture (GLB)",
    "depth.npy": "Depth (NPY)",
    "depth.png": "Depth (PNG)",
    "metrics.json": "Metrics (JSON)",
    "index.html": "Page (HTML)",
}


def note(text: str) -> str:
    """Returns a sentence for the status line."""
    return f'<p class="g2s-note" role="status">{html.escape(message_line(text))}</p>'


def failure(text: str, replaced: dict[str, str] | None = None) -> str:
    """Returns an error for the status line.

    Args:
      text: the message.
      replaced: texts that must not be shown, such as server paths, with their replacements.
    """
    for hidden, shown in ({} if replaced is None else replaced).items():
        text = text.replace(hidden, shown)
    for option, words in _OPTIONS.items():
        text = text.replace(option, words)
    return f'<p class="g2s-error" role="alert">{html.escape(message_line(text))}</p>'


def status(seen: Seen, doing: str, name: str) -> str:
    """Returns what a page shows while its job waits or runs.

    Args:
      seen: the job.
      doing: what it does.
      name: of the photo; only log lines that begin with it are shown, since others name files on the server.
    """
    if seen.state == "waiting":
        others = f"{seen.ahead} photo{'s are' if seen.ahead != 1 else ' is'} before yours"
        return note(f"Waiting: {others}." if seen.ahead else "Waiting for its turn.")
    seconds = int(time.monotonic() - seen.started) if seen.started is not None else 0
    said = seen.said.partition(f"{name}: ")[2].strip()
    return note(f"{doing} ({seconds} s){f': {said}' if said else '.'}")


def ended(seen: Seen, replaced: dict[str, str]) -> str:
    """Returns what a page shows for a job that ended without success."""
    if seen.state == "cancelled":
        return note("Cancelled.")
    return failure(seen.error, replaced)


def stages(seen: Seen, base: str) -> str:
    """Returns the list of a reconstruction's stages, with the pictures available so far.

    Args:
      seen: the job.
      base: address of its files.
    """
    rows, reached = [], True
    for stage, title in _STAGES.items():
        if stage in seen.stages:
            mark, state = "✓", "done"
        else:
            state = "now" if reached and seen.state == "running" else "later"
            mark, reached = {"now": "…", "later": "·"}[state], False
        facts = seen.stages.get(stage, {})
        about = _MASKS.get(facts.get("mask", ""), "")
        rows.append(
            f'<li class="g2s-{state}"><span>{mark}</span> {title}'
            f"{f' <small>{html.escape(about)}</small>' if about else ''}</li>"
        )
    picture = ""
    if tasks.MASK in seen.stages:
        picture = f'<img src="{base}/{FRAMING_PICTURE}" alt="The photo with crop and outline of the object">'
    return f'<div class="g2s-run"><ol class="g2s-stages">{"".join(rows)}</ol>{picture}</div>'


def result(base: str, verdict: str, kind: str, *, known: bool, complete: bool) -> tuple[str, str]:
    """Returns a result: its page in a frame, and the links to its files.

    Args:
      base: address of its files.
      verdict: how far the shape can be trusted; '' if that is not known.
      kind: of object, in one word.
      known: whether the crop looks like what the GAN draws.
      complete: whether textures and archive are available.
    """
    frame = (
        f'<iframe src="{base}/index.html" sandbox="allow-scripts allow-downloads" class="g2s-page" '
        'title="The shape, to turn and relight"></iframe>'
    )
    told = verdict or ("" if known else f"This does not look like a {kind} to this GAN: the shape is a guess.")
    links = "".join(
        f'<a href="{base}/{name}?download" download>{title}</a>'
        for name, title in _DOWNLOADS.items()
        if complete or name not in (tasks.ARCHIVE, "textured/textured.glb")
    )
    about = f'<p class="g2s-verdict">{html.escape(message_line(told))}</p>' if told else ""
    return frame, f'{about}<nav class="g2s-files" aria-label="Files">{links}</nav>'
