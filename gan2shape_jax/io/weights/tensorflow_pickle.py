"""Reads a pickled network of NVIDIA's TensorFlow code (stylegan2, stylegan2-ada: `dnnlib.tflib.network`) as data.

Its state is a version, the settings it was created with, the source code and name of the function that builds it, its
own variables, and its component networks. The source code, which NVIDIA's program would run, is dropped.
"""

from typing import Any

import numpy as np

from gan2shape_jax.io.weights.budget import Budget, Refused
from gan2shape_jax.io.weights.dictionary_keys import check_key
from gan2shape_jax.io.weights.numpy_pickle import NumpyArray
from gan2shape_jax.io.weights.torch_unpickler import Record

__all__ = ["TensorFlowNetwork"]

_KEPT = ("version", "name", "static_kwargs", "components", "build_func_name")
_FLOAT32 = 4  # bytes; every variable becomes float32
_VARIABLE_STEPS = 10  # a variable takes as long as this many instructions


class TensorFlowNetwork(Record):
    """A network as data: `version`, `name`, `static_kwargs`, `components` and `build_func_name` in `fields`.

    Attributes:
      variables: its own variables by name, in the file's order; None for anything that is not an array of numbers.
    """

    class_name = "dnnlib.tflib.network.Network"
    variables: dict[str, np.ndarray | None]

    def __new__(cls) -> Any:
        """Creates a network without variables."""
        network = super().__new__(cls)
        network.variables = {}
        return network

    def set_state(self, state: Any, budget: Budget) -> None:
        """Takes the state from a pickle, once.

        A variable is charged once per name, since each may be converted; the list of variables is copied, so that
        later changes to it by the pickle have no effect.

        Raises:
          Refused: it is not a network's state, the network already has one, or the budget is spent.
        """
        if not isinstance(state, dict) or self.fields:
            raise Refused("the state of a network that is none")
        self.fields = {name: state[name] for name in _KEPT if name in state}
        entries = state.get("variables", [])
        if not isinstance(entries, (list, tuple)):
            raise Refused("a network whose variables are no list")
        budget.step(_VARIABLE_STEPS * len(entries))
        for entry in entries:
            if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[0], str):
                raise Refused("a network whose variables are no pairs of a name and an array")
            check_key(entry[0])
            if entry[0] in self.variables:
                raise Refused("a network with two variables of one name")
            value = _array_of(entry[1])
            if value is not None:
                budget.take(value.size * max(value.itemsize, _FLOAT32))
            self.variables[entry[0]] = value


def _array_of(value: Any) -> np.ndarray | None:
    if isinstance(value, NumpyArray):
        return value.values
    # Scalars without axes are stored as numbers.
    return np.asarray(value) if type(value) in (int, float, bool) and abs(value) < 2**53 else None
