"""`gan2shape-jax train-gan`."""
