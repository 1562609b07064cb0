"""`gan2shape-jax convert stylegan2`, started as `python -m tools.convert_stylegan2`."""

import sys

from gan2shape_jax.apps.convert.stylegan2.command import main

if __name__ == "__main__":
    sys.exit(main())
