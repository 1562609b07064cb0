"""Checkpoints that claim more than they hold, by the public command and by the converters behind it."""

import functools
import pickle

import numpy as np
import pytest
from helpers import hostile

from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from tools.convert_networks.record import tensors_of

torch = pytest.importorskip("torch")
from helpers import nvidia_files  # noqa: E402
from helpers.nvidia_files import networks as _networks  # noqa: E402

from tools.convert_stylegan2 import read_checkpoint  # noqa: E402

pytestmark = pytest.mark.hostile


@pytest.fixture
def saved(tmp_path):
    return functools.partial(nvidia_files.save, tmp_path / "network.pkl")


def _refused(path, **options):
    with pytest.raises(UserError) as error:
        read_checkpoint(path, **options)
    assert len(str(error.value)) < 5000
    return str(error.value)


_BY_COMMAND = {
    "torch_zip": ("device-500-2", "expanded-3000", "self-dict", "self-list", "million", "names-strange"),
    "torch_legacy": ("length-96-2500000000", "key-surrogate"),
    "nvidia": ("nested-30", "shared-tensors-999", "bisenet-in-a-list-of-itself"),
}


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in _BY_COMMAND.items() for name in names])
def test_the_command_refuses_hostile_files_in_words(tmp_path, kind, name, capsys):
    path = tmp_path / "hostile.pt"
    path.write_bytes(next(content for found, content in hostile.cases(kind) if found == name))
    assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "hostile.pt" in told and "Traceback" not in told and len(told) < 10_000
    assert [found.name for found in tmp_path.iterdir()] == ["hostile.pt"]


def test_a_number_of_classes_is_no_more_than_a_claim(saved):
    g, d = _networks({"c_dim": 4}, {"c_dim": 4})
    g.c_dim = d.c_dim = 10**10  # 75 GB, were a vector made of it
    assert "mapping.embed is none of 10000000000 classes" in _refused(saved(g, d), class_index=1)


def test_a_number_of_layers_is_no_more_than_a_claim(saved):
    g, d = _networks()
    g.mapping.num_layers = 10**9
    assert "32 mapping layers" in _refused(saved(g, d))


def test_a_low_pass_filter_is_small(saved):
    g, d = _networks()
    g.synthesis.b8.resample_filter = torch.ones(1, 1).expand(1000, 1000)
    assert "the low-pass filter of G_ema.synthesis.b8 has (1000, 1000) taps" in _refused(saved(g, d))


def test_a_setting_is_not_unfolded_for_a_message(saved):
    nested: list = [1]
    for _ in range(60):
        nested = [nested, nested]
    g, d = _networks()
    d.b8.conv0.up = nested
    assert "D.b8.conv0: up is a list, supported is 1" in _refused(saved(g, d))
    g, d = _networks()
    d.img_resolution = nested
    assert "img_resolution of D is no whole number: a list" in _refused(saved(g, d))


def test_modules_have_tensors_of_their_own(saved):
    g, d = _networks()
    g.synthesis.b8.conv0._parameters = g.synthesis.b8.conv1._parameters
    assert "has the tensors of another module" in _refused(saved(g, d))


def test_a_module_has_a_modest_number_of_parts(saved):
    g, d = _networks()
    for number in range(1001):
        g.mapping._buffers[f"b{number}"] = None
    assert "more than 1000 parts" in _refused(saved(g, d))


def test_names_are_unwrapped_without_comparing_each_with_all():
    """Tens of thousands of names, for each of which all of them were looked at."""
    names = [f"module.{number}" for number in range(100_000)]
    compared = []

    class Name(str):
        def startswith(self, *prefix):
            compared.append(self)
            return super().startswith(*prefix)

    state = {Name(name): np.zeros(1, np.float32) for name in names}
    found, _ = tensors_of(state, "x.pt")
    assert list(found)[:2] == ["0", "1"] and len(compared) <= len(names)


def test_a_pickle_of_plain_python_is_refused_by_the_command(tmp_path, capsys):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": 10**5000}))
    assert main(["convert", str(tmp_path / "x.pkl"), str(tmp_path / "o.safetensors")]) == 1
    assert "refused, for it holds an instruction" in capsys.readouterr().err
