"""Tests of conversion read checkpoints in this process; that this happens in a child is tested with the wall."""

import pytest

from gan2shape_jax.io import checkpoints


@pytest.fixture(autouse=True)
def _no_child(monkeypatch):
    monkeypatch.setattr(checkpoints, "run_limited", lambda function, *args, **limits: function(*args))
