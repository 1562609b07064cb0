"""Shared fixtures: where the reference's tensors lie and how to read them."""

import os
import pathlib

import jax
import jaxtyping
import numpy as np
import pytest

# Shapes and types in the package's signatures are checked in every test. JAX takes NumPy's arrays wherever it takes its
# own, and tests hand both over.
jaxtyping.Array = jax.Array | np.ndarray
jaxtyping.install_import_hook("gan2shape_jax", "signatures.check")

_GOLDEN = pathlib.Path(
    os.environ.get("GAN2SHAPE_GOLDEN", pathlib.Path(__file__).parent / "golden"))


@pytest.fixture(scope="session")
def golden_path():
    """Returns a function from a golden file's name to its path; a missing file fails the test."""

    def path(name: str) -> pathlib.Path:
        found = _GOLDEN / name
        if not found.is_file():
            pytest.fail(f"golden file {found} is missing (set GAN2SHAPE_GOLDEN to its folder)")
        return found

    return path


@pytest.fixture(scope="session")
def golden(golden_path):
    """Returns a function from a golden archive's name to a dictionary of its arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(golden_path(name), allow_pickle=False) as archive:
            return dict(archive)

    return load


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Programs compiled in one test serve the others and the processes that tests start."""
    import jax

    folder = str(tmp_path_factory.mktemp("xla"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs are memory maps, of which a process may have 65,530: too many of them end it."""
    yield
    import jax

    jax.clear_caches()
