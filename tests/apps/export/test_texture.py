"""`gan2shape-jax export texture`: compared with the photo that it was drawn from; its files as others read them."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from helpers.mesh_files import read_mesh
from helpers.photographed import photo_texture, photographed, seen
from helpers.plain_result import plain_result
from PIL import Image
from scipy import ndimage

from gan2shape_jax.apps.export import command
from gan2shape_jax.config import load_config, to_json
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces
from gan2shape_jax.io.image_files import picture_sides
from gan2shape_jax.photos.maps import photo_maps
from gan2shape_jax.photos.texture import filled, matched, project_texels, texture_from_all
from gan2shape_jax.results import OutputOptions, examine, load, save_result, write_outputs
from gan2shape_jax.results.result import MAPS
from gan2shape_jax.results.surface import surface

BOX = CropBox(205, 165, 256, 7.5)
_PLACE = ["--box", "205", "165", "256", "--roll", "7.5"]


@pytest.fixture(scope="module")
def known():
    return photographed()


@pytest.fixture(scope="module")
def texture(known):
    return photo_texture(known.result, known.photo, known.box)


def _on_the_object(result) -> np.ndarray:
    return np.kron(surface(result).field > 0.5, np.ones((8, 8), bool))


def _errors(made: np.ndarray, true: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.abs(made / 255 - true)[where].max(-1)


def test_the_photo_is_taken_back_onto_the_surface(known, texture):
    """Checks are 13 texels wide: colours come out right only where the projection does, to a tenth of a texel."""
    assert texture.albedo.shape == known.texture.shape
    visible = texture.sources[..., 0] > 0.99
    assert visible.sum() > 7_500
    lit = _errors(texture.lit, known.texture * known.shading[..., None], visible)
    albedo = _errors(texture.albedo, known.texture, visible)
    assert lit.mean() < 0.008 and np.percentile(lit, 99) < 0.04
    assert albedo.mean() < 0.015 and np.percentile(albedo, 99) < 0.06
    with pytest.raises(ArgumentError, match="largest is 31: at least 32"):  # coarser than the result
        photo_texture(known.result, known.photo, known.box, largest=31)
    off = np.roll(known.texture * known.shading[..., None], 1, axis=1)
    assert _errors(texture.lit, off, visible).mean() > 3 * lit.mean()  # a texel beside would be noticed


def test_hidden_parts_come_from_the_other_half():
    rendered = photographed(yaw_deg=-38, symmetric=True)
    texture = photo_texture(rendered.result, rendered.photo, rendered.box)
    mirrored = texture.sources[..., 1] > 0.99
    inside = _on_the_object(rendered.result)
    assert (mirrored & inside).mean() > 0.03
    errors = _errors(texture.albedo, rendered.texture, mirrored & inside)
    assert np.median(errors) < 0.05
    without = photo_texture(rendered.result, rendered.photo, rendered.box, mirror=False)
    assert not without.sources[..., 1].any()
    assert np.median(_errors(without.albedo, rendered.texture, mirrored & inside)) > 2 * np.median(errors)


@pytest.mark.parametrize("yaw_deg", [-42, 42])
def test_of_a_far_turned_object_the_far_half_is_the_near_ones_mirror_image(yaw_deg):
    """The photo is grey, and blue where the far half is, as if the view were underestimated."""
    known = photographed(yaw_deg=yaw_deg).result
    depth = 1.02 + 0.4 * (known.depth - 1.02)  # so flat that the far half is seen, too
    result = dataclasses.replace(known, depth=depth, input_mask=np.ones_like(known.input_mask))
    far = np.arange(256) < 80
    far = _on_the_object(result) & (far if yaw_deg > 0 else far[::-1])
    column, row = (
        np.rint(
            (project_texels(seen(result, None, None), surface(result), result.camera, 256).place[far] + 0.5) * 8 - 0.5
        )
        .astype(int)
        .T
    )
    photo = np.full((256, 256, 3), 128, np.uint8)
    photo[row.clip(0, 255), column.clip(0, 255)] = (0, 0, 255)
    made, without = (
        photo_texture(result, photo, CropBox(128, 128, 256), mirror=mirror).lit[far].astype(int)
        for mirror in (True, False)
    )
    assert (without[:, 2] > without[:, 0] + 60).mean() > 0.3
    assert (made[:, 2] > made[:, 0] + 60).mean() < 0.1  # where both fade into each other


@pytest.fixture(scope="module")
def several():
    """The same object three times, from the left and, in other exposures and lights, from the right; not symmetric."""
    front = photographed(yaw_deg=-38)
    sides = [photographed(yaw_deg=yaw, light=(0.6, 0.3, light, 0.1)) for yaw, light in ((42, -0.8), (12, 0.9))]
    photos = [front.photo, *(np.rint(one.photo * gain).astype(np.uint8) for one, gain in zip(sides, (0.7, 0.9)))]
    result = dataclasses.replace(front.result, signed_albedo=_blurred_albedo(front.texture))
    return front, result, [seen(one.result, photo, one.box) for one, photo in zip((front, *sides), photos)]


def _blurred_albedo(texture: np.ndarray) -> np.ndarray:
    """Returns the albedo (32, 32, 3) in [-1, 1] that a model has found, without any detail."""
    means = texture.reshape(32, 8, 32, 8, 3).mean((1, 3))
    return (ndimage.gaussian_filter(means, (2, 2, 0)) * 2 - 1).astype(np.float32)


@pytest.mark.parametrize("mirror", [False, True])
def test_of_several_photos_the_sides_are_the_objects_own(several, mirror):
    front, result, photos = several
    one, made = (texture_from_all(result, some, mirror=mirror) for some in (photos[:1], photos))
    inside = _on_the_object(result)
    gained = inside & (made.sources[..., 0] > 0.99) & (one.sources[..., 0] < 0.01)
    assert gained.mean() > 0.03
    before, after = (np.median(_errors(texture.albedo, front.texture, gained)) for texture in (one, made))
    assert after < 0.02 and after < 0.2 * before
    whole = [_errors(texture.albedo, front.texture, inside).mean() for texture in (one, made)]
    assert whole[1] < 0.7 * whole[0]
    lit = _errors(made.lit, front.texture * front.shading[..., None], gained)  # in the first one's light
    assert np.median(lit) < 0.015


def test_shares_are_each_photos_own(several):
    _, result, photos = several
    shares = texture_from_all(result, photos, mirror=False).shares
    assert shares.shape == (5,) and shares[3] == 0 and abs(shares.sum() - 1) < 1e-5 and (shares[:3] > 0.05).all()
    again = texture_from_all(result, [photos[0], photos[2], photos[1]], mirror=False).shares
    np.testing.assert_allclose(again[[0, 2, 1, 3, 4]], shares, atol=0.02)


def test_a_photo_that_shows_nothing_better_changes_little(several):
    """Blurred, from the front, in half the light."""
    _, result, photos = several
    blurred = ndimage.gaussian_filter(photos[0].photo, (4, 4, 0)) // 2
    one, made = (
        texture_from_all(result, some) for some in (photos[:1], [photos[0], photos[0]._replace(photo=blurred)])
    )
    assert made.shares[1] < 0.02
    assert np.abs(made.lit[_on_the_object(result)].astype(int) - one.lit[_on_the_object(result)]).mean() < 2


def test_a_larger_picture_of_the_object_shows_it_further_from_the_middle(known):
    result, middle = known.result, known.result.camera.intrinsics[2]
    still = seen(result, None, None)._replace(view=np.zeros(6, np.float32))
    plain, larger = (
        project_texels(still._replace(size=size), surface(result), result.camera, 64).place - middle
        for size in (0.0, 0.1)
    )
    ratio = np.median(larger[8:24, 8:24] / plain[8:24, 8:24])
    assert abs(ratio - np.exp(0.1)) < 0.01


def test_what_lies_outside_the_photo_is_not_its_border_repeated(known):
    """The photo ends within the object, in a green border; the model saw a crop in which that goes on."""
    photo = known.photo[:, :150].copy()
    photo[:, -1:] = (0, 255, 0)
    outside = (
        project_texels(seen(known.result, None, None), surface(known.result), known.result.camera, 32).place[..., :1]
        > 150 / 8 - 1
    )
    green = np.where(outside, np.array([-1, 1, -1]), known.result.signed_albedo)
    texture = photo_texture(dataclasses.replace(known.result, signed_albedo=green), photo, known.box)
    right = _on_the_object(known.result) & np.kron(outside[..., 0], np.ones((8, 8), bool))
    colours = texture.lit[right].astype(int)
    assert right.sum() > 2_000
    assert (colours[:, 1] > colours[:, 0] + 80).mean() < 0.01


def test_what_neither_half_shows_has_the_models_colours_matched_to_the_photos(known):
    result = dataclasses.replace(
        known.result, signed_albedo=np.full_like(known.result.signed_albedo, -0.6)
    )  # a dark model
    texture = photo_texture(result, known.photo, known.box)
    inside = _on_the_object(result)
    made_up = (texture.sources[..., 2] > 0.9) & inside
    assert made_up.any()
    np.testing.assert_allclose(texture.sources.sum(-1), 1, atol=1e-5)
    assert abs(texture.albedo[made_up].mean() / 255 - known.texture.mean()) < 0.1  # the model's own is 0.2


def test_dark_sides_do_not_explode():
    rendered = photographed(light=(0.02, 0.9, 2.0, 0.0))
    texture = photo_texture(rendered.result, rendered.photo, rendered.box)
    inside = _on_the_object(rendered.result)
    dark = inside & (rendered.shading < 0.15)
    assert dark.sum() > 2_500
    assert (texture.albedo[dark] > 250).mean() < 0.01
    means = texture.albedo[inside].mean(0) / 255, texture.albedo[dark].mean(0) / 255
    assert np.abs(means[0] - means[1]).max() < 0.15


def test_clipped_highlights_keep_their_hue(known):
    bright = np.clip(known.photo.astype(float) * (2.2, 1.5, 1.0), 0, 255).astype(np.uint8)  # red is lost
    clipped = bright[..., 0] == 255
    assert 0.1 < clipped.mean() < 0.9
    texture = photo_texture(known.result, bright, known.box)
    visible = texture.sources[..., 0] > 0.99
    reddish = texture.albedo[visible].astype(float).mean(0)
    assert reddish[0] > 0.95 * reddish[1]


def test_texels_are_seen_where_no_triangle_is_in_front():
    side, size = 16, 48
    hills = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(side, side)), 1.5)
    depth = 1 + 0.05 * hills / np.abs(hills).max()  # that hide each other
    view = np.array([0.2, 0.7, 0, 0, 0, 0])
    result = plain_result(side=side, depth=depth, view=view)
    projection = project_texels(seen(result, None, None), surface(result, cut=False), result.camera, size)
    points = cameras.transform(cameras.back_project(result.depth, result.camera), result.view, result.camera)
    points = np.asarray(points)
    corners = points.reshape(-1, 3)[grid_faces(side, side)].astype(float)
    slopes = (projection.place.reshape(-1, 2) - result.camera.intrinsics[2]) / result.camera.focal_length
    rays = np.concatenate([slopes, np.ones((len(slopes), 1))], -1)
    first = _first_hit(corners, rays)
    own = _own_depth(points, side, size).reshape(-1)
    pitch = 1 / result.camera.focal_length
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    facing = np.sum(normal * points, axis=-1) / np.linalg.norm(normal, axis=-1) / np.linalg.norm(points, axis=-1)
    faced = np.kron(facing, np.ones((3, 3))).reshape(-1) > 0.4  # others are turned away
    hidden, shown = own > first + pitch, (own < first + 0.05 * pitch) & faced
    visible = projection.visible.reshape(-1)
    assert hidden.sum() > 100 and shown.sum() > 500
    assert (
        visible[hidden] > 0
    ).mean() < 0.05  # next to an edge that hides them, where samples are an eighth of a pixel
    assert (visible[shown] > 0).mean() > 0.98


def _first_hit(corners: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Depth of the nearest triangle on each ray from the origin, every pair of them tried (T. Moeller, B. Trumbore)."""
    a, b, c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(rays[:, None], c[None])
    determinant = np.einsum("rfi,fi->rf", p, b)
    u = np.einsum("rfi,fi->rf", p, -a) / determinant
    q = np.cross(-a, b)
    v = rays @ q.T / determinant
    distance = np.einsum("fi,fi->f", q, c)[None] / determinant
    hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (distance > 0)
    return np.where(hit, distance, np.inf).min(1)


