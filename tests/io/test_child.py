"""The wall: data come back as they went in, and what takes too much or crashes is a sentence."""

import os
import sys
import time

import numpy as np
import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.child import Record, run_limited
from gan2shape_jax.io.files import MIB


def give_back(value):
    return value


def eat():
    taken = []
    while True:
        taken.append(np.empty(100 * MIB, np.uint8))


def hang():
    time.sleep(3600)


def work():
    while True:
        pass


def abort():
    print("a library's message")
    os.abort()


def refuse():
    raise UserError("the file F is none")


def fail():
    return 1 / 0


def write_much():
    return np.zeros(200 * MIB, np.uint8)


def no_data():
    return object()


def test_data_come_back_as_they_went_in():
    arrays = [
        np.arange(6).reshape(2, 3)[:, ::2],
        np.asarray(3, np.float32),
        np.zeros((0, 3), bool),
        np.ones(4, "<f2"),
    ]
    value = {
        "a": [1, None, True, "é\n", 2.5, float("inf")],
        3: (b"\x00\xff", {1, "x"}),
        "r": Record("X", {"y": arrays}),
    }
    found = run_limited(give_back, value, source="F")
    back = found["r"].fields.pop("y")
    value["r"].fields.pop("y")
    assert found == value
    for array, expected in zip(back, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype and array.shape == expected.shape


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as a whole on Linux")
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (eat, "F takes more than 100 MiB of memory"),
        (hang, "F takes more than 1 s"),
        (work, "F "),
        (abort, "F cannot be read within"),
        (refuse, "the file F is none"),
        (fail, "F cannot be read: ZeroDivisionError"),
        (write_much, "F "),
        (no_data, "F cannot be read: TypeError"),
    ],
)
def test_what_does_harm_is_a_sentence(function, words, monkeypatch):
    monkeypatch.setattr("gan2shape_jax.io.child._SPARE_SECONDS", 1)
    with pytest.raises(UserError) as caught:
        run_limited(function, memory=100 * MIB, seconds=1, source="F")
    assert str(caught.value).startswith(words)
