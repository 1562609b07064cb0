"""A folder served on loopback, as any static host would, for tests in a browser."""

import functools
import http.server
import pathlib
import threading


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def served_folder(folder: pathlib.Path) -> tuple[http.server.ThreadingHTTPServer, str]:
    """Serves a folder until the server's `shutdown`; returns the server and its address, which ends with a slash."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"
