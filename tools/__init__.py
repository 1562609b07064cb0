"""Command-line tools; an installed wheel has them as `gan2shape_jax.tools`."""
