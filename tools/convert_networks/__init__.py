"""`gan2shape-jax convert networks`."""
