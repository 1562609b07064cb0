"""Two hours of visitors in ten minutes, the honest among those who are not; what stays of them is nothing.

Time runs twelve times as fast: what `serve` keeps for 30 minutes is kept here for 150 seconds, and the worker computes
nothing. `SOAK_SECONDS` makes it shorter: `SOAK_SECONDS=90 pytest -m heavy tests/apps/serve/test_soak.py`.
"""

import contextlib
import itertools
import os
import random
import sys
import threading
import time
import traceback

import pytest

pytest.importorskip("gradio", reason="the extra `web` is not installed")

from helpers.served import Visitor, picture, served

from gan2shape_jax.apps.serve.visits import Limits

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="other systems have 127.0.0.1 alone, and no /proc"),
]
_SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
_LIMITS = Limits(file_bytes=2_000_000, keep_s=_SECONDS / 4)
_BETWEEN = 2.5  # seconds between honest visitors: one in half a minute
_WARM = 0.2  # share of the time after which memory may not grow
_GROWTH = 100e6  # bytes
_LATE = 15.0  # seconds after its time at which a file may still be there: it is looked for every few seconds


def _breaks_off(visitor):
    visitor.begins_upload(1_000_000, random.randrange(900_000)).close()


def _drips(visitor):
    with contextlib.closing(visitor.begins_upload(1_000_000, 1)) as line:
        for _ in range(12):
            time.sleep(1)
            line.sendall(b"x")


def _names_itself_at_length(visitor):
    visitor.session = "x" * 60_000
    assert visitor.join(0, [])[0] == 403


def _comes_under_many_names(visitor):
    for _ in range(20):
        visitor.session = f"{random.random():.50f}"
        visitor.post("run/predict", data=[], fn_index=visitor.number("cancelled"), session_hash=visitor.session)


def _comes_from_elsewhere(visitor):
    assert visitor.upload(("a.png", picture()), origin="http://evil.example")[0] == 403


def _names_files_badly(visitor):
    for name in ("..", "../../x", "\0", "a" * 3000):
        visitor.upload((name, picture()))
    visitor.upload(*[("a.png", b"")] * 500)


def _sends_tiny_files(visitor):
    for _ in range(30):
        visitor.upload(("a.png", b"x"))


def _fills_the_line(visitor):
    status, content = visitor.upload(("slow.png", picture()))
    if status == 200:
        number = visitor.number("photo_framed")
        photo = {"path": content.decode()[2:-2], "meta": {"_type": "gradio.FileData"}}
        for _ in range(20):
            visitor.session = f"{random.random()}"
            visitor.join(number, [[photo], "people"])


def _asks_for_what_is_not_there(visitor):
    for place in ("/results/a/b/index.html", "/gradio_api/file=/etc/passwd", "/gradio_api/queue/data?session_hash=no"):
        visitor.ask("HEAD", place)


def _changes_its_mind(visitor):
    """Cancels a job while it runs or waits, or leaves: what an honest visitor may do, too."""
    status, content = visitor.upload(("slow.png", picture()))
    if status == 200:
        number = visitor.number("photo_framed")
        photo = {"path": content.decode()[2:-2], "meta": {"_type": "gradio.FileData"}}
        _, job = visitor.join(number, [[photo], "people"])
        with visitor.listening() as lines:
            lines.readline()
            if random.random() < 0.5:
                assert visitor.cancel(number, job) == 200
        time.sleep(15)  # the worker is started anew


_EVIL = [_breaks_off, _drips, _names_itself_at_length, _comes_under_many_names, _comes_from_elsewhere]
_EVIL += [_names_files_badly, _sends_tiny_files, _fills_the_line, _asks_for_what_is_not_there, _changes_its_mind]


def test_honest_visitors_are_served_and_nothing_stays(tmp_path):
    with served(tmp_path, _LIMITS) as server:
        end, faults, sizes, overdue, served_ = time.monotonic() + _SECONDS, [], [], [], itertools.count()

        def come(kind, number):
            """Visitors of one kind, one after the other."""
            while time.monotonic() < end:
                try:
                    if kind is None:
                        address = f"127.1.{random.randrange(256)}.{random.randrange(1, 255)}"
                        if fault := Visitor(server, address).visit():
                            faults.append(fault)
                        next(served_)
                        time.sleep(random.uniform(0, 4 * _BETWEEN))
                    else:
                        kind(Visitor(server, f"127.2.0.{number % 2 + 1}"))  # all of them from two addresses
                        time.sleep(random.uniform(0, 4))
                except (ConnectionError, TimeoutError) as error:
                    if kind is None:
                        faults.append(repr(error))
                except Exception:
                    faults.append(traceback.format_exc())

        kinds = [None] * 2 + _EVIL
        threads = [
            threading.Thread(target=come, args=visitor) for visitor in zip(kinds, itertools.count(), strict=False)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            time.sleep(2)
            sizes.append(server.memory())
            overdue += _overdue(server)
        for thread in threads:
            thread.join()
        time.sleep(_LIMITS.keep_s + _LATE)
        left = server.files()
        last = server.memory()
    count, warm = next(served_), max(sizes[: max(int(len(sizes) * _WARM), 1)])
    print(
        f"{count} served; memory {warm / 1e6:.0f}, then at most {max(sizes) / 1e6:.0f}, {last / 1e6:.0f} MB at the end"
    )
    assert faults[:3] == []
    assert count >= _SECONDS / 20
    assert max(sizes) < warm + _GROWTH
    assert overdue == [] and left == []


def _overdue(server):
    """Returns the files that are there after their time; a visit's last use is at least that of its latest file."""
    ages, now = {}, time.time()
    for path in server.files():
        with contextlib.suppress(OSError):
            age = now - path.stat().st_mtime
            ages.setdefault(path.relative_to(server.folder).parts[:2], []).append(age)
    return [(owner, min(age)) for owner, age in ages.items() if min(age) > _LIMITS.keep_s + _LATE]