def _own_depth(points: np.ndarray, side: int, size: int) -> np.ndarray:
    """Depth of each texel, from its cell's triangle."""
    at = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    cell = np.minimum(at.astype(int), side - 2)
    s, t = np.meshgrid(at - cell, at - cell, indexing="ij")
    z = [[points[np.ix_(cell + i, cell + j)][..., 2] for j in (0, 1)] for i in (0, 1)]
    near = z[0][0] + t * (z[0][1] - z[0][0]) + s * (z[1][0] - z[0][0])
    far = z[1][1] + (1 - t) * (z[1][0] - z[1][1]) + (1 - s) * (z[0][1] - z[1][1])
    return np.where(s + t <= 1, near, far)


def test_colours_beside_the_object_do_not_get_onto_it(known, texture):
    """The background is blue; nothing on the mesh is."""
    inside = _on_the_object(known.result)
    bluer = texture.lit[inside].astype(int)
    true = (known.texture * known.shading[..., None])[inside] * 255
    assert ((bluer[:, 2] - bluer[:, 0]) > (true[:, 2] - true[:, 0]).max() + 25).mean() < 0.002


def test_where_hair_lies_over_skin_no_gain_comes_from_there():
    skin = np.full((256, 256), 0.5, np.float32)
    known = np.zeros_like(skin)
    known[:, :128] = 1
    target = 1.2 * skin
    target[96:160, 112:128] = 0.1  # hair, at the end of what is known
    shown = matched(skin, target, known)
    np.testing.assert_allclose(shown[:, 128:], 0.6, atol=0.01)
    np.testing.assert_allclose(matched(skin, np.full_like(skin, 0.2), known), 0.2, atol=0.01)  # dark everywhere


