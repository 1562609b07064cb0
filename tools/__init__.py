"""Commands of the package, as a checkout also starts them: `python -m tools.convert ...`."""
