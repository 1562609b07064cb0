"""`gan2shape-jax sample`, started as `python -m tools.sample_gan`."""

import sys

from gan2shape_jax.apps.sample import main

if __name__ == "__main__":
    sys.exit(main())
