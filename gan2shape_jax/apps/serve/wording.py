"""What visitors read, as HTML; names and messages from elsewhere are escaped here."""

import html
from typing import Any

from gan2shape_jax.apps.serve import tasks
from gan2shape_jax.errors import message_line

__all__ = ["FRAMING_PICTURE", "failure", "note", "result", "stages", "status"]

FRAMING_PICTURE = "framing.jpg"
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
    for hidden, shown in ((replaced or {}) | _OPTIONS).items():
        text = text.replace(hidden, shown)
    return f'<p class="g2s-error" role="alert">{html.escape(message_line(text))}</p>'


def status(doing: str, seconds: float, line: str, name: str) -> str:
    """Returns what a page shows while its job runs.

    Args:
      doing: what it does.
      seconds: since it started.
      line: the latest of its log; shown only if it begins with the photo's name, since others name the server's files.
      name: of the photo.
    """
    about = line.partition(f"{name}: ")[2].strip()
    return note(f"{doing} ({seconds:.0f} s){f': {about}' if about else '.'}")


def stages(done: dict[str, Any], base: str, *, running: bool) -> str:
    """Returns the list of a reconstruction's stages, with the pictures available so far.

    Args:
      done: facts about the completed stages, by name.
      base: address of its files.
      running: whether it still runs.
    """
    rows, reached = [], running
    for stage, title in _STAGES.items():
        state = "done" if stage in done else "now" if reached else "later"
        reached = reached and stage in done
        about = html.escape(_MASKS.get(done.get(stage, {}).get("mask", ""), ""))
        mark = {"done": "✓", "now": "…", "later": "·"}[state]
        rows.append(
            f'<li class="g2s-{state}"><span>{mark}</span> {title}{f" <small>{about}</small>" if about else ""}</li>'
        )
    picture = ""
    if tasks.MASK in done:
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
    sentence = verdict or ("" if known else f"This does not look like a {kind} to this GAN: the shape is a guess.")
    links = "".join(
        f'<a href="{base}/{name}?download" download>{title}</a>'
        for name, title in _DOWNLOADS.items()
        if complete or name not in (tasks.ARCHIVE, "textured/textured.glb")
    )
    about = f'<p class="g2s-verdict">{html.escape(message_line(sentence))}</p>' if sentence else ""
    return frame, f'{about}<nav class="g2s-files" aria-label="Files">{links}</nav>'
