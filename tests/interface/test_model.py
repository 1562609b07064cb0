"""Models and GANs through the public interface: the commands' bits, nothing on disk until asked, refusals."""

import concurrent.futures
import functools
import json
import multiprocessing
import os
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import several
from helpers.outlines import excess_length, overlap
from helpers.picture_files import opened
from helpers.tiny import asset, tiny_config, tiny_image
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

import gan2shape_jax as g2s
from gan2shape_jax import interface
from gan2shape_jax.apps.sample import drawn
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.detection.faces import landmarks_in
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.io import bundled
from gan2shape_jax.method import models
from gan2shape_jax.method.reconstruction import decomposition
from gan2shape_jax.photos import explain, together
from gan2shape_jax.results import load
from gan2shape_jax.run import experiment
from gan2shape_jax.training import network_files

_ARRAYS = ("depth", "albedo", "view", "light", "mask", "input_depth", "reconstruction", "canonical", "true_depth")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A file of untrained networks."""
    folder = tmp_path_factory.mktemp("networks")
    first, _ = tiny_image(folder)
    path = folder / "networks.safetensors"
    path.write_bytes(network_files.networks_bytes(models.init_params(jax.random.key(3), first.settings)))
    return path


def _config(folder, networks):
    return tiny_config(folder, recipe="predict", networks__pretrained=str(networks), outputs__preset="mesh")


def _given():
    image, mask = (opened(asset(f"ictface/{kind}/001.png")) for kind in ("image", "mask"))
    depth = np.load(asset("ictface/depth/001.npy"))[::2, ::2]
    return image, mask, np.where(depth > 0, depth, 1.1)


def test_a_model_gives_what_a_prediction_gives(networks, tmp_path, monkeypatch):
    config = _config(tmp_path, networks)
    assert experiment.run_experiment(config) == 0
    command = load(pathlib.Path(config.workdir) / "results" / "001")
    (tmp_path / "caller").mkdir()
    monkeypatch.chdir(tmp_path / "caller")
    model = g2s.load_model(networks, config=config)
    image, mask, depth = _given()
    result = model.reconstruct(image, mask=mask, true_depth=depth, name="001")
    for name in _ARRAYS:
        np.testing.assert_array_equal(getattr(result, name), getattr(command, name), err_msg=name)
    assert result.metrics["side"] == command.metrics["side"]
    assert os.listdir() == []
    again = model.reconstruct(np.asarray(image.convert("RGB")), mask=np.asarray(mask.convert("L")))
    np.testing.assert_array_equal(again.depth, result.depth)
    assert (model.reconstruct(image).input_mask == 1).all()  # without a mask the whole square is the object
    assert "side" not in again.metrics and len(again.mesh().faces) > 100
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        same = model.reconstruct(image, mask=mask, true_depth=depth, name="001")
        np.testing.assert_array_equal(same.normals, result.normals)
        for show in (
            lambda first: first.mesh().vertices,
            lambda first: first.render(size=32),
            lambda first: first.relight((1, 0), size=32),
        ):
            np.testing.assert_array_equal(show(same), show(result))
        same.save("face")
        assert jax.config.jax_enable_x64
    for name in _ARRAYS:
        np.testing.assert_array_equal(getattr(same, name), getattr(result, name), err_msg=name)
    result.save("face")
    np.testing.assert_array_equal(g2s.load("face").depth, result.depth)
    assert json.loads(pathlib.Path("face/result.json").read_text())["name"] == "001"
    assert repr(model) == f"Model(ictface, {config.image_size} x {config.image_size} pixels)"


def test_several_images_give_one_shape_with_each_of_them(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(together.joint_refinement, "reconstruct", several.held)
    model = g2s.load_model(networks, config=_config(tmp_path, networks))
    image, mask, depth = _given()
    picture = np.asarray(image.convert("RGB"))
    result = model.reconstruct([picture, picture[:, ::-1]], mask=[mask, mask.transpose(0)], name="me")
    assert result.name == "me" and [one.name for one in result.photographs] == ["me-1", "me-2"]
    single = [model.reconstruct(picture[:, ::step], mask=np.asarray(mask.convert("L"))[:, ::step]) for step in (1, -1)]
    np.testing.assert_array_equal(result.depth, np.mean([one.depth for one in single], 0, dtype=np.float32))
    np.testing.assert_array_equal(result.photographs[1].image, single[1].image)
    assert result.metrics["photographs"]["used"] == 2
    result.save(tmp_path / "saved", pictures=False)
    assert len(g2s.load(tmp_path / "saved").photographs) == 2
    assert len(model.reconstruct((picture,), mask=[mask]).photographs) == 1
    assert not interface._is_several(picture.tolist())  # one image as a list of rows
    for wrong in ({"image": []}, {"image": [image], "mask": mask}, {"image": [image, image], "mask": [mask]}):
        with pytest.raises(ArgumentError, match="^image is a list"):
            model.reconstruct(**wrong)
    with pytest.raises(ArgumentError, match="^true_depth is for a single image"):
        model.reconstruct([image], true_depth=depth)


@pytest.mark.parametrize("name", ["cat", asset("cat/model.safetensors")])
def test_a_model_is_named_by_name_or_file(tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert repr(g2s.load_model(name)) == "Model(cat, 64 x 64 pixels)"


_NAMES = "car, cat, ictface, people, people:head"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("caat", rf"^there is no model 'caat' \(did you mean cat\?\): name a file .* or one of {_NAMES}$"),
        ("person", rf"^there is no model 'person' \(did you mean people\?\): name a file .* or one of {_NAMES}$"),
        ("xyzzy", f"^there is no model 'xyzzy': name a file .* or one of {_NAMES}$"),
        ("cat:published", rf"^the configuration cat:published .*names a model that is missing .* {_NAMES}$"),
        ("celeba:published", rf"^the configuration celeba:published .*names a model that is missing .* {_NAMES}$"),
        ("car:published", rf"^the configuration car:published .*names no model .* or use one of the models {_NAMES}$"),
        ("church", "^config church is church:published: nothing of it is bundled"),
        ("gone/model.safetensors", "^gone/model.safetensors is missing, or not a lifted model"),
    ],
)
def test_a_name_without_a_model_is_answered_with_the_nearest(tmp_path, monkeypatch, name, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(g2s.UserError, match=message):
        g2s.load_model(name)


def test_what_an_installed_package_leaves_out_is_said_to_be_in_a_checkout(monkeypatch):
    config = load_config("people:head").unlock()
    config.networks.pretrained += ".gone"
    monkeypatch.setattr("gan2shape_jax.photos.explain.load_config", lambda name: config)
    with pytest.raises(g2s.UserError, match="it comes with a checkout of the repository, not with an installed"):
        g2s.load_model("people:head")
    assert bundled.advice(bundled.asset("people/model.safetensors")) == "comes with the package: install it again"
    assert bundled.advice("people/head/model.safetensors") == ""


@pytest.mark.parametrize("name", ["people", "people:head", "cat", "car", "ictface"])
def test_bundled_models_have_all_networks(name):
    with safe_open(load_config(name).networks.pretrained, "np") as file:
        assert {key.split("/")[0] for key in file.keys()} >= set(models.NAMES)


@pytest.mark.heavy  # programs of two models
def test_a_whole_head_is_a_narrow_frames_face_with_more_around_it():
    narrow, wide = (
        g2s.load_model(name).reconstruct(Image.open(bundled.asset(f"{folder}/image/000.png")))
        for name, folder in (("people", "people"), ("people:head", "people/head"))
    )
    assert wide.metrics["trust"]["grade"] == "trust"
    np.testing.assert_allclose(wide.view[:2], narrow.view[:2], atol=np.radians(8))
    middle = slice(22, 42)  # of the face: 1.6 times as far from the centre in the narrow frame
    places = np.linspace(31.5 - 9.5 * 1.6, 31.5 + 9.5 * 1.6, 20).round().astype(int)
    faces = wide.depth[middle, middle] * 1.6, narrow.depth[np.ix_(places, places)]
    assert np.corrcoef(*(face.ravel() for face in faces))[0, 1] > 0.9
    assert np.ptp(faces[0]) == pytest.approx(np.ptp(faces[1]), rel=0.3)


def test_a_model_is_named_by_its_configuration_or_by_what_get_leaves(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert repr(g2s.load_model("people", config="people:predict")) == repr(g2s.load_model())
    # What `gan2shape-jax get` leaves.
    cached = tmp_path / "gan2shape_jax" / "weights" / "celeba"
    cached.mkdir(parents=True)
    files = {"networks.pretrained": "celeba_pretrain.pth", "sampling.view_mvn": "view_mvn.pth"}
    for name in files.values():
        (cached / name).write_bytes(b"12345")
    record = {"files": {field: [name, 5] for field, name in files.items()}}
    (cached / "record.json").write_text(json.dumps(record))
    config = explain.load_kind("celeba")
    assert config.networks.pretrained == str(cached / "celeba_pretrain.pth")
    assert config.sampling.view_mvn == str(cached / "view_mvn.pth")
    with pytest.raises(g2s.UserError, match="or one of car, cat, celeba, ictface, people, people:head$"):
        g2s.load_model("caat")


@pytest.mark.parametrize("category", ["church", "boat"])
def test_a_model_of_what_has_no_configuration_asks_for_one(tmp_path, category):
    with safe_open(asset("ictface/model.safetensors"), "np") as file:
        facts, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    save_file(tensors, path := tmp_path / "model.safetensors", facts | {"category": category})
    with pytest.raises(g2s.UserError, match=rf"is a model of '{category}': name .* a configuration that has one"):
        g2s.load_model(path)
    config = apply_overrides(g2s.load_config("ictface:predict"), {"category": category})
    assert repr(g2s.load_model(path, config=config)) == f"Model({category}, 64 x 64 pixels)"


def test_what_cannot_be_used_is_refused(networks, tmp_path):
    config = _config(tmp_path, networks)
    (tmp_path / "text").write_text("no networks")
    for path, named, message in (
        (tmp_path / "absent.safetensors", config, r"absent\.safetensors does not exist"),
        (networks, "nothing-of-the-kind", "nothing-of-the-kind"),
        (tmp_path / "text", config, "text"),
    ):
        with pytest.raises(g2s.UserError, match=message):
            g2s.load_model(path, config=named)
    model = g2s.load_model(networks, config=config)
    with pytest.raises(ArgumentError, match="crop it to a square"):
        model.reconstruct(np.zeros((20, 30, 3)))
    with pytest.raises(ArgumentError, match="mask has the shape"):
        model.reconstruct(_given()[0], mask=np.ones((3, 3)))


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """Of 32 pixels."""
    return g2s.load_gan(tiny_config(tmp_path_factory.mktemp("gan")).gan.checkpoint)


def test_samples_are_those_of_the_command(gan):
    images, latents = gan.sample(jax.random.key(3), 3, truncation=0.7)
    options = {"count": 3, "seed": 3, "truncation": 0.7, "mean_w": jnp.asarray(gan.mean_latent)[None]}
    samples = drawn(gan.weights["generator"], gan.architecture, **options)
    pictures, theirs = (np.stack(each) for each in zip(*samples, strict=True))
    np.testing.assert_array_equal(images, pictures)
    np.testing.assert_allclose(latents, theirs, atol=1e-6)  # those went through the run's truncation
    assert images.dtype == np.uint8 and images.shape == (3, gan.size, gan.size, 3)
    assert latents.dtype == np.float32 and latents.shape == (3, gan.style_dim)


def test_latents_give_their_images_again(gan):
    images, latents = gan.sample(3, 3)
    every_layer = np.repeat(latents[:, None], gan.architecture.latents, axis=1)
    for same in (latents, every_layer):  # each by a program of its own: a value may be rounded otherwise
        assert np.abs(gan.synthesize(same).astype(int) - images).max() <= 1


def test_images_can_be_differentiated_and_a_seed_is_any_whole_number(gan):
    images, latents = gan.sample(np.int64(3), 1)
    np.testing.assert_array_equal(images, gan.sample(3, 1)[0])
    drawn = gan.apply(latents)
    np.testing.assert_allclose(np.clip(drawn, -1, 1) * 127.5 + 127.5, images, atol=1)
    gradient = jax.grad(lambda w: jnp.mean(gan.apply(w) ** 2))(latents)
    ahead = jnp.mean(gan.apply(latents + 1e-2 * gradient / jnp.linalg.norm(gradient)) ** 2)
    slope = float(ahead - jnp.mean(drawn**2)) / 1e-2
    assert slope == pytest.approx(float(jnp.linalg.norm(gradient)), rel=0.05)


@pytest.mark.parametrize("truncation", [0.0, 1.5])
def test_truncation_out_of_range_is_refused(gan, truncation):
    with pytest.raises(ValueError, match=f"truncation is {truncation}"):
        gan.sample(0, 1, truncation=truncation)


def test_what_cannot_be_drawn_is_refused(gan):
    with pytest.raises(ValueError, match="count is 0"):
        gan.sample(0, 0)
    with pytest.raises(ValueError, match=r"latents have the shape \(n, 64\): \(n, 128\) or \(n, 8, 128\) is needed"):
        gan.synthesize(np.zeros((1, 64)))
    with pytest.raises(ValueError, match=r"latents have the shape \(n, 3, 128\): "):  # of another GAN's layers
        gan.apply(jnp.zeros((1, 3, 128)))
    with jax.enable_x64(True):
        assert jax.eval_shape(gan.apply, np.zeros((0, 128))).shape == (0, 32, 32, 3)  # nor does float64 matter
    with pytest.raises(ValueError, match="latents holds numbers that are not finite"):
        gan.synthesize(np.full((1, 128), np.nan))
    with pytest.raises(g2s.UserError, match="nowhere.safetensors: no such file; convert"):
        g2s.load_gan("nowhere.safetensors")


def test_a_gan_is_named_by_file_or_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "cat").mkdir()  # results of an earlier command, say
    assert g2s.load_gan("cat").file == asset("cat/gan.safetensors")
    (tmp_path / "ictface").write_bytes(b"a file of that name")
    with pytest.raises(g2s.UserError, match="^ictface"):
        g2s.load_gan("ictface")
    names = r"name a file \(.safetensors\), or one of car, cat, ictface, people"
    with pytest.raises(g2s.UserError, match=rf"^there is no GAN 'caat' \(did you mean cat\?\): {names}$"):
        g2s.load_gan("caat")


def test_the_bundled_cats_are_samples_by_number_and_their_latents_are_known():
    images, latents = g2s.load_gan("cat").sample(84, 6)
    for number, (image, latent) in enumerate(zip(images, latents, strict=True)):
        with Image.open(asset(f"cat/image/{number:03d}.png")) as bundled_one:
            assert np.abs(np.asarray(bundled_one).astype(int) - image).max() <= 2, number
        np.testing.assert_allclose(np.load(asset(f"cat/latents/{number:03d}.npy"))[0], latent, atol=1e-4)


_OTHERS = [pytest.param(kind, marks=pytest.mark.heavy) for kind in ("ictface", "cat")]


@pytest.fixture(scope="module", params=["people", *_OTHERS])
def explained(request):
    """A bundled model, two pictures, and what the model says of the first."""
    folder = pathlib.Path(asset("cat" if request.param == "cat" else "ictface")) / "image"
    first, other = (np.asarray(opened(path).convert("RGB")) for path in sorted(folder.glob("*.png"))[:2])
    model = g2s.load_model(request.param)
    return model, first, other, model.reconstruct(first)


def test_a_mesh_ends_where_the_models_objects_do(explained):
    """Not where the photo's mask does: that only says which of the photo's colours are the object's."""
    model, first, other, result = explained
    bitten = np.ones(first.shape[:2])
    bitten[20:40, :30] = bitten[50:, 20:] = 0
    arguments = ((first, bitten), (first // 2, None), (first[:, ::-1], bitten), (other, None))
    results = [result, *(model.reconstruct(image, mask=mask) for image, mask in arguments)]
    assert max(map(excess_length, results)) <= 1.05
    assert min(overlap(results[0], result) for result in results[1:]) >= 0.99
    assert np.array_equal(results[1].input_mask, bitten)
    inside = results[0].mask >= 0.5
    assert 0.5 < inside.mean() < 0.9 and np.array_equal(inside, inside[:, ::-1])


def test_models_gans_and_results_can_be_pickled(gan, networks, tmp_path):
    image, mask, _ = _given()
    config = tiny_config(tmp_path, recipe="predict", networks__pretrained=str(networks), outputs__preset="overview")
    model = g2s.load_model(networks, config=config)
    result = model.reconstruct(image, mask=mask, name="001")
    gan2, model2, result2 = pickle.loads(pickle.dumps((gan, model, result)))
    latents = gan.sample(0, 2)[1]
    np.testing.assert_array_equal(gan2.synthesize(latents), gan.synthesize(latents))
    assert gan2.architecture == gan.architecture and model2.config == model.config
    again = model2.reconstruct(image, mask=mask, name="001")
    for folder, each in (("a", result), ("b", result2), ("c", again)):
        each.save(tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "mesh.glb" in files
    for other in ("b", "c"):
        assert sorted(path.name for path in (tmp_path / other).iterdir()) == files
        assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / other / name).read_bytes() for name in files)


def _spawned(gan, model, image, latents):
    return gan.synthesize(latents), model.reconstruct(image).depth


@pytest.mark.ci
def test_another_process_computes_with_what_it_is_sent():
    gan, model = g2s.load_gan("ictface"), g2s.load_model("ictface")
    images, latents = gan.sample(0, 1)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        drawn_there, depth = pool.submit(_spawned, gan, model, images[0], latents).result()
    np.testing.assert_array_equal(drawn_there, images)
    np.testing.assert_array_equal(depth, model.reconstruct(images[0]).depth)


def test_gans_and_models_are_arguments_of_transformations(gan, small):
    model, pictures = small
    latents = gan.sample(0, 2)[1]
    np.testing.assert_allclose(jax.jit(g2s.Gan.apply)(gan, latents), gan.apply(latents), atol=1e-5)
    slope = jax.grad(lambda gan: gan.apply(latents).mean())(gan)
    assert isinstance(slope, g2s.Gan) and slope.architecture == gan.architecture
    changed = jax.tree.map(lambda first, by: np.asarray(first) - 0.1 * np.asarray(by), gan, slope)
    assert float(changed.apply(latents).mean()) < float(gan.apply(latents).mean())
    traced = []

    @jax.jit
    def depth_of(model, images):
        traced.append(model)
        return models.modules(model.networks.settings)["depth"].apply(
            {"params": model.networks.params["depth"]}, images
        )

    first = depth_of(model, pictures)
    doubled = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), model)
    assert isinstance(doubled, g2s.Model) and doubled.config is model.config
    assert not np.array_equal(depth_of(doubled, pictures), first) and len(traced) == 1
    assert all(isinstance(leaf, (jax.Array, np.ndarray, float)) for leaf in jax.tree.leaves((gan, model)))


