"""Command-line tools beside the main program; an installed wheel has them as `gan2shape_jax.tools`."""
