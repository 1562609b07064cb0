"""The record of differences: what exceeds is refused, the largest is kept, the table says both."""

import numpy as np
import pytest
from helpers.parity_record import PYTORCH, Record


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
