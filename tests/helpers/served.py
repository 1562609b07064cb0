"""A server as `gan2shape-jax serve` starts it, with a worker that computes nothing; and its visitors.

Visitors come from addresses of their own, 127.A.B.C, all of which are this machine's on Linux.
"""

import contextlib
import dataclasses
import http.client
import io
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import urllib.parse
from typing import IO

from PIL import Image

from gan2shape_jax.apps.serve.visits import Limits


@dataclasses.dataclass
class Served:
    """A server that runs."""

    port: int
    process: subprocess.Popen
    root: pathlib.Path  # of its files

    @property
    def folder(self) -> pathlib.Path:
        (lock,) = self.root.glob("*.lock")
        return lock.with_suffix("")

    def files(self) -> list[pathlib.Path]:
        walk = os.walk(self.folder)  # which folders may leave meanwhile
        return [pathlib.Path(place, name) for place, _, names in walk for name in names]

    def memory(self) -> int:
        """Resident bytes of the server, without its worker."""
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def served(cache: pathlib.Path, limits: Limits, *, log: IO[str] | None = None, **constants: float):
    """Yields a server; `constants` are those of guard, by name, that shall be others."""
    code = f"from helpers import served; served.main({dataclasses.asdict(limits)!r}, {constants!r})"
    places = [str(pathlib.Path(__file__).parents[number]) for number in (1, 2)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process:
        try:
            port = urllib.parse.urlsplit(process.stdout.readline().split()[0]).port
            yield Served(port, process, cache / "gan2shape_jax" / "serving")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def main(limits: dict, constants: dict) -> None:
    """Serves until the process is ended."""
    from gan2shape_jax.apps.serve import command, guard
    from helpers import fake_worker

    for name, value in constants.items():
        setattr(guard, name, value)
    command.performer = fake_worker.quick
    kinds = {"people": "face", "cat": "cat's face"}
    command.serve([*kinds], kinds, command.listening("127.0.0.1", 0), Limits(**limits), browser=False)


def picture(side: int = 32) -> bytes:
    """A PNG unlike all others."""
    stream = io.BytesIO()
    Image.frombytes("RGB", (side, side), secrets.token_bytes(3 * side * side)).save(stream, "PNG")
    return stream.getvalue()


class Visitor:
    """Somebody at an address who does what the page does."""

    def __init__(self, server: Served, address: str = "127.0.0.1"):
        self._server, self._address, self.session = server, address, secrets.token_hex(6)

    def ask(self, method: str, place: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Returns status and content of an answer."""
        with contextlib.closing(self._connected()) as connection:
            connection.request(method, place, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, place: str, **fields) -> tuple[int, bytes]:
        return self.ask("POST", f"/gradio_api/{place}", json.dumps(fields).encode(), content_type="application/json")

    def upload(self, *files: tuple[str, bytes], **headers: str) -> tuple[int, bytes]:
        kind, body = _form(files)
        return self.ask("POST", "/gradio_api/upload", body, content_type=kind, **headers)

    def connect(self) -> socket.socket:
        """Opens a connection, and asks for nothing."""
        return socket.create_connection(("127.0.0.1", self._server.port), 60, (self._address, 0))

    def begins_upload(self, size: int, sent: int) -> socket.socket:
        """Announces an upload, and sends only so much of it; returns the connection."""
        kind, body = _form([("photo.png", bytes(size))])
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        line = self.connect()
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:sent])
        return line

    def number(self, handler: str) -> int:
        """Returns by which number the page calls one of its handlers."""
        dependencies = json.loads(self.ask("GET", "/config")[1])["dependencies"]
        (number,) = (first["id"] for first in dependencies if first["api_name"] == handler)
        return number

    def join(self, number: int, data: list) -> tuple[int, str]:
        """Puts a job of a handler into the queue; returns the status, and the job's name."""
        status, content = self.post("queue/join", data=data, fn_index=number, session_hash=self.session)
        return status, json.loads(content)["event_id"] if status == 200 else content.decode()

    def cancel(self, number: int, job: str) -> int:
        return self.post("cancel", session_hash=self.session, fn_index=number, event_id=job)[0]

    @contextlib.contextmanager
    def listening(self):
        """Yields the lines of what the server tells about this page's jobs; closing them is what leaving is."""
        connection = self._connected()
        try:
            connection.request("GET", f"/gradio_api/queue/data?session_hash={self.session}")
            yield connection.getresponse()
        finally:
            connection.close()

    def told(self) -> str:
        """Returns all that the server tells until this page's jobs are over."""
        with self.listening() as lines:
            return lines.read().decode()

    def visit(self) -> str:
        """Does all that an honest visitor does; returns what went wrong, or ''."""
        status, content = self.upload(("me.png", picture()))
        if status != 200:
            return f"upload: {status} {content!r}"
        photo = {"path": json.loads(content)[0], "meta": {"_type": "gradio.FileData"}}
        for handler, data in (("photo_framed", [[photo], "people"]), ("reconstructed", [32, 24, 30, 0, False, False])):
            status, why = self.join(self.number(handler), data)
            if status != 200:
                return f"{handler}: {status} {why}"
            told = self.told()
            if "g2s-error" in told or "process_completed" not in told:
                return f"{handler}: {told[-3000:]}"
        page = told.partition('<iframe src=\\"')[2].partition('\\"')[0]
        status, content = self.ask("GET", f"/{page}")
        return "" if content == b"<p>a result</p>" else f"result {page}: {status} {content!r}"

    def _connected(self) -> http.client.HTTPConnection:
        place = ("127.0.0.1", self._server.port)
        return http.client.HTTPConnection(*place, timeout=60, source_address=(self._address, 0))


def _form(files) -> tuple[str, bytes]:
    line, body = secrets.token_hex(8), b""
    for name, content in files:
        head = f'--{line}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={line}", body + f"--{line}--\r\n".encode()
