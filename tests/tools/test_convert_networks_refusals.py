"""Files that the converter of networks refuses: code, damage, other families."""

import os
import pickle
import subprocess
import sys
import zipfile

import jax
import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.training import network_files
from tools.convert_networks.__main__ import main

torch = pytest.importorskip("torch")
from helpers import foreign_files, torch_networks  # noqa: E402
from helpers.foreign_files import settings as _settings  # noqa: E402


@pytest.fixture(scope="module")
def shape_networks():
    return foreign_files.shape_networks()


def _call(function, *args):
    return type("Call", (), {"__reduce__": lambda self: (function, args)})()


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_that_run_code_are_refused_by_what_they_name(tmp_path, shape_networks, legacy, capsys):
    mark, path = tmp_path / "mark", tmp_path / "bad.pth"
    content = {name: net.state_dict() for name, net in shape_networks.items()}
    for bad, name in (
        (_call(os.system, f"touch {mark}"), "posix.system"),
        (_call(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (_call(subprocess.Popen, ["touch", str(mark)]), ".Popen"),
    ):
        torch.save(content | {"metrics_trace": bad}, path, _use_new_zipfile_serialization=not legacy)
        assert main([str(path), str(tmp_path / "out.safetensors")]) == 1
        printed = capsys.readouterr().err
        assert name in printed and "bad.pth" in printed
        assert not mark.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["bad.pth"]


def test_truncated_and_foreign_files_are_refused(tmp_path, capsys):
    path, out = tmp_path / "x.pth", str(tmp_path / "out.safetensors")
    net = torch_networks.BiSeNet(19, 1)
    torch.save(net.state_dict(), path)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:-30], b"", b"text"):
        path.write_bytes(part)
        assert main([str(path), out]) == 1
        assert "x.pth" in capsys.readouterr().err
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/other", b"x")
    assert main([str(path), out]) == 1
    assert main([str(tmp_path / "absent.pth"), out]) == 1
    (tmp_path / "y.safetensors").write_bytes(b"")
    assert main([str(tmp_path / "y.safetensors"), out]) == 1
    assert "safetensors file already" in capsys.readouterr().err
    torch.save({"weight": torch.zeros(2)}, path)
    assert main([str(path), out]) == 1
    assert "unknown kind of checkpoint (its tensors are weight" in capsys.readouterr().err
    torch.save(net.state_dict(), path)
    assert main([str(path), str(tmp_path / "out.txt")]) == 1
    assert main([str(path), str(tmp_path / "no" / "out.safetensors"), "--no-sheet"]) == 1
    assert main([str(path), out, "--picture", str(tmp_path / "absent.png")]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth", "y.safetensors"]


def test_checkpoints_of_stylegan2_are_recognised_and_the_tool_named(golden_path, tmp_path, capsys):
    out = str(tmp_path / "out.safetensors")
    assert main([str(golden_path("stylegan2.pt")), out]) == 1
    assert "rosinality" in (printed := capsys.readouterr().err) and "gan2shape-jax convert" in printed
    # NVIDIA's pickles ask for a function of theirs.
    nvidia = tmp_path / "ffhq.pkl"
    nvidia.write_bytes(
        b"\x80\x04" + pickle.dumps("G_ema", 2)[2:-1] + b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}R."
    )
    assert main([str(nvidia), out]) == 1
    assert "NVIDIA" in (printed := capsys.readouterr().err) and "gan2shape-jax convert" in printed
    # And where networks are wanted, another family's checkpoint is told apart too.
    settings = _settings()
    like = jax.eval_shape(lambda key: models.init_params(key, settings), jax.random.key(0))
    with pytest.raises(UserError, match="netEnc.*rosinality.*gan2shape-jax convert"):
        network_files.load_networks(golden_path("stylegan2.pt"), like, settings)


def test_the_command_runs_by_itself(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"cposix\nsystem\n(X\x02\x00\x00\x00lstR.")
    done = subprocess.run(
        [sys.executable, "-m", "tools.convert_networks", str(tmp_path / "bad.pth"), str(tmp_path / "x.safetensors")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr and "posix.system" in done.stderr
