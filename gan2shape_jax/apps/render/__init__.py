"""`gan2shape-jax render`, and what `edit` shares with it: angles and lights on a command line, the forms of --out."""
