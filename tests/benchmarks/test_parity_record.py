"""The record of differences: what exceeds is refused, the largest is kept, the table says both."""

import numpy as np
import pytest
from helpers.parity_record import PYTORCH, Record, largest, per_value, share_off


def test_differences_beyond_what_is_asked_and_nan_fail_by_name_and_the_table_has_the_largest():
    record = Record()
    for difference in (2e-6, 7e-6, 3e-6):
        record.check("grid", difference, 1e-5, "renderer.npz")
    record.check("cropping", 0, 0)
    for component, *differences in (("mask", 0.5), ("network", 2e-3, np.nan, np.inf)):
        for difference in differences:
            with pytest.raises(AssertionError, match=f"{component}: .*asked are 1e-03"):
                record.check(component, difference, 1e-3)
    with pytest.raises(AssertionError, match="in two ways"):
        record.check("grid", 0, 1e-4)
    text = record.markdown("pytest -k grid")
    assert "| grid | `renderer.npz` | relative L2 | 1.0e-05 | 7.0e-06 |" in text
    assert f"| cropping | {PYTORCH} | relative L2 | 0 | 0 |" in text
    assert "**5.0e-01, too large** |" in text and "**nan, too large**" in text and "    pytest -k grid\n" in text


def test_measures():
    values, reference = np.array([1.0, -2.0, 0.0]), np.array([1.5, -2.0, 0.0])
    assert largest(values, reference) == 0.5
    assert per_value(values, reference) == pytest.approx(1 / 3)
    assert per_value([1e-9], [0]) > 1e200
    assert share_off(np.array([True, False, False, False])) == 0.75
    with pytest.raises(AssertionError):
        largest(values, reference[:, None])
