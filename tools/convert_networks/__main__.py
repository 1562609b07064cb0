"""`gan2shape-jax convert networks`, started as `python -m tools.convert_networks`."""

import sys

from gan2shape_jax.apps.convert.networks.command import main

if __name__ == "__main__":
    sys.exit(main())
