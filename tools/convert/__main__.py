"""`gan2shape-jax convert`, started as `python -m tools.convert`."""

import sys

from gan2shape_jax.apps.convert.command import main

if __name__ == "__main__":
    sys.exit(main())
