"""Errors of finished runs, comparisons of runs, measures without true depth, identity under rotation."""