def test_filling_keeps_what_is_known_and_goes_on_smoothly():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(37, 50)).astype(np.float32)
    weight = (rng.uniform(size=(37, 50)) > 0.5).astype(np.float32)
    out = filled(values, weight)
    np.testing.assert_allclose(out[weight == 1], values[weight == 1], atol=1e-6)
    assert out.min() >= values.min() - 1e-5 and out.max() <= values.max() + 1e-5
    flat = filled(np.full((40, 40), 0.3, np.float32), np.eye(40, dtype=np.float32))
    np.testing.assert_allclose(flat, 0.3, atol=1e-5)
    assert not filled(values, np.zeros((37, 50), np.float32)).any()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a b")
    rendered = photographed(box=BOX)
    image = photographed().photo.reshape(32, 8, 32, 8, 3).mean((1, 3)) / 127.5 - 1
    save_result(dataclasses.replace(rendered.result, signed_image=image), folder / "result")
    Image.fromarray(rendered.photo).save(folder / "it's.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies in the file turned by a quarter
    turned = Image.fromarray(np.rot90(rendered.photo).copy()).resize((700, 800))
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    return folder


@pytest.fixture(scope="module")
def written(places):
    """The folder of the textured files, and the textures that they are made of."""
    out = places / "new folder"
    assert command.main(["texture", str(places / "result"), str(places / "it's.png"), *_PLACE, "--out", str(out)]) == 0
    rendered = photographed(box=BOX)
    return out, photo_texture(rendered.result, rendered.photo, BOX)


def test_all_files_are_there_and_one_model_is_lit_by_its_viewer(written):
    folder, texture = written
    names = {f"texture{kind}.png" for kind in ("", "_unlit", "_sources")} | {"textured.glb"}
    names |= {f"mesh.{kind}" for kind in ("glb", "obj", "mtl", "jpg")}
    there = {path.name for path in folder.iterdir()} - {"model.usdz"}  # which takes the extra `usdz`
    assert there == names | {"photo_crop.jpg", "photo.json", "files.json"}
    unlit = {"KHR_materials_unlit": {}}
    for name, made, extensions in (("textured", texture.albedo, None), ("mesh", texture.lit, unlit)):
        content = (folder / f"{name}.glb").read_bytes()
        tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
        assert [material.get("alphaMode") for material in tree["materials"]] == [None, "BLEND"]
        for material in tree["materials"]:
            assert material.get("extensions") == extensions and material["doubleSided"]
            factors = material["pbrMetallicRoughness"]
            assert factors["metallicFactor"] == 0 and factors["roughnessFactor"] == 1
        assert [image["mimeType"] for image in tree["images"]] == ["image/jpeg"]
        stored = read_mesh(folder / f"{name}.glb").visual.material.baseColorTexture
        assert stored.size == (256, 256) and np.abs(np.asarray(stored.convert("RGB"), int) - made).mean() < 2.5
        png = np.asarray(Image.open(folder / ("texture.png" if name == "textured" else "texture_unlit.png")))
        np.testing.assert_array_equal(png, made)


def test_obj_and_glb_wear_the_same_picture_and_the_albedo_that_an_obj_wore_is_gone(places, tmp_path):
    folder = tmp_path / "result"
    write_outputs(load(places / "result"), folder, options=OutputOptions("mesh"))
    assert (folder / "mesh.png").is_file() and "map_Kd mesh.png" in (folder / "mesh.mtl").read_text()
    assert command.main(["texture", str(folder), str(places / "it's.png"), *_PLACE]) == 0
    assert not (folder / "mesh.png").exists() and examine(folder) == {}
    obj, glb = (read_mesh(folder / f"mesh.{kind}") for kind in ("obj", "glb"))
    np.testing.assert_allclose(obj.vertices, glb.vertices, atol=1e-7)
    worn = [obj.visual.material.image, glb.visual.material.baseColorTexture]
    np.testing.assert_array_equal(*(np.asarray(picture.convert("RGB")) for picture in worn))


def test_the_mesh_faces_the_viewer_ends_at_the_object_and_has_the_colours_of_the_photo(written):
    folder, texture = written
    mesh = read_mesh(folder / "mesh.glb")
    assert mesh.face_normals[:, 2].min() > 0 and mesh.vertex_normals[:, 2].min() > 0
    x, y = (mesh.visual.uv.T * 32 - 0.5) / 31 * 2 - 1
    assert 0.9 < np.hypot(x / 0.75, y / 0.85).max() < 1.05
    stored = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), float) / 255
    at = np.clip(np.stack([(1 - mesh.visual.uv[:, 1]), mesh.visual.uv[:, 0]]) * 256, 0, 255).astype(int)
    rendered = photographed(box=BOX)
    true = (rendered.texture * rendered.shading[..., None])[tuple(at)]
    visible = texture.sources[tuple(at)][:, 0] > 0.99
    assert visible.sum() > 100
    assert np.abs(stored[tuple(at)] - true)[visible].mean() < 0.03


