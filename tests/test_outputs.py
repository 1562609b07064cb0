"""The result record and the files written from it: exact on disk, whole or absent, and true to the
data.
"""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gan2shape_jax import lighting
from gan2shape_jax.camera import Camera
from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.outputs import (
    OutputOptions,
    Result,
    Row,
    draw_gan_views,
    gan_views,
    load_result,
    print_table,
    render_command,
    save_result,
    sweeps,
    views,
    write_metrics,
    write_outputs,
    write_page,
    write_table,
)
from gan2shape_jax.outputs.folder import atomic_folder

SIZE = 16


@pytest.fixture(scope="module")
def result() -> Result:
    """A lopsided bump on a sheet, with colours that differ from pixel to pixel."""
    camera = Camera(SIZE)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
    height = np.clip(1 - (x - 0.1) ** 2 - y**2, 0, None)
    depth = (1.05 - 0.08 * height).astype(np.float32)
    mask = (height > 0.2).astype(np.float32)
    albedo = rng.uniform(-0.9, 0.6, (SIZE, SIZE, 3)).astype(np.float32)
    light = np.array([0.4, 0.6, 0.3, -0.2], np.float32)
    shading, _ = lighting.shade(np.asarray(lighting.normals(depth, camera)), light)
    canonical = np.clip(np.asarray(lighting.apply_shading(albedo, shading)), -1, 1)
    return Result(
        name="bump",
        camera=camera,
        depth=depth,
        albedo=albedo,
        light=light,
        mask=mask,
        view=np.array([0.1, -0.3, 0.02, 0.001, 0.002, 0], np.float32),
        image=canonical,
        input_mask=mask,
        canonical=canonical,
        reconstruction=canonical,
        warped_depth=depth,
        true_depth=depth,
        metrics={"side": 0.01, "mad": 20.5, "prior": {"side": 0.02, "mad": 30.0}},
        category="face",
    )


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    """A folder with everything, the "GAN" being a negative at half the size."""
    folder = tmp_path_factory.mktemp("run") / "bump"
    write_outputs(
        result,
        folder,
        gan_project=lambda pictures: -pictures[:, ::2, ::2],
        options=OutputOptions(picture_size=32, turntable_frames=4),
        extra={"history.csv": b"a,b\n"},
    )
    return folder


