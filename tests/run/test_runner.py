"""Going through a run's images: its short way, failures, writing in the background, the networks that are kept."""

import threading

import jax
import numpy as np
import pytest
from helpers.command_line import overrides
from helpers.plain_result import plain_result
from helpers.tiny import tiny_config, tiny_image

from gan2shape_jax import main as program
from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.results import save_result
from gan2shape_jax.run import explain, prepare, runner, trust
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.training import groups, loop, network_files


@pytest.fixture
def schedules(monkeypatch):
    """Stands in for the training: notes its calls, and gives up on the image."""
    calls = []

    def run_schedule(*given):
        calls.append(given)
        raise UserError("not trained")

    monkeypatch.setattr(loop, "run_schedule", run_schedule)
    return calls


def test_a_broken_first_image_does_not_end_a_run_that_measures_its_memory(tmp_path, schedules, monkeypatch, capsys):
    """As on GPU and TPU, where the number of images at once depends on the memory that one of them takes."""
    config = tiny_config(tmp_path, names=("001.png", "005.png", "006.png"))
    asked = []

    def load(config, name, *rest, original=prepare.load_image):
        if name == "001.png":
            raise UserError("001.png is damaged")
        return original(config, name, *rest)

    def choose_size(_, images, devices, bytes_of_one):
        asked.append(bytes_of_one())
        return 1

    monkeypatch.setattr(prepare, "load_image", load)
    monkeypatch.setattr(groups, "bytes_of_one", lambda prepared, _: int(prepared.name))
    monkeypatch.setattr(groups, "choose_size", choose_size)
    assert program.main(["--config=ictface", *overrides(config)]) == 1
    assert asked == [5] and len(schedules) == 2
    said = capsys.readouterr().err
    assert said.count("001: 001.png is damaged") == 1 and "005: not trained" in said and "Traceback" not in said


def test_an_image_is_computed_while_the_one_before_is_written(tmp_path):
    folder, said = RunFolder(tmp_path), []
    second_is_under_way = threading.Event()

    def make(name):
        if name == "b.png":
            second_is_under_way.set()

        def write():
            assert second_is_under_way.wait(30)
            if name == "b.png":
                raise OSError("b cannot be written")
            if name == "c.png":
                raise UserError("c is unusable")
            stem = name.removesuffix(".png")
            save_result(plain_result(stem), folder.result(stem))

        return write

    names = ["a.png", "b.png", "c.png", "d.png"]
    with runner.Units(folder, names, lambda line: said.append(str(line))) as units:
        for (name,) in units.unfinished([[name] for name in names]):
            units.write({name: make(name)})
        assert units.status == 1
    assert [folder.is_finished(stem) for stem in "abcd"] == [True, False, False, True]
    assert sorted(said) == ["b: b cannot be written", "c: c is unusable"]


def test_a_finished_image_keeps_what_the_configuration_says(tmp_path, monkeypatch):
    prepared, frozen = tiny_image(tmp_path)
    params, like = (models.init_params(jax.random.key(seed), prepared.settings) for seed in (3, 4))
    monkeypatch.setattr(explain, "explain", lambda *_, **__: plain_result("001"))

    def kept(**fields) -> bytes | None:
        files, config = {}, tiny_config(tmp_path, **fields)
        monkeypatch.setattr(explain, "write", lambda *_, extra, **__: files.update(extra))
        work = runner.Trainer(config, RunFolder(tmp_path), None, frozen, None, names=(), judge=trust.Judge(config))
        work.write(prepared, params, initial_state(params, prepared.settings), [])
        return files.get("networks.safetensors")

    loaded = {}
    for form in ("small", "full"):
        path = tmp_path / f"{form}.safetensors"
        path.write_bytes(kept(outputs__networks=form))
        loaded[form] = network_files.load_networks(path, like, prepared.settings)
    assert kept(outputs__networks="none") is None
    assert (tmp_path / "small.safetensors").stat().st_size < (tmp_path / "full.safetensors").stat().st_size / 3
    for name in models.NAMES:
        trees = params[name], loaded["small"][name], loaded["full"][name]
        for before, small, full in zip(*map(jax.tree.leaves, trees), strict=True):
            np.testing.assert_array_equal(full, before)
            if name in network_files.SMALL:
                np.testing.assert_allclose(small, before, rtol=1e-3, atol=1e-6)
    # Where each image starts from the one before it, all networks are kept.
    assert kept(outputs__networks="none", schedule__reset_weight=False) == network_files.networks_bytes(params)
