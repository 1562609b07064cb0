"""One account of memory and work for each file: honest files stay within it, whatever their numbers are stored as."""

import numpy as np
import pytest
from helpers.hostile.forms import FORMS, view
from helpers.hostile.opcodes import get, named, put

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.regular_files import MIB
from gan2shape_jax.io.weights import budget
from gan2shape_jax.io.weights.budget import Budget, Refused
from gan2shape_jax.io.weights.nvidia_pickle import read_checkpoint

_BYTES = {"Float": 4, "Double": 8, "Half": 2, "BFloat16": 2, "Byte": 1, "Bool": 1, "Long": 8}
_SIZE = (300, 200)


def test_what_is_taken_adds_up():
    account = Budget(2 * MIB)
    account.take(80 * MIB)
    with pytest.raises(Refused, match="more than 80 MiB of tensors and values, which a file of 2 MiB cannot need"):
        account.take(1)


def test_steps_add_up():
    account = Budget(1)
    account.step(budget.STEPS)
    with pytest.raises(Refused, match="600,000 instructions"):
        account.step()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", _BYTES)
@pytest.mark.parametrize("stride", [(200, 1), (1, 300)], ids=["plain", "transposed"])
def test_tensors_of_every_kind_need_no_more_than_the_multiple(tmp_path, monkeypatch, form, kind, stride):
    monkeypatch.setattr(budget, "_ALLOWANCE", 0)  # which would hide that in a file as small as this
    holder = form()
    storage = holder.storage(bytes(_BYTES[kind] * 60_000), kind)
    (tmp_path / "x.pt").write_bytes(holder.file(named({"a": view(storage, _SIZE, stride)})))
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "x.pt")["a"], np.zeros(_SIZE))


@pytest.mark.parametrize("form", FORMS)
def test_tensors_of_two_names_need_no_more_than_the_multiple(tmp_path, monkeypatch, form):
    monkeypatch.setattr(budget, "_ALLOWANCE", 0)
    holder = form()
    body = holder.tensor(_SIZE) + put(0) + b"0" + named({"a": get(0), "b": get(0)})
    (tmp_path / "x.pt").write_bytes(holder.file(body))
    content = read_checkpoint(tmp_path / "x.pt")
    assert content["a"] is content["b"]


@pytest.mark.parametrize("form", FORMS)
def test_the_account_is_the_files_and_not_a_tensors(tmp_path, form):
    """Each of these tensors is small enough, and all of them together are not."""
    for count, message in ((3, ""), (30, "more than 64 MiB of tensors and values")):
        holder = form()
        body = named({str(n): holder.tensor((2**20,), (0,)) for n in range(count)})
        (tmp_path / "x.pt").write_bytes(holder.file(body))
        if not message:
            assert len(read_checkpoint(tmp_path / "x.pt")) == count
            continue
        with pytest.raises(UserError, match=message):
            read_checkpoint(tmp_path / "x.pt")