def test_the_crop_its_place_and_what_is_made_up_are_kept(written):
    folder, texture = written
    record = json.loads((folder / "photo.json").read_text())
    assert CropBox(**record["box"]) == BOX
    assert record["photo"] == {"width": 400, "height": 350} and record["texture_size"] == 256
    assert list(record["sources"]) == ["photo", "mirrored", "model"]
    np.testing.assert_allclose(list(record["sources"].values()), texture.shares, atol=6e-4)
    crop = np.asarray(Image.open(folder / "photo_crop.jpg"), float) / 255
    plain = photographed()
    assert crop.shape == plain.photo.shape
    assert np.abs(crop - plain.photo / 255).mean() < 0.02  # turned back


def test_it_turns_photos_upright_and_says_what_is_made_up(places, tmp_path, capsys):
    place = ["--box", "410", "330", "512", "--roll", "7.5"]
    words = ["texture", str(places / "result"), str(places / "turned.jpg"), *place, "--size", "256", "--no-mirror"]
    assert command.main([*words, "--out", str(tmp_path / "new folder")]) == 0
    said = capsys.readouterr().out
    assert "texture of 256 x 256" in said and "% from the photo" in said and "0% mirrored" in said
    mesh = read_mesh(tmp_path / "new folder" / "textured.glb")
    assert mesh.visual.material.baseColorTexture.size == (256, 256)


