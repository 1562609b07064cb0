"""Intervals against scipy, against known coverage, and on the smallest lists."""

import math

import numpy as np
import pytest
from scipy import stats

from gan2shape_jax.apps.evaluate.reports import mean_interval, median_interval


def test_mean_interval_is_scipys():
    values = np.random.default_rng(0).normal(3.0, 2.0, 7)
    ours = mean_interval(values)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert (ours.estimate, ours.low, ours.high, ours.count) == pytest.approx((values.mean(), low, high, 7))


def test_median_interval_is_the_same_every_time_and_encloses_the_median():
    values = [0.3, 0.1, 0.9, 0.2, 0.4, 0.25]
    ours = median_interval(values)
    assert ours == median_interval(values)
    assert ours.low <= ours.estimate == np.median(values) <= ours.high
    theirs = stats.bootstrap((np.array(values),), np.median, method="percentile", n_resamples=9999, rng=5)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


def test_differences_that_scatter_less_than_their_items_exclude_zero():
    rng = np.random.default_rng(2)
    before = rng.normal(0.0, 10.0, 8)
    after = before + 0.5 + rng.normal(0.0, 0.1, 8)
    assert mean_interval(after - before).excludes_zero
    assert not mean_interval(rng.permutation(after) - before).excludes_zero


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_one_value_has_no_interval(interval):
    single = interval([2.5])
    assert (single.estimate, single.count) == (2.5, 1)
    assert math.isnan(single.low) and math.isnan(single.high) and not single.excludes_zero