@pytest.fixture(scope="module")
def lifted():
    """A model with all networks, and two of its GAN's pictures."""
    gan = g2s.load_gan("people")
    return g2s.load_model("people"), jnp.clip(gan.apply(gan.sample(0, 2)[1]), -1, 1)


# By how much two programs may round a value differently; a normal, of differences between neighbouring depths, most.
_ROUNDED = {"depth": 2e-6, "normals": 2e-4, "albedo": 2e-4, "view": 1e-5, "light": 1e-5}


@pytest.mark.heavy  # three programs of a bundled model
def test_apply_is_what_reconstruct_computes_of_a_face_with_landmarks(lifted):
    model, pictures = lifted
    depth, normals, albedo, view, light = model.apply(model.params, pictures)
    for number, picture in enumerate(np.asarray(pictures)):
        shown = np.round((picture + 1) * 127.5).astype(np.uint8)
        result = model.reconstruct(shown)
        seen = shown[None] / np.float32(127.5) - 1
        again = model.apply(model.params, seen, landmarks_in(shown)[None])
        for name, actual in again._asdict().items():
            expected = result.signed_albedo if name == "albedo" else getattr(result, name)
            np.testing.assert_allclose(actual[0], expected, atol=_ROUNDED[name], err_msg=name)
        assert np.abs(again.depth[0] - depth[number]).max() < 0.01  # 8 bits a pixel
        moved = np.abs(again.view - model.apply(model.params, seen).view)[0]
        assert 1e-3 < moved[:3].max() < 0.5 and moved[3:5].max() < 0.02 and moved[5] == 0  # by its landmarks
        assert 0 < result.metrics["landmark_error"] < 0.05
    assert normals.shape == albedo.shape == (2, 64, 64, 3) and view.shape == (2, 6) and light.shape == (2, 4)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An untrained model of small networks, with one for detail, and two pictures."""
    folder = tmp_path_factory.mktemp("small")
    first, _ = tiny_image(folder)
    params = models.init_params(jax.random.key(3), first.settings) | models.init_detail(
        jax.random.key(4), first.settings
    )
    path = folder / "networks.safetensors"
    path.write_bytes(network_files.networks_bytes(params))
    image = jnp.asarray(first.example.image)
    return g2s.load_model(path, config=_config(folder, path)), jnp.concatenate([image, image[:, ::-1] * 0.9])


def _sum(explained):
    """One number in which each value has a weight of its own."""
    weights = [np.random.default_rng(k).standard_normal(leaf.shape) for k, leaf in enumerate(explained)]
    return sum(jnp.mean(leaf * weight.astype(np.float32)) for leaf, weight in zip(explained, weights))


@pytest.fixture(scope="module")
def applied(small):
    model, pictures = small
    return model.apply(model.params, pictures)


def test_derivatives_in_forward_mode_are_refused_as_pages_say(gan, small):
    model, pictures = small
    latents = jnp.zeros((1, gan.architecture.style_dim))
    for apply, value in ((gan.apply, latents), (functools.partial(model.apply, model.params), pictures)):
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(apply, (value,), (value,))


@pytest.mark.usefixtures("applied")
def test_apply_is_what_reconstruct_computes(small):
    model, pictures = small
    shown = np.round((np.asarray(pictures[0]) + 1) * 127.5).astype(np.uint8)
    seen = jnp.stack([shown / np.float32(127.5) - 1, pictures[1]])
    result = model.reconstruct(shown)
    for name, actual in model.apply(model.params, seen)._asdict().items():
        expected = result.signed_albedo if name == "albedo" else getattr(result, name)
        np.testing.assert_allclose(actual[0], expected, atol=_ROUNDED[name], err_msg=name)


@pytest.mark.heavy  # a whole model in float64
def test_derivatives_by_parameters_and_images_are_those_of_finite_differences(small):
    """In float64, where what is measured are the derivatives and not rounding."""
    model, pictures = small
    assert models.DETAIL in model.params
    with jax.enable_x64(True):
        frozen, settings = model.networks.frozen, model.networks.settings
        inputs = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (model.params, pictures[:1]))

        @jax.jit
        def value(inputs):
            return _sum(decomposition(*inputs, frozen, settings))

        slope = jax.jit(jax.grad(value))(inputs)
        for part in range(2):
            direction = [jax.tree.map(jnp.zeros_like, each) for each in inputs]
            direction[part] = slope[part]
            norm2 = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(slope[part]))
            far = 1e-6 / norm2**0.5
            there = [value(_moved(inputs, tuple(direction), by)) for by in (far, -far)]
            assert float(there[0] - there[1]) / (2 * far) == pytest.approx(norm2, rel=1e-3), part


def _moved(inputs, direction, by):
    return jax.tree.map(lambda x, d: x + by * d, inputs, direction)


_MESH = jax.make_mesh((1,), ("images",), axis_types=(jax.sharding.AxisType.Auto,))
_WHOLE, _PART = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("images")


def _mapped(model, pictures):
    explained = jax.vmap(model.apply, in_axes=(None, 0))(model.params, pictures[:, None])
    return jax.tree.map(lambda leaf: leaf[:, 0], explained)


def _divided(model, pictures):
    return jax.shard_map(model.apply, mesh=_MESH, in_specs=(_WHOLE, _PART), out_specs=_PART)(model.params, pictures)


@pytest.mark.parametrize("way", [_mapped, pytest.param(_divided, marks=pytest.mark.heavy)])
def test_apply_can_be_compiled_mapped_and_divided_among_devices(small, applied, way):
    for name, leaf in jax.jit(way)(*small)._asdict().items():
        np.testing.assert_allclose(leaf, getattr(applied, name), atol=_ROUNDED[name], err_msg=name)


@pytest.mark.heavy  # two gradients of a whole model
def test_derivatives_are_the_same_where_images_are_divided_among_devices(small):
    model, pictures = small
    slope = jax.grad(lambda model: _sum(model.apply(model.params, pictures)))(model)
    one_by_one = jax.shard_map(
        lambda params, images: jax.lax.pmean(_sum(model.apply(params, images)), "images"),
        mesh=_MESH,
        in_specs=(_WHOLE, _PART),
        out_specs=_WHOLE,
    )
    divided = jax.jit(jax.grad(one_by_one))(model.params, pictures)
    for leaf, other in zip(jax.tree.leaves(slope.params), jax.tree.leaves(divided), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-3 * float(jnp.abs(leaf).max()) + 1e-8)
