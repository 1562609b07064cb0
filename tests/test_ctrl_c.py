"""Ctrl-C at the ends of a process's life."""

import os
import signal
import subprocess
import sys

import pytest

# Another process presses Ctrl-C every few milliseconds until this one has gone.
_PROGRAM = """
import os, time
from gan2shape_jax import ctrl_c
ctrl_c.watch()
{finished}
pressed = os.getpid()
if os.fork() == 0:
    os.closerange(0, 3)  # whoever started this process waits for the end of what it prints
    for _ in range(1000):
        time.sleep(0.005)
        try:
            os.kill(pressed, {signal})
        except ProcessLookupError:
            os._exit(0)
time.sleep(0.2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("finished", "codes"), [("ctrl_c.finished()", {0}), ("", {-signal.SIGINT, 130})])
def test_a_finished_process_ends_with_0_whatever_is_pressed(finished, codes):
    program = _PROGRAM.format(finished=finished, signal=int(signal.SIGINT))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in codes, ended.stderr
