"""The record of differences: what exceeds is refused, the largest is kept, the table says both."""

import numpy as np
import pytest
from helpers.parity_record import PYTORCH, Record, largest, per_value, share_off


def test_differences_beyond_what_is_asked_and_nan_fail_by_name():
    record = Record()
    record.check("depth network", 1e-4, 1e-4)
    for difference in (1.1e-4, np.nan, np.inf):
        with pytest.raises(AssertionError, match="depth network: .*asked are 1e-04"):
            record.check("depth network", difference, 1e-4)
    record.check("depth network", 0, 1e-4)
    assert "**nan, too large**" in record.markdown("pytest")


def test_the_table_has_the_largest_difference_of_each_component():
    record = Record()
    for difference in (2e-6, 7e-6, 3e-6):
        record.check("grid", difference, 1e-5, "renderer.npz")
    record.check("cropping", 0, 0)
    with pytest.raises(AssertionError):
        record.check("mask", 0.5, 1e-3)
    text = record.markdown("pytest -k grid")
    assert "| grid | `renderer.npz` | relative L2 | 1.0e-05 | 7.0e-06 |" in text
    assert f"| cropping | {PYTORCH} | relative L2 | 0 | 0 |" in text
    assert "**5.0e-01, too large** |" in text and "    pytest -k grid\n" in text


def test_a_component_has_one_bound():
    record = Record()
    record.check("grid", 0, 1e-5)
    with pytest.raises(AssertionError, match="in two ways"):
        record.check("grid", 0, 1e-4)


def test_measures():
    values, reference = np.array([1.0, -2.0, 0.0]), np.array([1.5, -2.0, 0.0])
    assert largest(values, reference) == 0.5
    assert per_value(values, reference) == pytest.approx(1 / 3)
    assert per_value([1e-9], [0]) > 1e200
    assert share_off(np.array([True, False, False, False])) == 0.75
    with pytest.raises(AssertionError):
        largest(values, reference[:, None])
