"""Rendered faces: what is said to be true of a picture is, people of one split are in no other, refusals."""

import argparse
import importlib
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera, rotation_matrix
from gan2shape_jax.geometry.render import valid_pixels, warp_depth
from gan2shape_jax.io.data import load_item
from gan2shape_jax.results import save_result

_FACES = pathlib.Path(__file__).parents[2] / "benchmarks" / "faces"
_NAMES = [f"identity{k:03d}" for k in range(100)] + [f"other{k}" for k in range(4)] + ["jawOpen"]
_NAMES += [
    f"{name}_{side}"
    for name in ("mouthSmile", "cheekSquint", "mouthUpperUp", "mouthLowerDown", "eyeBlink")
    for side in "LR"
]
_AXES = np.array([1.1, 1.5, 1.3])  # of an ellipsoid, units of the head
_SIZE = 32


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(_FACES)
    monkeypatch.syspath_prepend(_FACES.parent / "studio")
    names = ("sources", "people", "drawing", "render")
    names += ("chance", "folders", "photograph", "depths")
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        sys.modules.pop(name)


def _options(**changed):
    plain = {"seed": 0, "split": "train", "size": _SIZE, "supersample": 1, "yaw": 25.0, "fov": None}
    plain |= {"turned": None, "frame": 1.0, "pictures": 1, "rigid": False, "jaw": None}
    return argparse.Namespace(**plain | changed)


@pytest.mark.parametrize("name", ["people", "people:head"])
def test_the_bundled_heads_are_the_first_of_each_family_and_the_first_that_are_turned(scripts, name):
    """Chosen by number, not by result, three of each family; in the wide frame the same people are farther away."""
    packed = scripts.folders.load(_FACES / "data" / "test")
    turned = np.abs(np.degrees(packed["view"][:, 1])) >= 30
    chosen = [
        number
        for family in (0, 1)
        for own in [packed["family"] == family]
        for number in (*np.flatnonzero(own & ~turned)[:2], np.flatnonzero(own & turned)[0])
    ]
    config = load_config(name)
    items = {item: load_item(config, f"{item}.png") for item in (f"{number:03d}" for number in sorted(chosen))}
    assert pathlib.Path(config.data.image_list).read_text().split() == [f"{item}.png" for item in items]
    for item, loaded in items.items():
        depth, seen = packed["depth"][int(item)], packed["mask"][int(item)]
        if name == "people":
            np.testing.assert_allclose(loaded.image, packed["image"][int(item)] / 127.5 - 1, atol=1e-6)
            near = seen & (depth < config.camera.max_depth)
            np.testing.assert_allclose(loaded.depth[near], depth[near], atol=1e-6)
            assert np.array_equal(loaded.mask > 0.5, seen)
        else:
            middle = np.s_[12:52, 12:52]  # of which the narrow frame is an enlargement
            small = np.asarray(Image.fromarray(packed["image"][int(item)]).resize((40, 40), Image.Resampling.BOX))
            pictures = small.ravel() / 127.5 - 1, loaded.image[middle].ravel()
            assert np.corrcoef(*pictures)[0, 1] > 0.85, item
            assert np.ptp(loaded.depth[loaded.depth < config.camera.max_depth]) > 0.02


def _ellipsoid(scripts):
    """Returns a family of one bald ellipsoid, of a stuff without gloss or a glow of its own."""
    down, around = np.meshgrid(np.linspace(0.01, np.pi - 0.01, 60), np.arange(80) * (2 * np.pi / 80), indexing="ij")
    unit = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1).reshape(-1, 3)
    faces = scripts.sources._tube_faces(60, 80)[:, ::-1]
    eyes = np.array([[20 * 80 + 8], [20 * 80 + 72]])
    rest = (unit * _AXES - (unit * _AXES)[eyes[:, 0]].mean(0)).astype(np.float32)
    count = len(rest)
    lips = np.zeros(count, np.float32)
    lips[40 * 80] = 1
    family = {
        "rest": rest, "modes": np.zeros((len(_NAMES), count, 3), np.float32), "faces": faces, "eyes": eyes,
        "lips": lips,
        "parts": np.full(len(faces), scripts.sources.TEETH), "hair": np.zeros((1, 1, 3), np.float32),
        "hair_near": np.zeros((1, 1, 8), np.int32), "hair_faces": np.zeros((1, 1, 3), np.int32),
        "hair_shade": np.ones((1, 1), np.float32), "occlusion": np.ones((1, count + 1), np.float32),
    }  # fmt: skip
    return family, rest.mean(0)


