"""A server on the loopback address that keeps to the rules of HTTP, or breaks them as it is told."""

import contextlib
import dataclasses
import http.server
import threading
import time

__all__ = ["Behaviour", "Server", "serving"]


@dataclasses.dataclass
class Behaviour:
    """What is at an address, and how it is handed over.

    Attributes:
      content: the file.
      ranges: whether the rest of it can be asked for.
      etag: its version's mark; "" sends none.
      announced: its length as the server says; "true" says what it is, None says nothing.
      cuts: after how many bytes of the body each connection is closed, the first connection first; then never.
      stall: seconds of silence in the middle of the body.
      status: of the answer, where it is no file.
      headers: that are sent besides.
      shift: by how many bytes the rest that is sent is another than was asked for.
    """

    content: bytes = b""
    ranges: bool = True
    etag: str = '"one"'
    announced: int | str | None = "true"
    cuts: list[int] = dataclasses.field(default_factory=list)
    stall: float = 0.0
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    shift: int = 0


class Server:
    """The running server: its address, what is at each path, and what it was asked for."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: dict[str, Behaviour] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def add(self, path: str, content: bytes = b"", **options) -> str:
        """Puts a file at a path; returns its address."""
        self.files[path] = Behaviour(content, **options)
        return self.url + path

    def ranges(self) -> list[str]:
        """The ranges that were asked for, "" where all was."""
        return [headers.get("Range", "") for _, headers in self.asked]


def _handler(get_server):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server = get_server()
            server.asked.append((self.path, dict(self.headers)))
            file = server.files.get(self.path, Behaviour(status=404))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._send(file)

        def _send(self, file):
            first, status = 0, file.status
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") in (None, file.etag)
            if asked and file.ranges and same and status == 200:
                first = int(asked.removeprefix("bytes=").rstrip("-"))
                if first >= len(file.content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(file.content)}")
                    self.end_headers()
                    return
                status, first = 206, first + file.shift
            body = file.content[first:]
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{len(file.content) - 1}/{len(file.content)}")
            length = len(body) if file.announced == "true" else file.announced
            if length is not None:
                self.send_header("Content-Length", str(length))
            if file.etag:
                self.send_header("ETag", file.etag)
            for name, value in file.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if file.cuts:
                body = body[: file.cuts.pop(0)]
            half = len(body) // 2 if file.stall else 0
            self.wfile.write(body[:half])
            if file.stall:
                self.wfile.flush()
                time.sleep(file.stall)
            self.wfile.write(body[half:])

        def log_message(self, *_):
            pass

    return Handler


@contextlib.contextmanager
def serving():
    """Runs a server on the loopback address."""
    server = None
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(lambda: server))
    httpd.daemon_threads = True
    server = Server(httpd.server_address[1])
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
