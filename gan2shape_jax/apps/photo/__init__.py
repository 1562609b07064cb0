"""`gan2shape-jax photo`: any photo in 3D."""
