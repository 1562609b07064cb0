"""A run of independent images: its short way, a broken first image, the networks that stay."""

import pathlib
import traceback

import jax
import numpy as np
import pytest
from helpers.command_line import overrides
from helpers.edited_run import write_run
from helpers.opened_files import counted
from helpers.plain_result import plain_result
from helpers.tiny import tiny_config, tiny_image

import gan2shape_jax
from gan2shape_jax import main as program
from gan2shape_jax.apps.edit.editor import load_editor
from gan2shape_jax.config import validation
from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.run import experiment, explain, instance, prepare, trust
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.training import group_memory, group_plan, loop, network_files

PACKAGE = str(pathlib.Path(gan2shape_jax.__file__).parent)


@pytest.fixture
def schedules(monkeypatch):
    """Stands in for the training: notes the project's calls that lead to it, and gives up on the image."""
    ways = []

    def run_schedule(task, *_):
        stack = [
            f"{pathlib.Path(frame.filename).stem}.{frame.name}"
            for frame in traceback.extract_stack()[:-1]
            if frame.filename.startswith(PACKAGE)
        ]
        ways.append(stack[stack.index("main.main") :])
        raise UserError("not trained")

    monkeypatch.setattr(loop, "run_schedule", run_schedule)
    return ways


def test_six_calls_lead_from_main_to_the_stage_loop(tmp_path, schedules, monkeypatch):
    config = tiny_config(tmp_path)
    judged = []
    problems = validation.problems
    monkeypatch.setattr(validation, "problems", lambda config: judged.append(config) or problems(config))
    with counted() as opened:
        assert program.main(["--config=ictface", *overrides(config)]) == 1
    assert schedules == [
        ["main.main", "experiment.run", "instance.run", "each_image.for_each_group", "reconstructor.reconstruct"]
    ]  # and run_schedule itself: six
    assert len(judged) == 1
    assert opened[config.data.image_list] == 1


def test_a_broken_first_image_does_not_end_the_run_where_sizes_are_asked(tmp_path, schedules, monkeypatch, capsys):
    """As on GPU and TPU, where the number of images at once hangs on the memory that one of them takes."""
    names = ("001.png", "005.png", "006.png")
    config = tiny_config(tmp_path, names=names)
    asked = []

    def load(config, name, *rest, original=prepare.load_image):
        if name == "001.png":
            raise UserError("001.png is damaged")
        return original(config, name, *rest)

    def choose_size(_, images, devices, bytes_of_one):
        asked.append(bytes_of_one())
        return 1

    monkeypatch.setattr(prepare, "load_image", load)
    monkeypatch.setattr(group_memory, "bytes_of_one", lambda prepared, _: int(prepared.name))
    monkeypatch.setattr(group_plan, "choose_size", choose_size)
    assert program.main(["--config=ictface", *overrides(config)]) == 1
    assert asked == [5] and len(schedules) == 2
    told = capsys.readouterr().err
    assert told.count("001: 001.png is damaged") == 1 and "005: not trained" in told and "Traceback" not in told


def test_no_usable_image_at_all_is_told_of_each(tmp_path, monkeypatch):
    def load(config, name, *rest):
        raise UserError(f"{name} is damaged")

    monkeypatch.setattr(prepare, "load_image", load)
    work = instance.Reconstructor(tiny_config(tmp_path), None, ("001.png",), (), None, None, None, lambda: None)
    monkeypatch.setattr(instance.Reconstructor, "prepare", lambda self, name: load(None, name))
    assert instance._bytes_of_one(work, ["001.png", "005.png"]) == 0


# --- networks that stay ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded_image(tmp_path_factory):
    return tiny_image(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def image(loaded_image):
    return loaded_image[0]


@pytest.fixture(scope="module")
def networks(image):
    return models.init_params(jax.random.key(3), image.settings), image.settings


@pytest.fixture
def kept(loaded_image, networks, tmp_path, monkeypatch):
    """Returns the content of the networks' file that stays with an image, None for none; nothing else is written."""
    image, frozen = loaded_image
    monkeypatch.setattr(explain, "explain", lambda *_, **__: plain_result("001"))

    def content(**fields) -> bytes | None:
        files = {}
        monkeypatch.setattr(explain, "write", lambda *_, extra, **__: files.update(extra))
        monkeypatch.setattr(trust, "load", lambda config, *_: trust.Judge(config))
        config = tiny_config(tmp_path, **fields)
        work = instance.Reconstructor(config, RunFolder(tmp_path), (), (), None, frozen, None, lambda: None)
        work.write(image, networks[0], initial_state(*networks), [])
        return files.get("networks.safetensors")

    return content


def test_a_finished_image_keeps_what_the_configuration_says(kept, networks, tmp_path):
    params, settings = networks
    like = models.init_params(jax.random.key(4), settings)
    loaded = {}
    for form in ("small", "full"):
        path = tmp_path / f"{form}.safetensors"
        path.write_bytes(kept(outputs__networks=form))
        loaded[form] = network_files.load_networks(path, like, settings)
    assert kept(outputs__networks="none") is None
    assert (tmp_path / "small.safetensors").stat().st_size < (tmp_path / "full.safetensors").stat().st_size / 3
    for name in models.NAMES:
        for before, small, full in zip(
            *map(jax.tree.leaves, (params[name], loaded["small"][name], loaded["full"][name])), strict=True
        ):
            np.testing.assert_array_equal(full, before)
            if name in network_files.SMALL:
                assert small.dtype == np.float32
                np.testing.assert_allclose(small, before, rtol=1e-3, atol=1e-6)


def test_where_each_image_starts_from_the_last_one_all_networks_stay(kept, networks):
    content = kept(outputs__networks="none", schedule__reset_weight=False)
    assert content == network_files.networks_bytes(networks[0])


def test_small_networks_have_the_same_bytes_each_time(networks):
    """The library writes metadata in any order: of eight files two would differ in all but one of 128 cases."""
    assert len({network_files.small_networks_bytes(networks[0]) for _ in range(8)}) == 1


def test_small_networks_are_refused_as_pretrained_ones_in_words(networks, tmp_path):
    params, settings = networks
    path = tmp_path / "networks.safetensors"
    path.write_bytes(network_files.small_networks_bytes(params))
    with pytest.raises(UserError, match=r"lacks netD, .*config\.outputs\.networks='full'"):
        network_files.load_networks(path, params, settings, needed=("depth",))


def test_small_networks_are_enough_to_edit(tmp_path):
    folder = write_run(tmp_path)
    whole = load_editor(folder)
    params = models.init_params(jax.random.key(3), whole.settings)
    (folder / "networks.safetensors").write_bytes(network_files.small_networks_bytes(params))
    small = load_editor(folder)
    for a, b in zip(*map(jax.tree.leaves, (small.params, whole.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_a_run_without_networks_says_so_when_edited(tmp_path):
    folder = write_run(tmp_path)
    (folder / "networks.safetensors").unlink()
    with pytest.raises(UserError, match=r"unless config\.outputs\.networks is 'none'"):
        load_editor(folder)


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(UserError, match="config.outputs.networks is 'half': it is one of none, small, full"):
        experiment.run(tiny_config(tmp_path, outputs__networks="half"))
