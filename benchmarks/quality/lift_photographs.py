"""A lift that trains on photographs instead of samples, all else being equal: for `lift_study.py`.

    python benchmarks/quality/lift_photographs.py FACES FROM TO --config=ictface:lift --config.lift.samples=24 ...

FACES as in `lifted.py`; its faces from the first number up to but excluding the second are the samples of every
stage, with the masks and latents that FACES has. The encoder still starts with the GAN's own samples, and the held-out
ones for inspection are samples too. Arguments after the numbers go to the program.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence
from unittest import mock

import known_faces

from gan2shape_jax import main as program
from gan2shape_jax.lift.gan_samples import SampleMaker
from gan2shape_jax.run import lift, lift_samples


def main(arguments: Sequence[str]) -> int:
    """Runs the lift; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    options, given = parser.parse_known_args(arguments)
    made = functools.partial(_maker, options.data, range(options.first, options.last))
    with mock.patch.object(lift, "maker_of", made):
        return program.main(given)


@dataclasses.dataclass(frozen=True)
class _Photographs(SampleMaker):
    """Supplies the photographs, over and over, in place of training samples."""

    group: tuple = ()

    def problems(self, numbers):
        if max(numbers) < lift.FIRST:
            return super().problems(numbers)
        return [self.group[(number - lift.FIRST) % len(self.group)] for number in numbers]


def _maker(data, faces, config, architecture, frozen):
    maker = lift_samples.maker_of(config, architecture, frozen)
    given = known_faces.config_of(data)
    given.prior = config.prior
    group = known_faces.prepared(given, faces, architecture, frozen)
    fields = {field.name: getattr(maker, field.name) for field in dataclasses.fields(maker)}
    return _Photographs(**fields, group=tuple(dataclasses.replace(one, settings=maker.settings) for one in group))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
