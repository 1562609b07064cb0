"""Shared fixtures: where the reference's tensors lie and how to read them."""

import gc
import math
import os
import pathlib
import shlex
import shutil

import jax
import jaxlib.version
import jaxtyping
import numpy as np
import pytest
from helpers.costs import Costs
from helpers.parity_record import Record

_GOLDEN = pathlib.Path(os.environ.get("GAN2SHAPE_GOLDEN", pathlib.Path(__file__).parent / "golden"))

_RECORD = pytest.StashKey[Record]()

# Compiled programs take most of the suite's time: each is compiled once, and quickly rather than well.
_PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# Without its emitters of fused operations, XLA compiles a training step in 40% of the time; in one piece instead of 32,
# which only threads would repay, in 85% of what is left.
_QUICKLY = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_use_fusion_emitters=false",
)


def _compile_quickly() -> None:
    """Has XLA compile in a fifth of the time, programs that run more slowly, for this process and those of tests.

    What tests compare are two results of one build, or a result with a tolerance. `--optimised` compiles as users do.
    """
    reference = (
        _QUICKLY if jaxlib.version.__version__.startswith("0.10.") else _QUICKLY[:2]
    )  # XLA ends at unknown flags
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = " ".join([flags, *(flag for flag in reference if flag.partition("=")[0] not in flags)])


def _keep_programs() -> None:
    """Keeps compiled programs in one folder for this process, pytest-xdist's workers, tests' processes and later runs.

    The folder is `.cache/programs` of the checkout unless JAX_COMPILATION_CACHE_DIR names one. Two processes may write
    the same program: JAX takes one that it cannot read for absent.
    """
    # Workers inherit it.
    os.environ.setdefault(_PROGRAMS, str(pathlib.Path(__file__).parents[1] / ".cache" / "programs"))
    os.environ.setdefault(_SECONDS, "0.2")
    # JAX was imported before: it has read its variables.
    jax.config.update(_PROGRAMS.lower(), os.environ[_PROGRAMS])
    jax.config.update(_SECONDS.lower(), float(os.environ[_SECONDS]))


def _check_signatures() -> None:
    """Has shapes and types in the package's signatures checked at each call, from its first import on.

    JAX takes NumPy's arrays wherever it takes its own, and tests hand both over.
    """
    from helpers import signatures  # noqa: F401  (the hook names it)

    jaxtyping.Array = jax.Array | np.ndarray
    jaxtyping.install_import_hook("gan2shape_jax", "helpers.signatures.check")


def pytest_addoption(parser):
    parser.addoption(
        "--parity-report",
        metavar="FILE.md",
        type=pathlib.Path,
        help="write what parity tests compared, with the largest differences, as a Markdown table",
    )
    parser.addoption("--signatures", action="store_true", help="check shapes and types at each call, as .ci/run does")
    parser.addoption("--costs", metavar="FILE", type=pathlib.Path, help="add what each test costs to FILE, a line each")
    parser.addoption(
        "--compiling",
        metavar="SECONDS",
        type=float,
        default=5.0,
        help="processor seconds that a quick test may trace and compile (5; half as much again with --signatures)",
    )
    parser.addoption("--optimised", action="store_true", help="compile as users do: slower to compile, faster to run")


def pytest_configure(config):
    if not config.getoption("--optimised"):
        _compile_quickly()
    if config.getoption("--signatures"):
        _check_signatures()
    _keep_programs()
    from helpers.in_process import InProcess  # which imports the package

    config.pluginmanager.register(InProcess(), "in_process")
    most = math.inf if config.getoption("--optimised") else config.getoption("--compiling")
    costs = Costs(most=most, checked=config.getoption("--signatures"), record=config.getoption("--costs"))
    config.pluginmanager.register(costs, "costs")
    # JAX's traces are millions of small objects that live on: looking for cycles among them took a tenth of the suite.
    gc.set_threshold(200_000, 50, 1000)
    config.stash[_RECORD] = Record()
    config.addinivalue_line("markers", "parity: compares with a reference and tells the difference (set by itself)")


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is no such hook
def pytest_xdist_make_scheduler(config, log):
    if config.getoption("dist") != "load":  # what `-n 2` alone means
        return None
    from helpers.file_scheduler import FileScheduling

    return FileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    for item in items:
        if "parity" in item.fixturenames:
            item.add_marker("parity")


def pytest_sessionfinish(session):
    gc.freeze()  # pytest collects five times at the end, for warnings
    if path := session.config.getoption("--parity-report"):
        command = shlex.join(["pytest", *session.config.invocation_params.args])
        path.write_text(session.config.stash[_RECORD].markdown(command))


@pytest.fixture
def parity(request):
    """Returns `Record.check`: asserts that a difference is within what is asked, and records it by component."""
    return request.config.stash[_RECORD].check


@pytest.fixture(scope="session", autouse=True)
def small_overviews():
    """Overviews of small tiles: those of 192 pixels, in which captions fit, took a second for each result."""
    from gan2shape_jax.results import outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "_SMALLEST_PICTURE", 64)
        yield


@pytest.fixture(scope="session")
def golden_path():
    """Returns a function from a golden file's name to its path; a missing file fails the test."""

    def path(name: str) -> pathlib.Path:
        actual = _GOLDEN / name
        if not actual.is_file():
            pytest.fail(f"golden file {actual} is missing (set GAN2SHAPE_GOLDEN to its folder)")
        return actual

    return path


@pytest.fixture(scope="session")
def golden(golden_path):
    """Returns a function from a golden archive's name to a dictionary of its arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(golden_path(name), allow_pickle=False) as archive:
            return dict(archive)

    return load


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The finished run of `helpers.tiny`, made once for all of pytest-xdist's workers; tests read it."""
    import filelock
    from helpers import tiny

    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "tiny_run"
    folder.mkdir(exist_ok=True)
    with filelock.FileLock(folder / "made.lock"):
        return tiny.tiny_run(folder)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A run that the checkout holds, as after the README's first command, is none of a test's business."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def saved_results(tmp_path):
    """A copy of `data/saved`, the finished results `001` and `005` of a tiny run at 32 pixels; returns its folder."""
    return pathlib.Path(shutil.copytree(pathlib.Path(__file__).parent / "data" / "saved", tmp_path / "results"))


@pytest.fixture
def donating(monkeypatch):
    """States are donated, as on a GPU: whoever keeps one that training has been given finds its arrays gone."""
    from gan2shape_jax.training import task

    compiled_with = task.compiled_with
    task.program.cache_clear()
    monkeypatch.setattr(task, "compiled_with", lambda function, platform: compiled_with(function, "gpu"))
    yield
    task.program.cache_clear()