def _drawn(scripts, *, frontal=False, **changed):
    """Returns the truth of four pictures of the ellipsoid, how they were taken, and its centre in the head's frame."""
    family, center = _ellipsoid(scripts)
    people, scenes = scripts.render.described(_NAMES, "ict", [0, 1, 2, 3], _options(**changed))
    people |= {"style": np.zeros(4, np.int32), "glasses": np.zeros(4, np.float32)}
    scenes["zoom"][:] = 1
    scenes["view"] *= not frontal
    drawn = scripts.drawing.draw(scripts.drawing.on_device(family), people, scenes, size=_SIZE, supersample=1)
    return {key: np.asarray(value) for key, value in drawn.items()}, scenes, center


def _exact(scripts, scene, number, center):
    """Returns the ellipsoid's depth (0 outside) and outward normals by intersecting the rays of a lens with it."""
    lens = np.tan(np.radians(scene["fov"][number]) / 2) / np.tan(np.radians(5))
    turn = np.asarray(rotation_matrix(jnp.asarray(scene["view"][number, :3])), float)
    scale = scripts.drawing._UNIT * lens
    middle = scale * turn @ ((center - scripts.drawing._CENTER) * [1, -1, -1])
    middle += scene["view"][number, 3:] * lens + [0, 0, 1]
    slope = (np.arange(_SIZE) - (_SIZE - 1) / 2) / ((_SIZE - 1) / 2) * np.tan(np.radians(5)) * lens
    rays = np.stack(np.broadcast_arrays(slope[None, :], slope[:, None], 1.0), -1)
    ray, origin = rays @ turn / (_AXES * scale), -middle @ turn / (_AXES * scale)
    a, b, c = (ray**2).sum(-1), ray @ origin, origin @ origin - 1
    hit = b**2 > a * c
    z = (-b - np.sqrt(np.where(hit, b**2 - a * c, 0))) / a
    outward = (origin + z[..., None] * ray) / _AXES @ turn.T
    return np.where(hit, 1 + (z - 1) / lens, 0), outward / np.linalg.norm(outward, axis=-1, keepdims=True)


def test_turned_heads_are_seen_from_all_yaws_and_pitches_alike(scripts):
    how = [np.random.default_rng(number) for number in range(256)]
    views = [scripts.people.scene(rng, yaw=20.0, fov=None, turned=(75.0, 25.0))["view"][:2] for rng in how]
    pitch, yaw = np.degrees(views).T
    assert 20 < np.abs(pitch).max() <= 25 and 70 < np.abs(yaw).max() <= 75
    assert yaw.std() == pytest.approx(75 / 3**0.5, rel=0.1) and abs(yaw.mean()) < 8  # uniform


@pytest.mark.heavy
def test_depth_normals_mask_and_light_are_those_of_an_ellipsoid(scripts):
    drawn, scenes, center = _drawn(scripts)
    assert np.ptp(scenes["fov"]) > 1  # lenses differ
    for number in range(4):
        depth, outward = _exact(scripts, scenes, number, center)
        mask = drawn["mask"][number]
        assert (mask != (depth > 0)).mean() < 0.02  # the outline, which the mesh cuts short
        inside = mask & (depth > 0)
        np.testing.assert_allclose(drawn["depth"][number][inside], depth[inside], atol=2e-3)
        assert np.median(np.abs(drawn["depth"][number] - depth)[inside]) < 1e-4
        normal = drawn["normal"][number]
        assert np.percentile((normal * -outward).sum(-1)[inside], 5) > 0.99
        _, gain = drawn["key"][number][0] / scenes["key"][number], drawn["key"][number][0, 0] / scenes["key"][number][0]
        lobes = (1 + outward @ scenes["lobes"][number].T) ** 2 / 4 @ scenes["lobe_colour"][number]
        expected = gain * (lobes + scenes["ambient"][number])
        ours = scripts.photograph.harmonic_light(jnp.asarray(-outward), jnp.asarray(drawn["harmonics"][number]))
        np.testing.assert_allclose(np.asarray(ours)[inside], expected[inside], rtol=1e-3, atol=1e-3)
        toward = -scenes["key_direction"][number]
        assert np.dot(drawn["key"][number][1], toward) > 0.999
        if toward[2] > 0.3:
            np.testing.assert_allclose(drawn["light"][number][2:], toward[:2] / toward[2], rtol=1e-3, atol=1e-4)
            shading = np.asarray(lighting.shade(jnp.asarray(normal), jnp.asarray(drawn["light"][number]))[0])
            picture = drawn["image"][number].mean(-1)
            assert np.corrcoef(shading[inside], picture[inside])[0, 1] > 0.8


