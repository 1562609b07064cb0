"""`gan2shape-jax train-gan`, started as `python -m tools.train_stylegan2`."""

import sys

from gan2shape_jax.apps.train_gan.command import main

if __name__ == "__main__":
    sys.exit(main())
