"""A headless Chromium, driven over its DevTools pipe: opens and clicks pages, takes screenshots, records requests.

Needs a Chromium or Chrome on this machine (`find`), and no Python package. No port is opened: the browser reads
commands from one pipe and answers on another.
"""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

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
_PATIENCE = 180  # seconds, after which a browser on busy cores is taken to hang
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_LEFT = ("Inspected target navigated", "Cannot find context", "Execution context was destroyed")  # a page, as told
_RESTED, _BETWEEN = 5, 0.1  # unchanged readings of a position, and seconds between them, after which it is stable


def find() -> str | None:
    """Returns the path of a Chromium or Chrome, from $CHROMIUM or the search path; None if there is none.

    None on Windows, too, where pipes cannot be passed to a process by number.
    """
    if os.name == "nt":
        return None
    if browser := os.environ.get("CHROMIUM"):
        return browser if os.access(browser, os.X_OK) else None
    return next((path for path in map(shutil.which, (*_NAMES, _MAC)) if path), None)


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
        self.asked: list[str] = []  # what pages have asked in dialogs, each answered at once
        self.agrees = True  # how
        pages = [target for target in self.send("Target.getTargets")["targetInfos"] if target["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the answer to a command of the DevTools protocol; events that arrive meanwhile go to `events`."""
        number = self._write_command(method, params)
        until = time.monotonic() + _PATIENCE
        while True:
            answer = self._message(until)
            if answer is None:
                raise PageError(f"{method}: no answer within {_PATIENCE} s")
            if answer.get("id") == number:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if answer.get("method") == "Page.javascriptDialogOpening":
                self.asked.append(answer["params"]["message"] or answer["params"]["type"])
                self._write_command("Page.handleJavaScriptDialog", {"accept": self.agrees})
            self.events.append(answer)

    def _write_command(self, method: str, params: dict[str, Any]) -> int:
        """Sends a command and returns its number, by which its answer is known."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        return self._count

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


class Chromium(Browser):
    """One tab of a browser; see `opened`."""

    def screen(
        self, width: int, height: int, *, scale: float = 1, touch: bool = False, dark: bool = False, still: bool = False
    ) -> None:
        """Sets the size of the window (CSS pixels); `still` asks pages for reduced motion."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        self.send("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])

    def open(self, address: str | pathlib.Path) -> None:
        """Opens a file or a URL and waits until it has loaded."""
        if isinstance(address, pathlib.Path):
            address = address.resolve().as_uri()
        self.events.clear()
        answer = self.send("Page.navigate", url=address)
        if "errorText" in answer:
            raise PageError(f"{address}: {answer['errorText']}")
        self.wait("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Returns the value of JavaScript, a promise's once it resolves; raises `PageError` if it throws."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            told = answer["exceptionDetails"]
            raise PageError(told.get("exception", {}).get("description") or told["text"])
        return answer["result"].get("value")

    def wait(self, condition: str, *, seconds: float = _PATIENCE) -> None:
        """Waits until a JavaScript expression is true, also across a change of pages."""

        def is_true() -> bool:
            try:
                return self.evaluate(f"Boolean({condition})")
            except PageError as error:
                if not any(told in str(error) for told in _LEFT):
                    raise
                return False  # its page was left while it was evaluated

        until = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > until:
                raise PageError(f"not within {seconds} s: {condition}")
            time.sleep(0.03)

    def frames(self, count: int = 3) -> None:
        """Waits until the page has been drawn `count` times."""
        script = "new Promise(d => { let n = %d; const f = () => n-- ? requestAnimationFrame(f) : d(); f(); })"
        self.evaluate(script % count)

    def drag(self, start: tuple[float, float], end: tuple[float, float], *, steps: int = 8) -> None:
        """Presses the mouse button at one point of the window, moves to another and releases it."""
        self._mouse("mousePressed", start)
        for k in range(1, steps + 1):
            self._mouse("mouseMoved", tuple(a + (b - a) * k / steps for a, b in zip(start, end)))
        self._mouse("mouseReleased", end)

    def click(self, selector: str) -> None:
        """Scrolls to an element and clicks its centre."""
        box = self.box(selector)
        place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self._mouse("mousePressed", place)
        self._mouse("mouseReleased", place)

    def press(self, selector: str) -> None:
        """Clicks an element that may only just appear, once the page has stopped growing, which would move it."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.wait("[...document.images].every(image => image.complete)")
        until, rested, before = time.monotonic() + _PATIENCE, 0, None
        while rested < _RESTED:
            time.sleep(_BETWEEN)
            now = self.box(selector)
            rested = rested + 1 if now == before else 0
            before = now
            if time.monotonic() > until:
                raise PageError(f"not at rest within {_PATIENCE} s: {selector}")
        self.click(selector)

    def choose(self, selector: str, *paths: str | pathlib.Path) -> None:
        """Chooses files in a file input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[*map(str, paths)])

    def touch(self, start: tuple[float, float], end: tuple[float, float], *, steps: int = 8) -> None:
        """Drags a finger across the window."""
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        for k in range(1, steps + 1):
            x, y = (a + (b - a) * k / steps for a, b in zip(start, end))
            self.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, key: str, *, shift: bool = False) -> None:
        """Presses a key, named as in JavaScript."""
        fields: dict[str, Any] = {"key": key, "modifiers": 8 if shift else 0}
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        if key in codes:
            fields["windowsVirtualKeyCode"] = codes[key]
        if len(key) == 1:
            fields["text"] = key
        self.send("Input.dispatchKeyEvent", type="keyDown", **fields)
        self.send("Input.dispatchKeyEvent", type="keyUp", **fields)

    def box(self, selector: str) -> dict[str, float]:
        """Scrolls to an element; returns its `x`, `y`, `width`, `height` in the window."""
        script = (
            "(() => { const e = document.querySelector(%s); e.scrollIntoView({block: 'center', behavior: 'instant'}); "
            "const b = e.getBoundingClientRect(); return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
        )
        return self.evaluate(script % json.dumps(selector))

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Returns a PNG of the window, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(shot["data"])

    def requests(self) -> list[str]:
        """Returns the URLs that the page has requested since it was opened."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Returns the errors that the browser and the page have reported since it was opened."""
        told = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                told.append(str(params["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                told.append(params["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
                told.append(
                    " ".join(str(argument.get("value", argument.get("description"))) for argument in params["args"])
                )
        return told

    def _mouse(self, kind: str, place: tuple[float, ...]) -> None:
        pressed = 0 if kind == "mouseReleased" else 1
        self.send(
            "Input.dispatchMouseEvent",
            type=kind,
            x=place[0],
            y=place[1],
            button="left",
            buttons=pressed,
            clickCount=0 if kind == "mouseMoved" else 1,
        )


@contextlib.contextmanager
def opened(*options: str) -> Iterator[Chromium]:
    """Yields a browser with an empty profile; raises `PageError` if this machine has none."""
    path = find()
    if path is None:
        raise PageError("there is no Chromium or Chrome on this machine: apt-get install chromium, or set CHROMIUM")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Chromium(path, profile, options=options)
        try:
            yield browser
        finally:
            browser.close()