def test_maps_are_of_the_upright_photo(places, tmp_path, capsys):
    words, out = ["maps", str(places / "result"), str(places / "turned.jpg")], tmp_path / "new folder"
    assert command.main([*words, "--box", "410", "330", "512", "--roll", "7.5", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert str(out / "photo_depth.png") in said and said.endswith("800 x 700 pixels\n")
    assert sorted(path.name for path in out.iterdir()) == ["files.json", *sorted(MAPS)]
    assert {picture_sides(out / name) for name in MAPS} == {(700, 800)}
    smaller = photo_maps(photographed(box=BOX).result, photographed(box=BOX).photo, BOX)
    upright, half = (
        np.asarray(Image.open(io.BytesIO(content)), float)
        for content in ((out / "photo_mask.png").read_bytes(), smaller["photo_mask.png"])
    )
    assert np.abs(upright.reshape(350, 2, 400, 2).mean((1, 3)) - half).mean() < 3
    assert command.main([*words, "--out", str(tmp_path / "other")]) == 1 and not (tmp_path / "other").exists()
    assert "does not show the input of known" in capsys.readouterr().err


def test_the_other_half_is_taken_of_symmetric_objects_alone(places, tmp_path, capsys):
    result = tmp_path / "result"
    shutil.copytree(places / "result", result)
    words = ["texture", str(result), str(places / "it's.png"), *_PLACE, "--size", "256", "--out", str(tmp_path / "out")]
    said = []
    for flips in ((True, False), (False, False)):
        config = load_config("own").unlock()
        config.schedule.flip3 = flips
        (result / "config.json").write_text(to_json(config))
        assert command.main(words) == 0
        said.append(capsys.readouterr().out)
    assert " 0% mirrored" not in said[0] and " 0% mirrored" in said[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "does not show the input of known"),  # the centred square, not turned
        (["--box", "9000", "165", "256"], "outside the photo"),
    ],
)
def test_it_explains_what_is_wrong(places, capsys, words, message):
    assert command.main(["texture", str(places / "result"), str(places / "it's.png"), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error
