"""`gan2shape-jax sample`."""
