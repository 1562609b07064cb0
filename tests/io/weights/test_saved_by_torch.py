"""Files that torch itself has written: what they hold comes back, unless they overstate it."""

import argparse
import io
import struct

import numpy as np
import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.checkpoints import read_checkpoint


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_writes_comes_back(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32)
    module = torch.nn.Conv2d(2, 3, 1)
    content = {
        **{
            str(t): torch.tensor([[1, 0], [3, 4]]).to(t)
            for t in (
                torch.float64,
                torch.float16,
                torch.int64,
                torch.int32,
                torch.int16,
                torch.int8,
                torch.uint8,
                torch.bool,
            )
        },
        "transposed": base.reshape(4, 6).T,
        "part": base[5:9],
        "expanded": base[:3, None].expand(3, 2),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": module.weight,
        "state": module.state_dict(),
        "list": [base, base[::2], 1.5, None, "x", (True,)],
        "args": argparse.Namespace(size=64),
        "size": base.reshape(2, 12).shape,
    }
    path = tmp_path / "x.pt"
    torch.save(content | {"half": torch.tensor([1.5, -2]).bfloat16()}, path, _use_new_zipfile_serialization=not legacy)
    read = read_checkpoint(path)
    np.testing.assert_array_equal(read.pop("half"), np.array([1.5, -2], np.float32))
    assert read.pop("args").fields == {"size": 64} and read.pop("size") == (2, 12)

    def compare(ours, theirs):
        if isinstance(theirs, dict):
            assert list(ours) == list(theirs)
            for key in theirs:
                compare(ours[key], theirs[key])
        elif isinstance(theirs, (list, tuple)):
            assert type(ours) is type(theirs) and len(ours) == len(theirs)
            for pair in zip(ours, theirs):
                compare(*pair)
        elif isinstance(theirs, torch.Tensor):
            values = theirs.detach().numpy()
            assert ours.dtype == values.dtype and ours.shape == values.shape
            np.testing.assert_array_equal(ours, values)
        else:
            assert ours == theirs

    del content["args"], content["size"]
    compare(read, content)


def test_a_legacy_file_that_overstates_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(torch.ones(4), buffer, _use_new_zipfile_serialization=False)
    content, length = buffer.getvalue(), struct.pack("<q", 4)
    at = content.rindex(length)
    for bad in (
        content[:-3],
        content[:at] + struct.pack("<q", 2**40) + content[at + 8 :],
        content.replace(b"K\x04N", b"J\x00\x00\x00\x7fN"),
    ):
        (tmp_path / "bad.pt").write_bytes(bad)
        with pytest.raises(UserError, match="bad.pt"):
            read_checkpoint(tmp_path / "bad.pt")
