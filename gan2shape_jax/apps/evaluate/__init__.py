"""Errors of finished runs with intervals, comparisons of runs, identity under rotation."""

from gan2shape_jax.apps.evaluate.intervals import Interval, mean_interval, median_interval, paired_interval

__all__ = ["Interval", "mean_interval", "median_interval", "paired_interval"]