def test_a_saved_result_comes_back_bit_for_bit(result, tmp_path):
    save_result(result, tmp_path / "r")
    again = load_result(tmp_path / "r")
    for field in dataclasses.fields(Result):
        before, after = getattr(result, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == np.float32 and np.array_equal(before, after), field.name
        else:
            assert before == after, field.name


def test_the_written_folder_is_loadable_and_has_the_depth_as_float32(result, written):
    assert np.array_equal(load_result(written).depth, result.depth)
    assert np.load(written / "depth.npy").dtype == np.float32


@pytest.mark.parametrize("name", ["result.json", "depth.npy", "true_depth.npy"])
@pytest.mark.parametrize("harm", ["remove", "truncate", "empty", "flip"])
def test_a_damaged_result_is_refused_by_the_name_of_its_file(result, tmp_path, name, harm):
    save_result(result, tmp_path / "r")
    path = tmp_path / "r" / name
    contents = path.read_bytes()
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        middle = len(contents) // 2
        path.write_bytes(
            contents[:middle] + bytes([contents[middle] ^ 0xFF]) + contents[middle + 1 :]
        )
    else:
        path.write_bytes(contents[: len(contents) // 2] if harm == "truncate" else b"")
    with pytest.raises(UserError, match=name):
        load_result(tmp_path / "r")


def test_another_format_version_is_refused(result, tmp_path):
    save_result(result, tmp_path / "r")
    path = tmp_path / "r" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="version 99"):
        load_result(tmp_path / "r")


def test_arrays_of_another_shape_or_not_finite_are_refused(result):
    with pytest.raises(ValueError, match="albedo"):
        dataclasses.replace(result, albedo=result.albedo[:-1])
    with pytest.raises(ValueError, match="depth"):
        dataclasses.replace(result, depth=np.full_like(result.depth, np.nan))


def test_an_interrupted_folder_leaves_the_former_one_and_no_rubbish(tmp_path):
    target = tmp_path / "r"
    with atomic_folder(target) as fresh:
        (fresh / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as fresh:
        (fresh / "a").write_text("new")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    with atomic_folder(target) as fresh:
        (fresh / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]


def test_a_full_disk_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(DiskFullError, match="the disk is full"), atomic_folder(tmp_path / "r"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_every_promised_file_is_there(written):
    stills = [
        "depth",
        "normals",
        "albedo",
        "canonical",
        "reconstruction",
        "mask",
        "input",
        "overview",
    ]
    stills += ["turntable", "relight", "turntable_gan", "relight_gan"]
    stills += [f"turntable_{show}" for show in ("albedo", "normals", "shape", "full", "shape_full")]
    names = [f"{name}.png" for name in stills] + [
        "camera.json",
        "metrics.json",
        "depth.npy",
        "history.csv",
    ]
    names += [
        f"{name}{end}"
        for name in ("turntable", "relight", "turntable_gan", "relight_gan")
        for end in (".gif", ".mp4")
    ]
    assert not [name for name in names if not (written / name).stat().st_size]
    with Image.open(written / "turntable.gif") as gif:
        assert gif.n_frames == 4 and gif.info["loop"] == 0


def test_pictures_show_the_arrays(result, written):
    def shown(name):
        return np.asarray(Image.open(written / name), np.float32) / 127.5 - 1

    assert np.abs(shown("albedo.png") - result.albedo).max() <= 0.5 / 127.5 + 1e-6
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    assert np.abs(shown("normals.png") - normal).max() <= 0.5 / 127.5 + 1e-6


def test_depth_picture_is_brighter_where_nearer_and_names_its_range(result, written):
    with Image.open(written / "depth.png") as picture:
        assert "scene units" in picture.info["Description"]
        brightness = np.asarray(picture.convert("L"), np.float32)
    inside = result.mask > 0
    correlation = np.corrcoef(brightness[inside], result.depth[inside])[0, 1]
    assert correlation < -0.95


def test_camera_file_projects_as_the_camera_does(result, written):
    description = json.loads((written / "camera.json").read_text())
    matrix = np.array(description["intrinsics"])
    u, v, w = matrix @ [0.02, -0.01, 1.05]
    expected = np.array([0.02, -0.01]) / 1.05 * result.camera.focal_length + (SIZE - 1) / 2
    np.testing.assert_allclose([u / w, v / w], expected, rtol=1e-6)
    assert description["view"]["ry"] == pytest.approx(-0.3)
    assert {"axes", "units", "view", "light", "normals"} <= set(description["conventions"])


def test_frontal_view_shows_the_canonical_picture(result):
    """The lit mesh from the front is the canonical picture, softened by averaging samples."""
    ramp = np.linspace(-0.8, 0.6, SIZE, dtype=np.float32)
    albedo = np.stack(np.broadcast_arrays(ramp, ramp[:, None], -ramp), axis=-1)
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    shading = np.asarray(lighting.shade(normal, result.light)[0])
    expected = np.clip(np.asarray(lighting.apply_shading(albedo, shading)), -1, 1)
    surfaces = views.draw(
        dataclasses.replace(result, albedo=albedo), views.sweep_views(), size=SIZE, cut=False
    )
    drawn = views.picture(surfaces, "image", light=result.light)[0].astype(np.float32) / 127.5 - 1
    assert np.abs(drawn - expected)[3:-3, 3:-3].max() < 0.06


def test_views_do_not_depend_on_how_many_are_drawn_together(result):
    turns = views.sweep_views(yaw_deg=[-40, -20, 0, 20, 40])
    together = views.draw(result, turns, size=32)
    alone = views.draw(result, turns[4:], size=32)
    np.testing.assert_allclose(together.albedo[4], alone.albedo[0], atol=1e-6)
    np.testing.assert_allclose(together.depth[4], alone.depth[0], atol=1e-6)


def test_cutting_removes_what_lies_outside_the_mask(result):
    whole = views.draw(result, views.sweep_views(), size=SIZE, cut=False).coverage[0]
    part = views.draw(result, views.sweep_views(), size=SIZE).coverage[0]
    assert whole[2:-2, 2:-2].min() == 1
    assert np.abs(part - result.mask)[result.mask == 1].mean() < 0.1
    assert part[0].max() == 0 and part[:, 0].max() == 0


def test_positive_yaw_turns_the_front_left_and_positive_dx_lights_from_the_left(result):
    spot = np.full_like(result.albedo, -1)
    spot[np.unravel_index(result.depth.argmin(), result.depth.shape)] = 1
    surfaces = views.draw(
        dataclasses.replace(result, albedo=spot), views.sweep_views(yaw_deg=[0, 40]), size=32
    )
    front, turned = (view.sum(axis=(0, 2)).argmax() for view in surfaces.albedo)
    assert turned < front - 2
    lit = views.picture(
        dataclasses.replace(surfaces, albedo=np.ones_like(surfaces.albedo)),
        "image",
        light=np.array([0.0, 1.0, 1.0, 0.0], np.float32),
    )[0].mean(axis=-1)
    seen = surfaces.coverage[0] > 0.9
    assert lit[:, :16][seen[:, :16]].mean() > lit[:, 16:][seen[:, 16:]].mean() + 20


@pytest.mark.parametrize(
    "category, yaw", [("car", 45), ("church", 45), ("horse", 45), ("cat", 70), ("face", 70)]
)
def test_the_turntable_sweeps_as_far_as_the_method_says(category, yaw):
    turns = np.rad2deg(sweeps.turn_views(category))
    np.testing.assert_allclose(turns[:9, 1], np.linspace(-yaw, yaw, 9), atol=1e-4)
    np.testing.assert_allclose(turns[9:, 0], np.linspace(-20, 20, 5), atol=1e-4)


def test_relighting_keeps_the_sum_of_strengths_as_the_method_says(result):
    lights = sweeps.relight_rows(result.light)
    assert lights.shape == (4, 5, 4)
    np.testing.assert_allclose(lights[0, 0], [0.4 - 0.18, 0.9, -1.5, 0], atol=1e-6)
    np.testing.assert_allclose(lights[3, 4], [0.4 - 0.36, 1.2, 1.5, 0.6], atol=1e-6)


def test_gan_views_project_every_view_and_light_once_in_equal_batches(result):
    sizes, seen = [], []

    def project(pictures):
        sizes.append(len(pictures))
        seen.append(pictures)
        return pictures

    drawn = draw_gan_views(result, project, batch=8)
    assert sizes == [8] * 5
    assert drawn.yaws.shape == (9, SIZE, SIZE, 3) and drawn.pitches.shape == (5, SIZE, SIZE, 3)
    np.testing.assert_array_equal(drawn.yaws, np.concatenate(seen)[:9])
    assert drawn.lights.shape == (4, 5, SIZE, SIZE, 3)
    # The two frontal pictures of the sweeps are one, and the canonical picture but for sampling.
    np.testing.assert_allclose(drawn.yaws[4], drawn.pitches[2], atol=1e-6)
    assert np.abs(drawn.yaws[4] - result.canonical)[2:-2, 2:-2].mean() < 0.05


def test_gan_views_are_lit_from_the_side_that_was_asked_for(result):
    white = dataclasses.replace(result, albedo=np.full_like(result.albedo, -0.2), view=np.zeros(6))
    lights = draw_gan_views(white, lambda pictures: pictures).lights[-1].mean(axis=-1)
    halves = [picture[4:-4, 8:-4].mean() - picture[4:-4, 4:8].mean() for picture in lights]
    assert np.all(np.diff(halves) < 0)  # from the right to the left


def test_relit_textures_agree_with_shading_one_by_one(result):
    lights = sweeps.relight_rows(result.light).reshape(-1, 4)
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    textures = gan_views._textures(result.albedo, normal, lights)
    direction = np.concatenate([lights[:, 2:], np.ones((20, 1))], axis=-1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    facing = np.maximum(0, np.einsum("hwc,kc->khw", normal, direction))
    shading = lights[:, 0, None, None] + lights[:, 1, None, None] * facing
    np.testing.assert_allclose(
        textures, (result.albedo / 2 + 0.5) * shading[..., None] * 2 - 1, atol=1e-5
    )


def test_metrics_file_has_the_promised_keys_and_no_nan(result, written, tmp_path):
    metrics = json.loads((written / "metrics.json").read_text())
    assert metrics["side"] == 0.01 and metrics["prior"]["mad"] == 30.0
    assert metrics["reconstruction_l1"] == 0 and metrics["inversion_l1"] is None
    write_metrics(tmp_path / "m.json", {"side": np.float32(0.5), "mad": float("nan")})
    assert json.loads((tmp_path / "m.json").read_text()) == {"side": 0.5, "mad": None}


def test_table_has_a_row_an_image_then_mean_and_median_of_what_is_known(tmp_path):
    rows = [
        Row("a", metrics={"side": 0.01, "mad": 10.0, "prior": {"side": 0.03}}),
        Row("b|c", "failed: x"),
        Row("d", metrics={"side": 0.02}),
        Row("e", metrics={"side": 0.06, "mad": float("nan")}),
    ]
    write_table(tmp_path, rows)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    cells = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [row["name"] for row in cells] == ["a", "b|c", "d", "e", "mean", "median"]
    assert float(cells[4]["side"]) == pytest.approx(0.03) and float(cells[5]["side"]) == 0.02
    assert cells[1]["side"] == "" and cells[3]["mad"] == "" and float(cells[4]["mad"]) == 10
    assert float(cells[0]["prior_side"]) == 0.03 and cells[1]["status"] == "failed: x"
    text = (tmp_path / "results.md").read_text().splitlines()
    assert len({line.replace("\\|", "").count("|") for line in text}) == 1


def test_an_empty_table_is_still_a_table(tmp_path):
    write_table(tmp_path, [])
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 3


def test_page_links_what_exists_and_escapes_names(written):
    write_page(written.parent, [Row("bump"), Row("<b>", "failed: <i>")])
    page = (written.parent / "index.html").read_text()
    assert "bump/overview.png" in page and "bump/mesh.glb" in page
    assert "<b>" not in page and "<i>" not in page and "%3Cb%3E/overview.png" not in page


@pytest.mark.parametrize(
    "arguments, shape",
    [
        (["--yaw", "-30", "0", "30"], (32, 96)),
        (["--what", "depth", "--no-mask"], (32, 32)),
        (["--yaw", "-60", "60", "--frames", "4", "--what", "shape"], (32, 128)),
        (["--base", "input", "--light", "1", "0", "--ambient", "0.1"], (32, 32)),
    ],
)
def test_render_command_writes_strips(written, tmp_path, arguments, shape):
    out = tmp_path / "view.png"
    assert render_command.main([str(written), *arguments, "--size", "32", "--out", str(out)]) == 0
    picture = np.asarray(Image.open(out))
    assert picture.shape == (*shape, 3) and picture.std() > 5


def test_render_command_writes_animations(written, tmp_path):
    out = tmp_path / "turn.gif"
    assert (
        render_command.main(
            [
                str(written),
                "--light",
                "-1",
                "0",
                "--light",
                "1",
                "0",
                "--frames",
                "5",
                "--size",
                "32",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    with Image.open(out) as gif:
        assert gif.n_frames == 5


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--size", "0"], "--size"),
        (["--out", "x.bmp"], ".bmp"),
        (["--yaw", "nan"], "finite"),
        (["--yaw", "1", "2", "--pitch", "1", "2", "3"], "--yaw"),
        (["--out", "nowhere/x.png"], "nowhere"),
        (["--frames", "0"], "--frames"),
    ],
)
def test_render_command_explains_what_is_wrong(written, capsys, arguments, message):
    assert render_command.main([str(written), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


def test_render_command_refuses_a_folder_that_is_no_result(tmp_path, capsys):
    assert render_command.main([str(tmp_path)]) == 1
    assert "result.json" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 160])
def test_the_printed_table_cuts_no_number_off(width):
    metrics = {"side": 0.02903, "mad": 38.74, "mad_unit": 38.29, "prior": {"side": 0.02296, "mad": 37.18},
               "mae": 0.0239, "mse": 0.000896, "reconstruction_l1": 0.0702, "inversion_l1": 0.0441}
    console = Console(width=width, file=io.StringIO())
    print_table([Row("001", metrics=metrics), Row("long_name_7", "failed: no mask")], console)
    text = console.file.getvalue()
    assert "…" not in text
    for number in ("0.0290", "38.7", "0.0230", "37.2", "0.070", "0.044"):
        assert number in text
    assert ("0.000896" in text) == (width == 160)
