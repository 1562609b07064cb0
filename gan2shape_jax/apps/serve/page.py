"""The page that visitors see, in Gradio: its components and their event handlers."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr

from gan2shape_jax.apps.serve.handlers import Handlers

__all__ = ["CSS", "build", "theme"]

_TITLE = "From a photo to 3D"
_INTRODUCTION = """\
<h1>From a photo to 3D</h1>
<p>Drop a photo. The object in it is found; move the square where it is wrong, and press <b>Reconstruct</b>.
{about} {kept}</p>"""

CSS = """
.g2s-note, .g2s-error, .g2s-verdict { margin: 0; padding: .6em .8em; border-radius: 6px; font-size: 1rem; }
.g2s-note { background: var(--background-fill-secondary); }
.g2s-error { background: var(--error-background-fill, #fee2e2); color: var(--error-text-color, #991b1b); }
.g2s-verdict { background: var(--background-fill-secondary); font-weight: 600; margin-bottom: .6em; }
.g2s-stages { list-style: none; margin: 0 0 .6em; padding: 0; }
.g2s-stages li { margin: .2em 0; }
.g2s-stages span { display: inline-block; width: 1.4em; text-align: center; font-weight: 700; }
.g2s-done span { color: #047857; }
.dark .g2s-done span { color: #34d399; }
.g2s-later { opacity: .6; }
.g2s-run { display: flex; flex-wrap: wrap; gap: 1.5em; align-items: start; }
.g2s-run img { max-height: 200px; width: auto; border-radius: 6px; margin: 0; }
.g2s-page { width: 100%; height: 900px; max-height: 92vh; border: 0; border-radius: 6px; background: #fff; }
.g2s-files { display: flex; flex-wrap: wrap; gap: .5em; }
.g2s-files a { padding: .35em .7em; border: 1px solid var(--border-color-primary); border-radius: 6px; }
"""


@dataclasses.dataclass(frozen=True)
class Parts:
    """The page's components, by purpose."""

    photo: gr.File
    status: gr.HTML
    chooser: gr.Row
    drawing: gr.Image
    which: gr.Radio
    box: tuple[gr.Slider, gr.Slider, gr.Slider, gr.Slider]
    crop: gr.Image
    refine: gr.Checkbox
    go: gr.Button
    stop: gr.Button
    stages: gr.HTML
    frame: gr.HTML
    files: gr.HTML


def theme() -> gr.themes.Base:
    """Returns the page's theme; it uses the reader's own fonts, so that none is requested from elsewhere."""
    return gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def build(handlers: Handlers, *, about: str, keep_s: float) -> gr.Blocks:
    """Returns the page.

    Args:
      handlers: of the page's events.
      about: a sentence about the model, HTML.
      keep_s: seconds for which photos and results are kept.
    """
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, max(int(keep_s), 60))) as blocks:
        kept = f"Photos and results are removed {_minutes(keep_s)} after you last used them."
        gr.HTML(_INTRODUCTION.format(about=about, kept=kept))
        parts = _parts()
        _connect(blocks, parts, handlers)
    blocks.queue(api_open=False, default_concurrency_limit=None)
    return blocks


def _minutes(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _parts() -> Parts:
    photo = gr.File(label="Photo", type="filepath", height=120, elem_id="photo")
    with gr.Row(visible=False) as chooser:
        with gr.Column(scale=5):
            drawing = gr.Image(
                label="Photo with the crop; click to move it",
                interactive=False,
                height=430,
                buttons=[],
                elem_id="drawing",
            )
        with gr.Column(scale=4):
            which = gr.Radio([], label="Object", visible=False, elem_id="which")
            with gr.Row():
                x = gr.Slider(0, 1, label="x", step=1, elem_id="x", min_width=140, buttons=[])
                y = gr.Slider(0, 1, label="y", step=1, elem_id="y", min_width=140, buttons=[])
            with gr.Row():
                side = gr.Slider(16, 17, label="Side", step=1, elem_id="side", min_width=140, buttons=[])
                roll = gr.Slider(-180, 180, 0, label="Roll (°)", step=1, elem_id="roll", min_width=140, buttons=[])
            crop = gr.Image(label="What is cut out", interactive=False, height=220, buttons=[], elem_id="crop")
    refine = gr.Checkbox(
        label="Refine: a better shape, but minutes of computing instead of seconds", visible=False, elem_id="refine"
    )
    with gr.Row():
        go = gr.Button("Reconstruct", variant="primary", interactive=False, elem_id="go")
        stop = gr.Button("Cancel", interactive=False, elem_id="stop")
    status = gr.HTML(elem_id="status")
    stages = gr.HTML(elem_id="stages")
    files = gr.HTML(elem_id="files")
    frame = gr.HTML(elem_id="result")
    return Parts(
        photo, status, chooser, drawing, which, (x, y, side, roll), crop, refine, go, stop, stages, frame, files
    )


def _connect(blocks: gr.Blocks, parts: Parts, handlers: Handlers) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    results = [parts.stages, parts.files, parts.frame]
    buttons = [parts.go, parts.stop]
    choice = [parts.chooser, parts.refine, parts.which, *parts.box]
    pictures = [parts.drawing, parts.crop]
    parts.photo.upload(
        handlers.photo_sent,
        parts.photo,
        [parts.status, *buttons, *results, *choice, *pictures],
        concurrency_limit=None,
        **quiet,
    )
    parts.photo.clear(
        handlers.photo_removed, None, [parts.status, *buttons, *results, *choice, *pictures], queue=False, **quiet
    )
    parts.which.input(handlers.object_chosen, parts.which, [*parts.box, *pictures], queue=False, **quiet)
    parts.drawing.select(
        handlers.photo_clicked, [parts.which, *parts.box[2:]], [*parts.box[:2], *pictures], queue=False, **quiet
    )
    gr.on(  # only changes by the visitor: values set by this program come one by one, and with their pictures
        [slider.input for slider in parts.box],
        handlers.crop_changed,
        [parts.which, *parts.box],
        [*pictures, parts.status],
        queue=False,
        trigger_mode="always_last",
        **quiet,
    )
    parts.go.click(
        handlers.reconstruct,
        [*parts.box, parts.refine],
        [parts.status, *buttons, *results],
        concurrency_limit=None,
        **quiet,
    )
    parts.stop.click(handlers.cancel, None, None, queue=False, **quiet)
    blocks.unload(handlers.left)
