"""Files of a result with its photo's texture, as other programs read them."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import trimesh
from helpers.photographed import photographed
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.results.photo_files import difference_from_photo, write_photo_textured

BOX = CropBox(410, 330, 512, 7.5)
FILES = {
    "textured.glb",
    "textured_unlit.glb",
    "texture.png",
    "texture_unlit.png",
    "texture_sources.png",
    "photo_crop.jpg",
    "photo.json",
}


@pytest.fixture(scope="module")
def known():
    return photographed(box=BOX)


@pytest.fixture(scope="module")
def written(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a b")
    texture = write_photo_textured(known.result, known.photo, BOX, folder)
    return folder, texture


def _tree(path) -> dict:
    content = path.read_bytes()
    assert content[:4] == b"glTF" and struct.unpack("<I", content[8:12])[0] == len(content)
    return json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])


def test_all_files_are_there(written):
    assert {path.name for path in written[0].iterdir()} == FILES


def test_one_model_is_lit_by_its_viewer_and_the_other_is_not(written):
    folder, _ = written
    (lit,), (unlit,) = (_tree(folder / f"{name}.glb")["materials"] for name in ("textured", "textured_unlit"))
    assert "extensions" not in lit and unlit["extensions"] == {"KHR_materials_unlit": {}}
    for material in (lit, unlit):
        assert material["doubleSided"]
        assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
        assert material["pbrMetallicRoughness"]["roughnessFactor"] == 1


@pytest.mark.parametrize("name, field", [("textured", "albedo"), ("textured_unlit", "lit")])
def test_models_have_the_textures_at_their_full_size_and_quality(written, name, field):
    folder, texture = written
    (image,) = _tree(folder / f"{name}.glb")["images"]
    assert image["mimeType"] == "image/jpeg"
    mesh = trimesh.load(folder / f"{name}.glb", force="mesh")
    stored = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), int)
    made = getattr(texture, field)
    assert stored.shape == made.shape == (512, 512, 3)
    assert np.abs(stored - made).mean() < 2.5
    png = np.asarray(Image.open(folder / {"albedo": "texture.png", "lit": "texture_unlit.png"}[field]))
    np.testing.assert_array_equal(png, made)


def test_the_mesh_faces_the_viewer_and_ends_at_the_object(written, known):
    mesh = trimesh.load(written[0] / "textured.glb", force="mesh", process=False)
    assert mesh.face_normals[:, 2].min() > 0 and mesh.vertex_normals[:, 2].min() > 0
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, atol=1e-5)
    side = known.result.camera.image_size
    column, row = mesh.visual.uv[:, 0] * side - 0.5, (1 - mesh.visual.uv[:, 1]) * side - 0.5
    radius = np.hypot(*((np.stack([column, row]) / (side - 1) * 2 - 1) / [[0.75], [0.85]]))
    assert 0.9 < radius.max() < 1.05


def test_texture_coordinates_lead_to_the_colours_of_the_photo(written, known):
    """The colour at a vertex is that of the photo where the vertex is seen."""
    folder, texture = written
    mesh = trimesh.load(folder / "textured_unlit.glb", force="mesh", process=False)
    stored = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), float) / 255
    at = np.clip(np.stack([(1 - mesh.visual.uv[:, 1]), mesh.visual.uv[:, 0]]) * 512, 0, 511).astype(int)
    true = (known.texture * known.shading[..., None])[tuple(at)]
    seen = texture.sources[tuple(at)][:, 0] > 0.99
    assert seen.sum() > 100
    assert np.abs(stored[tuple(at)] - true)[seen].mean() < 0.03


def test_the_crop_and_its_place_are_kept(written, known):
    folder, _ = written
    record = json.loads((folder / "photo.json").read_text())
    assert CropBox(**record["box"]) == BOX
    assert record["photo"] == {"width": 800, "height": 700} and record["texture_size"] == 512
    crop = np.asarray(Image.open(folder / "photo_crop.jpg"), float) / 255
    plain = photographed()
    assert crop.shape == plain.photo.shape
    assert np.abs(crop - plain.photo / 255).mean() < 0.02  # turned back


def test_where_colours_are_from_is_drawn(written):
    folder, texture = written
    drawn = np.asarray(Image.open(folder / "texture_sources.png"))
    assert (drawn[texture.sources[..., 0] > 0.999] == 217).all()
    model = drawn[texture.sources[..., 2] > 0.999]
    assert (model[:, 0] > model[:, 2]).all()
    assert texture.shares.sum() == pytest.approx(1, abs=1e-4)


def test_another_photo_or_place_is_told_by_its_difference(known):
    image = photographed().photo.reshape(32, 16, 32, 16, 3).mean((1, 3)) / 127.5 - 1
    result = dataclasses.replace(known.result, image=image)
    assert difference_from_photo(result, known.photo, BOX) < 0.03
    assert difference_from_photo(result, known.photo[::-1].copy(), BOX) > 0.1


def test_a_folder_that_is_not_there_is_refused(known, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        write_photo_textured(known.result, known.photo, BOX, tmp_path / "nowhere", largest=128)
