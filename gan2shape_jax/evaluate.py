"""`python -m gan2shape_jax.evaluate`, the same as `gan2shape-jax evaluate`: see `evaluation.command`."""

import sys

from gan2shape_jax.evaluation.command import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
