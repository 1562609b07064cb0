"""The files of a result by their addresses, results/TOKEN/FOLDER/NAME; nothing else on the disk has an address."""

import pathlib

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from gan2shape_jax.photo.preparation import FOLDER
from gan2shape_jax.serving import tasks
from gan2shape_jax.serving.visits import Visits

__all__ = ["FRAMING_PICTURE", "ROUTE", "answer", "files_of"]

ROUTE = "/results/{token}/{folder}/{name:path}"
FRAMING_PICTURE = "framing.jpg"
# The page is this program's own, yet holds a visitor's words and pictures: it runs as a page of no origin.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "sandbox allow-scripts allow-downloads",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def files_of(out: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    """Returns the files that a result's addresses lead to, by their names.

    Args:
      out: folder of the job.
      name: of the photo.
    """
    beside = {FRAMING_PICTURE: out / FOLDER / "framing" / f"{name}.jpg", tasks.ARCHIVE: out / tasks.ARCHIVE}
    return tasks.archive_files(out, name) | {place: file for place, file in beside.items() if file.is_file()}


def answer(visits: Visits, request: Request) -> Response:
    """Returns the file that an address names, or 404: one that is not kept, of another visitor, or none at all."""
    visit = visits.by_token(request.path_params["token"])
    wanted = request.path_params["name"]
    if visit is not None and visit.photo is not None and visit.result is not None:
        file = files_of(visit.result, visit.photo.name).get(wanted)
        if file is not None and visit.result.name == request.path_params["folder"]:
            shown = wanted.endswith((".html", ".png", ".jpg"))
            filename = f"{visit.photo.name}-{file.name}"
            kind = "inline" if shown and "download" not in request.query_params else "attachment"
            return FileResponse(file, headers=_HEADERS, filename=filename, content_disposition_type=kind)
    return PlainTextResponse("There is no such file here, or it is not kept any longer.", 404, headers=_HEADERS)