@pytest.mark.heavy
def test_the_packages_own_renderer_sees_the_true_depth_from_the_true_view(scripts):
    camera = Camera(image_size=_SIZE)
    turned, scenes, _ = _drawn(scripts, fov=10.0)
    canonical = _drawn(scripts, frontal=True, fov=10.0)[0]["depth"]
    canonical = jnp.asarray(np.where(canonical > 0, canonical, 1.3), jnp.float32)
    mirrored = scenes["view"] * [1, -1, 1, 1, 1, 1]
    warped, wrong = (
        warp_depth(canonical, jnp.asarray(view, jnp.float32), camera) for view in (scenes["view"], mirrored)
    )
    observed = (np.asarray(valid_pixels(warped, camera)) > 0) & turned["mask"]
    assert observed.mean() > 0.3 and np.ptp(np.degrees(scenes["view"][:, 1])) > 20
    off, wrong = (np.median(np.abs(depth - turned["depth"])[observed]) for depth in (warped, wrong))
    assert off < 3e-4 and wrong > 3 * off


def test_no_person_is_in_two_splits(scripts):
    observed = {}
    for split in scripts.chance.SPLITS:
        people, scenes = scripts.render.described(_NAMES, "ict", list(range(4)), _options(split=split))
        shapes = people["weights"][:, :100]
        assert len({row.tobytes() for row in scenes["view"]}) == 4
        observed[split] = {row.tobytes() for row in shapes}
        assert len(observed[split]) == 4
    assert len(set.union(*observed.values())) == 12
    again, scenes = scripts.render.described(_NAMES, "ict", [3], _options(split="test"))
    assert again["weights"][0, :100].tobytes() in observed["test"]  # whatever else is drawn with it
    wide, around = scripts.render.described(_NAMES, "ict", [3], _options(split="test", frame=1.6))
    np.testing.assert_array_equal(wide["weights"], again["weights"])
    np.testing.assert_array_equal(around["view"], scenes["view"])
    np.testing.assert_allclose(around["zoom"] * 1.6, scenes["zoom"], rtol=1e-6)


def test_a_rendering_needs_a_new_folder(scripts, tmp_path):
    options = argparse.Namespace(out=tmp_path, count=1, images_only=False)
    with pytest.raises(scripts.folders.RefusedError, match="exists: choose another --out"):
        scripts.folders.write(options, (), [])
    options = argparse.Namespace(out=tmp_path / "new", count=0, images_only=False)
    with pytest.raises(scripts.folders.RefusedError, match="--count is 1 or more"):
        scripts.folders.write(options, (), [])
    assert not options.out.exists()


def test_hair_that_is_not_there_is_said(scripts, tmp_path):
    for name in scripts.sources.STYLES[1:]:
        (tmp_path / "base" / "hair" / name).mkdir(parents=True)
    (tmp_path / "base" / "hair" / "long01" / "long01_diffuse.png").write_text(
        "version https://git-lfs.github.com/spec/v1\n"
    )
    said = scripts.sources.lacking(tmp_path)
    assert "no short01" in said and "long01" in said and "git lfs pull" in said and "afro01" not in said


@pytest.mark.heavy
def test_a_picture_is_the_same_whatever_is_drawn_with_it(scripts, tmp_path, monkeypatch):
    family, _ = _ellipsoid(scripts)
    family |= {"names": _NAMES, "mean": np.zeros(len(_NAMES), np.float32)}
    styles = {name: np.repeat(family[name], 10, 0) for name in family if name.startswith(("hair", "occlusion"))}
    monkeypatch.setattr(scripts.sources, "FAMILIES", ("ict", "ict"))
    monkeypatch.setattr(scripts.render, "heads", lambda folder: {"ict": family | styles})
    for count in (3, 7):
        out = ["--out", str(tmp_path / str(count)), "--count", str(count)]
        scripts.render.main(["--sources", str(tmp_path), "--supersample", "1", *out])
    for kind, ending in (("image", "png"), ("mask", "png"), ("depth", "npy"), ("maps", "npz")):
        assert len(list((tmp_path / "7" / kind).iterdir())) == 7
        both = [(tmp_path / count / kind / f"000002.{ending}").read_bytes() for count in ("3", "7")]
        assert both[0] == both[1]
    with np.load(tmp_path / "7/truth.npz") as truth:
        assert set(truth) == set(scripts.render.TRUTH) and truth["view"].shape == (7, 6)
        assert truth["person"].tolist() == [0, 0, 1, 1, 2, 2, 3]


