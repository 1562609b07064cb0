"""What belongs to the bundled faces is never given to images of the user's own, however these are named."""

import shutil
import textwrap
import warnings

import pytest
from PIL import Image

from gan2shape_jax import main as program
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.run import check

_ROOTS = ("latent_root", "mask_root", "depth_root")


@pytest.fixture
def photos(tmp_path):
    """A folder with a photo that has the name of a bundled face, and its list."""
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "001.png")
    (tmp_path / "list.txt").write_text("001.png\n")
    return {"data.image_list": str(tmp_path / "list.txt"), "data.image_root": str(tmp_path)}


def _roots(config) -> dict[str, str]:
    return {root: config.data[root] for root in _ROOTS}


def test_own_images_get_nothing_of_the_bundled_faces(photos):
    with pytest.warns(UserWarning, match="dropped config.data.latent_root .*") as told:
        config = apply_overrides(load_config("ictface:scratch"), photos)
    assert _roots(config) == dict.fromkeys(_ROOTS, "")
    (message,) = [str(warning.message) for warning in told]
    assert "\n" not in message and all(f"config.data.{root} {asset('ictface')}" in message for root in _ROOTS)


def test_check_asks_for_the_masks_of_own_images(photos, capsys):
    """Not content with those of the bundled faces."""
    arguments = ["--config=ictface:scratch", "--check", *(f"--config.{field}={path}" for field, path in photos.items())]
    assert program.main(arguments) == 1
    printed = capsys.readouterr().err
    assert "warning: dropped config.data.latent_root" in printed and "error" in printed
    assert "config.data.mask_root: (empty: not given)" in printed


@pytest.mark.parametrize("root", _ROOTS)
def test_a_folder_that_the_user_names_stays(root, photos, tmp_path):
    for folder in (str(tmp_path / "mine"), asset("ictface/latents")):  # the bundled one, too, where it is named
        with pytest.warns(UserWarning, match="dropped") as told:
            config = apply_overrides(load_config("ictface:scratch"), photos | {f"data.{root}": folder})
        assert _roots(config) == dict.fromkeys(_ROOTS, "") | {root: folder}
        assert f"config.data.{root} " not in str(told[0].message)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"data.latent_root": ""},
        {"data.mask_root": "masks"},
        {"data.image_root": asset("ictface/image") + "/"},
        {"data.image_list": "other.txt"},
    ],
)
def test_the_bundled_faces_keep_what_is_theirs(fields):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = apply_overrides(load_config("ictface:scratch"), fields)
    before = _roots(load_config("ictface:scratch"))
    assert _roots(config) == before | {
        path.removeprefix("data."): value for path, value in fields.items() if path.removeprefix("data.") in before
    }


def _config_file(folder, body: str) -> str:
    text = f"""\
        from gan2shape_jax.config import load_config


        def get_config():
            config = load_config("ictface:scratch").unlock()
            {body}
            return config
        """
    (folder / "mine.py").write_text(textwrap.dedent(text))
    return str(folder / "mine.py")


def test_the_rule_holds_for_config_files_that_start_from_ictface(tmp_path):
    with pytest.warns(UserWarning, match="dropped config.data.latent_root"):
        config = load_config(_config_file(tmp_path, "config.data.image_root = 'photos'"))
    assert _roots(config) == dict.fromkeys(_ROOTS, "") and config.is_locked
    spec = _config_file(tmp_path, "config.data.image_root, config.data.mask_root = 'photos', 'masks'")
    with pytest.warns(UserWarning, match="dropped"):
        config = load_config(spec)
    assert _roots(config) == {"latent_root": "", "mask_root": "masks", "depth_root": ""}
    assert _roots(apply_overrides(config, {"data.image_root": "more"}))["mask_root"] == "masks"


def test_folders_of_other_bundled_configurations_belong_to_their_images_too():
    """`--config=celeba` with photos named as CelebA's are would be given CelebA's latents."""
    with pytest.warns(UserWarning, match="dropped config.data.latent_root data/celeba/latents"):
        config = apply_overrides(load_config("celeba"), {"data.image_root": "photos"})
    assert config.data.latent_root == ""


def test_copies_of_the_bundled_faces_work_where_all_is_named(tmp_path):
    for part in ("image", "latents", "mask", "depth"):
        shutil.copytree(asset(f"ictface/{part}"), tmp_path / part)
    fields = {"image_root": "image", "latent_root": "latents", "mask_root": "mask", "depth_root": "depth"}
    given = {f"data.{field}": str(tmp_path / part) for field, part in fields.items()}
    config = apply_overrides(load_config("ictface:scratch"), given | {"workdir": str(tmp_path / "run")})
    assert check.examine(config) == []
