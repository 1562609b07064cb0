"""The kind of object a photo shows: the configuration with the lifted GAN's model that explains it."""

import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config, names
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.lift import model_file

__all__ = ["DEFAULT", "bundled_kinds", "load_kind"]

DEFAULT = "ictface"


def bundled_kinds() -> list[str]:
    """Returns the names of the bundled configurations whose GAN and model come with the package, sorted."""
    return [name for name in names() if _comes_along(load_config(name))]


def _comes_along(config: ConfigDict) -> bool:
    files = (config.networks.pretrained, config.gan.checkpoint)
    return all(file.startswith(asset("")) and pathlib.Path(file).is_file() for file in files)


def load_kind(model: str) -> ConfigDict:
    """Returns the configuration that goes with a model, naming the model's file and no images.

    Args:
      model: a configuration's name or file, as `--config` takes it, or the file of a model (.safetensors), which goes
        with the bundled configuration of its category.

    Raises:
      ConfigError: there is no such configuration, or it names no model.
      UserError: the model is damaged.
    """
    path = pathlib.Path(model)
    if path.suffix == ".safetensors":
        found = model_file.read_facts(path)
        if found is None:
            told = "is no model of a lifted GAN" if path.is_file() else "does not exist"
            raise ConfigError(f"--model: {model} {told}: gan2shape-jax lift makes one")
        category = found[0].category
        if category not in names():
            raise ConfigError(
                f"--model: {model} is of category {category[:80]!r}, for which there is no bundled configuration: name "
                "the configuration file that it was lifted with, whose networks.pretrained names the model"
            )
        config = load_config(category).unlock()
        config.networks.pretrained = str(path)
    else:
        config = load_config(model).unlock()
    given = config.networks.pretrained
    if not given or not pathlib.Path(given).is_file():
        lacks = f"names a model that is not there ({given})" if given else "names no model (networks.pretrained)"
        raise ConfigError(
            f"--model: the configuration {model} {lacks}, and photos are explained by one: lift its GAN (gan2shape-jax "
            f"lift --config={model}) and name the model.safetensors that comes out; models of "
            f"{', '.join(bundled_kinds())} come with the package"
        )
    for field in ("image_list", "image_root", "latent_root", "depth_root", "mask_root"):
        config.data[field] = ""
    return config.lock()
