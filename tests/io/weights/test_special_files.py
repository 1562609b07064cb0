"""Pipes, devices, sockets and folders are refused at once by whatever opens weights."""

import contextlib
import os
import pathlib
import signal
import socket
import tempfile
from collections.abc import Iterator

import pytest
from helpers.hostile.targets import targets

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.budget import LIMIT
from gan2shape_jax.main import main

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(not hasattr(os, "mkfifo") or not hasattr(signal, "SIGALRM"), reason="no named pipes here"),
]


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError("it waits for the file")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="module")
def special() -> Iterator[dict[str, pathlib.Path]]:
    """Paths by the words that each is refused with; a socket's path has to be short."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        paths = {name: pathlib.Path(folder) / name for name in ("pipe.pt", "socket.pt", "folder.pt")}
        os.mkfifo(paths["pipe.pt"])
        listening.bind(str(paths["socket.pt"]))
        paths["folder.pt"].mkdir()
        yield {
            "a named pipe": paths["pipe.pt"],
            "a folder": paths["folder.pt"],
            "a device": pathlib.Path("/dev/zero"),
            "a socket": paths["socket.pt"],
        }


_KINDS = ("a named pipe", "a folder", "a device", "a socket")
_READERS = [("safetensors", reader) for reader in ("gan", "header", "parser", "lpips", "networks")]


@pytest.mark.parametrize("words", _KINDS)
@pytest.mark.parametrize("kind, reader", [*_READERS, ("torch_zip", "convert"), ("onnx", "embedding")])
def test_special_files_are_refused_at_once(special, words, kind, reader):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    # A socket cannot be opened at all.
    with _within(20), pytest.raises(UserError, match=rf"{words}, not a file|{special[words]}.*No such device"):
        targets(kind)[reader](special[words])


@pytest.mark.parametrize("words", _KINDS)
@pytest.mark.parametrize("command", [[], ["stylegan2"], ["networks"]], ids=["convert", "stylegan2", "networks"])
def test_the_command_refuses_them_too(special, words, command, tmp_path, capsys):
    with _within(20):
        assert main(["convert", *command, str(special[words]), str(tmp_path / "out.safetensors")]) == 1
    told = capsys.readouterr().err
    assert f"{words}, not a file" in told or words == "a socket" and "No such device" in told
    assert not list(tmp_path.iterdir())


def test_a_file_beyond_any_weights_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "vast.pt"
    path.touch()
    os.truncate(path, LIMIT + 1)  # takes no room on the disk
    with pytest.raises(UserError, match="at most 4096 MiB are read"):
        targets("torch_zip")["convert"](path)
    with pytest.raises(UserError, match="at most 4096 MiB are read"):
        targets("safetensors")["gan"](path)
