"""The DevTools pipe of a headless Chromium: starts the browser, sends it commands, keeps what it reports.

No port is opened: the browser reads commands from one pipe and answers on another.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from typing import Any

__all__ = ["PATIENCE", "Browser", "PageError"]

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # containers cannot provide one
    "--remote-debugging-pipe",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
)
# Puts the ends of the pipes where Chromium looks for them, 3 and 4, and replaces itself by it.
_BECOME = (
    "import fcntl, os, sys; high = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]; "
    "os.dup2(high[0], 3); os.dup2(high[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
)
PATIENCE = 60  # seconds


class PageError(Exception):
    """A script on the page, or a command to the browser, has failed."""


class Browser:
    """A browser's process and the commands to its one tab."""

    def __init__(self, path: str, profile: str, *, options: tuple[str, ...] = ()):
        """Starts the browser.

        Args:
          path: the browser's executable.
          profile: an empty folder for its profile.
          options: further command-line options.
        """
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        ends = (to_browser, from_browser)
        command = [path, *_OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *map(str, ends), *command],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": profile},
        )
        for end in ends:
            os.close(end)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        pages = [one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the answer to a command of the DevTools protocol; events that arrive meanwhile go to `events`."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._message(until)
            if answer is None:
                raise PageError(f"{method}: no answer within {PATIENCE} s")
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _message(self, until: float) -> dict[str, Any] | None:
        """Returns the next message; None if none arrives in time."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            if not ready:
                return None
            content = os.read(self._read, 1 << 20)
            if not content:
                raise PageError("the browser has ended")
            self._buffer += content
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def close(self) -> None:
        """Closes the browser."""
        with contextlib.suppress(PageError, OSError):
            self._session = None
            self.send("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
