"""A reconstruction small enough for tests: the bundled face 001, thin networks, a few iterations."""

import dataclasses
import functools
import pathlib
import pickle
import shutil
import tempfile

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io import image_lists
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.main import main
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.stylegan2 import weights
from helpers.command_line import overrides

SIZE = 32


def tiny_config(tmp_path, *, names=("001.png",), **fields) -> ConfigDict:
    """The bundled configuration shrunk; `fields` are set last, `__` standing for the dot."""
    config = load_config("ictface:scratch").unlock()
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(names) + "\n")
    config.workdir = str(tmp_path / "run")
    config.data.image_list = str(listed)
    config.image_size = config.gan.size = SIZE
    config.gan.checkpoint = str(tmp_path / "gan32.safetensors")
    pathlib.Path(config.gan.checkpoint).write_bytes(_gan())
    config.data.depth_root = str(tmp_path / "depth32")
    (tmp_path / "depth32").mkdir(exist_ok=True)
    for path in pathlib.Path(asset("ictface/depth")).iterdir():
        np.save(tmp_path / "depth32" / path.name, np.load(path)[::2, ::2])
    config.networks.update(width=8, group_base=4, zdim=16, encoder_width=4)
    config.prior.iterations = 4
    config.schedule.stages = ((3, 3, 4), (2, 2, 2))
    config.schedule.update(flip1=(False, False), flip3=(True, True))  # one program of step 3
    config.sampling.update(batch_size=2, collect_iters=2)
    config.checkpoint.every_iterations = 2
    config.logging.update(every_iterations=2, tensorboard=False)
    config.outputs.update(animation=False, picture_size=32, turntable_frames=4, gan_images=False)
    config.inversion.steps = 5
    config.refinement.samples = "projected"  # what every GAN has
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config.lock()


@functools.cache
def _gan() -> bytes:
    """The bundled GAN without its last level: a generator that still draws faces, and a discriminator of its size."""
    whole, params = weights.load(asset("ictface/gan.safetensors"))
    widths = whole.channels[:-1]
    arch = dataclasses.replace(whole, size=SIZE, channels=widths, discriminator_channels=widths)
    generator, discriminator = params["generator"], dict(params["discriminator"])
    count = {"layers": arch.layers, "noise": arch.layers, "to_rgb": len(widths)}
    generator |= {name: {str(k): generator[name][str(k)] for k in range(n)} for name, n in count.items()}
    discriminator["blocks"] = {str(k): discriminator["blocks"][str(k + 1)] for k in range(len(widths) - 1)}
    # Of the inputs of the block that comes first now there are twice as many.
    discriminator["from_rgb"] = {k: np.concatenate([v, v], -1) for k, v in discriminator["from_rgb"].items()}
    with tempfile.TemporaryDirectory() as folder:  # once, as two writes differ in the order of the header
        told = weights.read_header(asset("ictface/gan.safetensors"))[1]["license"]
        params = {"generator": generator, "discriminator": discriminator}
        weights.save(f"{folder}/gan", arch, params, license_note=told)
        return pathlib.Path(folder, "gan").read_bytes()


@dataclasses.dataclass(frozen=True)
class TinyRun:
    """A run from its beginning to its end, in its folder; tests that change anything in it take a copy."""

    config: ConfigDict
    code: int  # the command's exit code

    @property
    def folder(self) -> pathlib.Path:
        """Where it is."""
        return pathlib.Path(self.config.workdir)


# What the tiny run and runs with its bits have in common.
RUN_FIELDS = {"data__latent_root": "", "outputs__turntable_frames": 2, "schedule__stages": ((3, 2, 2),)}


def tiny_run(folder: pathlib.Path) -> TinyRun:
    """A finished run of `001.png`, whose latent is found, and of `005.png`, a damaged file, with all outputs.

    It is made once in a folder: whoever asks again is given the same.
    """
    made = folder / "made.pickle"
    if made.is_file():
        return pickle.loads(made.read_bytes())
    for kind in ("image", "mask"):
        shutil.copytree(asset(f"ictface/{kind}"), folder / kind)
    damaged = folder / "image" / "005.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    everything = {"logging__tensorboard": True, "outputs__gan_images": True, "outputs__animation": True}
    roots = {f"data__{kind}_root": str(folder / kind) for kind in ("image", "mask")}
    config = tiny_config(folder, names=("005.png", "001.png"), **RUN_FIELDS, **roots, **everything)
    run = TinyRun(config, main(["--config=ictface", *overrides(config)]))
    made.write_bytes(pickle.dumps(run))
    return run


def tiny_lift(tmp_path, **fields) -> ConfigDict:
    """The configuration of a lift as small."""
    lift = {"samples": 3, "batches": 2, "held_out": 2, "measured": 3, "masks": "none", "view_iterations": 1}
    lift |= {"inversion_iterations": 2, "latent_iterations": 2, "inversion_samples": 2, "own_encoder_iterations": 2}
    arguments = {"recipe": "lift", "schedule__batches_per_iteration": 1}
    arguments |= {f"lift__{name}": value for name, value in lift.items()}
    return tiny_config(tmp_path, **arguments | fields)


def images_of(config: ConfigDict) -> tuple[list[PreparedImage], FrozenModels]:
    """The images of a configuration's list and its frozen networks."""
    architecture, frozen = inputs.load_frozen(resolve(config))
    names, latents = image_lists.read_names(config.data.image_list), RunFolder.at(config).latents
    return [inputs.load_image(resolve(config), name, architecture, frozen, latents) for name in names], frozen


def tiny_image(tmp_path) -> tuple[PreparedImage, FrozenModels]:
    """The image of `tiny_config` and the frozen networks."""
    (image,), frozen = images_of(tiny_config(tmp_path))
    return image, frozen


__all__ = ["RUN_FIELDS", "TinyRun", "asset", "images_of", "tiny_config", "tiny_image", "tiny_lift", "tiny_run"]
