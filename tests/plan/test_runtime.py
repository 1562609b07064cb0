"""What surrounds a run's computation: compiled programs on disk, Ctrl-C."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import pytest
from helpers.command_line import overrides
from helpers.tiny import tiny_config

from gan2shape_jax.errors import Terminated
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.plan import runtime
from gan2shape_jax.run import interrupt

_ROOT = pathlib.Path(__file__).resolve().parents[2]


_COUNTED = """
import collections, json, sys
import jax
from gan2shape_jax.main import main
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[2]]))
assert main(sys.argv[1:]) == 0
print("record" + json.dumps(counts))
"""


def _start(workdir: pathlib.Path, cache: pathlib.Path) -> dict[str, int]:
    """What JAX counts while a tiny run goes through every step, in a process of its own with that user cache folder."""
    workdir.mkdir()
    config = tiny_config(workdir, prior__iterations=1, schedule__stages=((1, 1, 1),), sampling__collect_iters=1)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
    own = {"PYTHONPATH": str(_ROOT), "XDG_CACHE_HOME": str(cache), "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-c", _COUNTED, "--config=ictface", *overrides(config)]
    done = subprocess.run(command, env=kept | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("record"))
    return json.loads(line.removeprefix("record"))


@pytest.mark.slow  # it must not use the programs of other tests
def test_a_second_start_compiles_nothing_and_gives_the_same_bits(tmp_path):
    cache = tmp_path / "cache"
    cold = _start(tmp_path / "cold", cache)
    assert cold["cache_misses"] > 50 and len(list(cache.glob("gan2shape_jax/xla-*/*-cache"))) > 50
    warm = _start(tmp_path / "warm", cache)
    assert warm.get("cache_misses", 0) == 0 and warm["cache_hits"] > 50
    first, second = (tmp_path / name / "run" / "results" / "001" for name in ("cold", "warm"))
    files = ("depth.npy", "albedo.npy", "view.npy", "light.npy", "networks.safetensors")
    assert [file for file in files if (first / file).read_bytes() != (second / file).read_bytes()] == []


def test_programs_are_kept_where_the_configuration_or_the_environment_says(tmp_path, monkeypatch):
    names = ("jax_compilation_cache_dir", *runtime._CACHING)
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for option in runtime._CACHING:
        monkeypatch.delenv(option.upper(), raising=False)
    (tmp_path / "file").write_text("")
    try:
        for setting, folder in (("off", None), ("", cache(f"xla-{runtime._machine()}")), (str(tmp_path / "mine"),) * 2):
            jax.config.update("jax_compilation_cache_dir", None)
            runtime.keep_programs(setting)
            assert jax.config.jax_compilation_cache_dir == (folder and str(folder))
            assert folder is None or pathlib.Path(folder).stat().st_mode & 0o777 == 0o700
        runtime.keep_programs("elsewhere")
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")  # as the environment says, for one
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
        jax.config.update("jax_compilation_cache_dir", None)
        warning = r"compiled programs are not cached.*file/inside cannot be a folder.* \(config\.runtime"
        with pytest.warns(UserWarning, match=warning):
            runtime.keep_programs(str(tmp_path / "file" / "inside"))
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_a_signal_is_noted_between_iterations():
    with interrupt.noted() as check:
        check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated):
            check()
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.noted(terminate=False) as check:  # hosts that compute together: JAX's own handler stays
        assert signal.getsignal(signal.SIGTERM) is before
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as pressed:
            check()
    assert pressed.type is KeyboardInterrupt


# An iteration in which Python does not come to its handlers, as while XLA compiles.
_COMPILING = """
import signal, sys, time
from gan2shape_jax.run import interrupt
interrupt._PATIENCE_S = 0.5
interrupt.watch()
with interrupt.noted() as check:
    signal.raise_signal(signal.SIGINT)
    if {reached}:
        try:
            check()
        except KeyboardInterrupt:
            time.sleep(1.5)  # all is saved
            sys.exit(7)
    time.sleep(20)
"""


@pytest.mark.parametrize(("reached", "code"), [(False, 130), (True, 7)])
def test_one_press_ends_an_iteration_that_does_not_end_by_itself(reached, code):
    program = [sys.executable, "-c", _COMPILING.format(reached=reached)]
    begun = time.monotonic()
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code and (interrupt.MESSAGE in ended.stderr) == (not reached), ended.stderr
    assert time.monotonic() - begun < 19


# Another process presses Ctrl-C every few milliseconds until this one has gone.
_PRESSED = """
import os, time
from gan2shape_jax.run import interrupt
interrupt.watch()
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
@pytest.mark.parametrize(
    ("number", "finished", "codes"),
    [
        (signal.SIGINT, "interrupt.finished()", {0}),
        (signal.SIGINT, "", {-signal.SIGINT, 130}),
        (signal.SIGTERM, "interrupt.finished()", {0}),
        (signal.SIGTERM, "", {-signal.SIGTERM, 143}),
    ],
)
def test_a_finished_process_ends_with_0_whatever_is_pressed(number, finished, codes):
    program = _PRESSED.format(finished=finished, signal=int(number))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in codes, ended.stderr
