"""The page that visitors see, in Gradio: its components, their events, and the queue in front of the worker."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gan2shape_jax.apps.serve.handlers import Handlers
from gan2shape_jax.apps.serve.visits import Limits

__all__ = ["CSS", "build", "theme"]

_TITLE = "From a photo to 3D"
_INTRODUCTION = """\
<h1>From a photo to 3D</h1>
<p>Drop a photo. The object in it is found; move the square where it is wrong, and press <b>Reconstruct</b>.
{about} Photos and results are removed {minutes} after you last used them.</p>"""
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


def theme() -> gr.themes.Base:
    """Returns the page's theme; it uses the reader's own fonts, so that none is requested from elsewhere."""
    return gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def build(handlers: Handlers, limits: Limits, *, about: str) -> gr.Blocks:
    """Returns the page.

    Args:
      handlers: of the page's events.
      limits: for how long photos and results are kept, and how many may wait.
      about: a sentence about the model, HTML.
    """
    minutes = max(round(limits.keep_s / 60), 1)
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, max(int(limits.keep_s), 60))) as blocks:
        gr.HTML(_INTRODUCTION.format(about=about, minutes=f"{minutes} minute{'s' if minutes > 1 else ''}"))
        _fill(handlers)
    blocks.queue(api_open=False, max_size=limits.waiting, default_concurrency_limit=None)
    return blocks


def _fill(handlers: Handlers) -> None:
    photo = gr.File(label="Photo", type="filepath", height=120, elem_id="photo")
    with gr.Row(visible=False) as chooser:
        with gr.Column(scale=5):
            label = "Photo with the crop; click to move it"
            drawing = gr.Image(label=label, interactive=False, height=430, buttons=[], elem_id="drawing")
        with gr.Column(scale=4):
            which = gr.Radio([], label="Object", visible=False, elem_id="which")
            with gr.Row():
                x, y = _slider("x", 0, 1), _slider("y", 0, 1)
            with gr.Row():
                side, roll = _slider("side", 16, 17, "Side"), _slider("roll", -180, 180, "Roll (°)")
            crop = gr.Image(label="What is cut out", interactive=False, height=220, buttons=[], elem_id="crop")
    label = "Refine: a better shape, but minutes of computing instead of seconds"
    refine = gr.Checkbox(label=label, visible=False, elem_id="refine")
    with gr.Row():
        go = gr.Button("Reconstruct", variant="primary", interactive=False, elem_id="go")
        stop = gr.Button("Cancel", interactive=False, elem_id="stop")
    status, stages, files, frame = (gr.HTML(elem_id=name) for name in ("status", "stages", "files", "result"))

    box, pictures, state = [x, y, side, roll], [drawing, crop], [status, go, stop]
    results, choice = [stages, files, frame], [chooser, refine, which, *box]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once = quiet | {"queue": False}
    # One job at a time; until its turn, Gradio shows its place in the queue on the status line.
    queued = {
        "show_progress": "minimal",
        "show_progress_on": status,
        "api_visibility": "private",
        "concurrency_limit": 1,
        "concurrency_id": "worker",
    }
    everything = [*state, *results, *choice, *pictures]
    framing = photo.upload(handlers.waits, None, state, **at_once).then(
        handlers.photo_framed, photo, everything, **queued
    )
    running = go.click(handlers.waits, None, state, **at_once).then(
        handlers.reconstructed, [*box, refine], [*state, *results], **queued
    )
    jobs = [framing, running]
    for job in jobs:
        job.failure(handlers.refused, None, state, **at_once)
    stop.click(handlers.cancelled, None, state, cancels=jobs, **at_once)
    photo.clear(handlers.photo_removed, None, everything, cancels=jobs, **at_once)
    which.input(handlers.object_chosen, which, [*box, *pictures], **at_once)
    drawing.select(handlers.photo_clicked, [which, side, roll], [x, y, *pictures], **at_once)
    gr.on(  # only changes by the visitor: values set by this program come one by one, and with their pictures
        [slider.input for slider in box],
        handlers.crop_changed,
        [which, *box],
        [*pictures, status],
        trigger_mode="always_last",
        **at_once,
    )


def _slider(name: str, low: float, high: float, label: str = "") -> gr.Slider:
    value = 0 if low < 0 else None
    return gr.Slider(low, high, value, label=label or name, step=1, elem_id=name, min_width=140, buttons=[])