_there = pytest.mark.skipif(not (_FACES / "data").is_dir(), reason="benchmarks/faces/data is not in the distribution")


@_there
def test_the_committed_faces_are_what_a_run_takes(scripts, tmp_path):
    people = set()
    for split in ("validation", "test"):
        truth = scripts.folders.load(_FACES / "data" / split)
        assert truth["image"].shape == (128, 64, 64, 3) and list(np.bincount(truth["family"])) == [64, 64]
        assert all(len(values) == 128 for values in truth.values())
        people |= {row.tobytes() for row in truth["albedo"]}
        # Depth, normals and mask are of one surface.
        camera = Camera(image_size=64)
        depth = np.where(truth["mask"], truth["depth"], 1.3).astype(np.float32)
        normal = np.asarray(lighting.normals(jnp.asarray(depth), camera))
        assert np.median((normal * truth["normal"]).sum(-1)[truth["mask"]]) > 0.97
    assert len(people) == 256
    scripts.folders.unpack(_FACES / "data/test", tmp_path)
    config = load_config("ictface:predict").unlock()
    for root in ("image", "mask", "depth"):
        config.data[f"{root}_root"] = str(tmp_path / root)
    name = (tmp_path / "list.txt").read_text().split()[5]
    item = load_item(config, name)
    inside = truth["mask"][5] & (truth["depth"][5] < 1.1)
    np.testing.assert_allclose(item.depth[inside], truth["depth"][5][inside])
    np.testing.assert_array_equal(item.mask > 0.5, truth["mask"][5])
    assert item.depth[~truth["mask"][5]].min() == np.float32(1.1)


@_there
def test_the_table_has_groups_by_family_and_yaw(scripts):
    truth = {
        "family": np.array([0, 0, 0, 1]),
        "view": np.radians([[0, 5.0], [0, -20], [0, 50], [0, 0]]),
    }
    groups = scripts.depths.groups(truth, "faces")
    assert [int(groups[name].sum()) for name in ("ict", "makehuman", "yaw 15 to 30")] == [3, 1, 1]
    mean = np.load(_FACES / "data/train_mean.npy")
    assert mean.shape == (64, 64) and mean[31, 31] < 0.97 < 1.04 < mean[31, 0]


@_there
def test_a_runs_results_are_measured_on_the_pictures_that_it_has_finished(scripts, tmp_path):
    truth, other = (scripts.folders.load(_FACES / "data" / split) for split in ("test", "validation"))
    for number in (2, 5):
        observed = np.where(truth["depth"][number] > 0, np.minimum(truth["depth"][number], 1.1), 1.1)
        shown = {
            "signed_image": truth["image"][number] / 127.5 - 1,
            "input_depth": observed,
            "view": truth["view"][number],
        }
        save_result(plain_result(f"{number:06d}", 64, **shown), tmp_path / "results" / f"{number:06d}")
    kept = scripts.depths.finished(truth, [tmp_path])
    options = argparse.Namespace(model=[], config="", results=[tmp_path])
    ways = scripts.depths.ways(options, np.load(_FACES / "data/train_mean.npy"), "ictface")
    errors = {name.split()[0]: scripts.depths.measured(kept, way) for name, way in ways.items()}
    assert len(kept["depth"]) == 2 and np.allclose([errors["run"]["side"], errors["run"]["yaw"]], 0, atol=1e-5)
    assert errors["ellipsoid"]["side"].mean() < 0.9 * errors["flat"]["side"].mean()
    with pytest.raises(UserError, match="is not the picture"):
        scripts.depths.measured(scripts.depths.finished(other, [tmp_path]), ways[f"run ({tmp_path.name})"])
