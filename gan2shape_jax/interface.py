"""The public Python API, as exposed by `import gan2shape_jax`.

Input and output pictures are RGB: uint8 from 0 to 255, or floats in [0, 1]. Geometry is NumPy float32 in scene units;
frames and signs are described in `Reconstruction`. Errors in arguments name the argument.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
import os
import pathlib
import sys
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict
from PIL import Image
from rich.console import Console

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config, to_json
from gan2shape_jax.config.schema import gan_problems, validate
from gan2shape_jax.errors import ArgumentError, ConfigError, UserError, one_line
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.io.arrays import ImageLike, as_array, latent_of, mask_of, picture_of, true_depth_of
from gan2shape_jax.io.bundled import DEFAULT, GAN, MODEL, weights_file
from gan2shape_jax.io.data import Item, needs_masks
from gan2shape_jax.io.image_files import crop_and_resize
from gan2shape_jax.io.required_files import required_files_of
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Decomposition, decomposition
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.state import PreparedImage, Step
from gan2shape_jax.photos import explain, judge, pipeline, together
from gan2shape_jax.photos.find import Request, search
from gan2shape_jax.photos.frames import is_video
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import Plan, resolve
from gan2shape_jax.platforms import default_numerics, in_batches
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.results.reconstruction import Reconstruction
from gan2shape_jax.run.folder import require_no_pattern
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.stylegan2.latents import batch_size, random_images
from gan2shape_jax.training import loop
from gan2shape_jax.training.resume import Requested

# Files that a reconstruction reads even if image, mask, latent and GAN are passed in.
_READ = ("sampling.view_mvn", "sampling.light_mvn", "networks.pretrained", "loss.lpips_weights")

_synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")
_decompose = jax.jit(decomposition)


@default_numerics()
def load_gan(gan: str | os.PathLike[str]) -> Gan:
    """Loads a StyleGAN2.

    Args:
      gan: a file that `gan2shape-jax convert` or `train-gan` has written (.safetensors), or a name: 'cat',
        'people' and 'ictface' come with the package, `gan2shape-jax get` adds others.

    Raises:
      UserError: the file is missing, damaged or of another format, or no such name is known.

    Examples:
      >>> load_gan("ictface").architecture.size
      64
    """
    file = weights_file(gan, GAN)
    architecture, weights = stylegan2.load(file)
    return Gan(architecture, weights, os.fspath(file))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["architecture", "file"])
@dataclasses.dataclass(frozen=True, eq=False)
class Gan:
    """A generator with its discriminator; made by `load_gan`.

    It is a pytree, whose leaves are the weights: an argument of `jax.jit`, `jax.grad` and the like. It can be pickled.

    Attributes:
      architecture: its sizes, a static argument of the functions in `gan2shape_jax.stylegan2`.
      weights: `generator` and `discriminator`, the parameters that those functions take.
      file: the file it was read from; "" if none.
    """

    architecture: Architecture
    weights: dict[str, Any]
    file: str = ""

    def __repr__(self) -> str:
        return f"Gan({self.size} x {self.size} pixels, latents of {self.style_dim})"

    @property
    def size(self) -> int:
        """Side of its images, pixels."""
        return self.architecture.size

    @property
    def style_dim(self) -> int:
        """Length W of a latent."""
        return self.architecture.style_dim

    @functools.cached_property
    @default_numerics()
    def mean_latent(self) -> Float[np.ndarray, "w"]:
        """The mean latent (W,), whose image is the most typical one; always the same for a given GAN."""
        return np.asarray(inputs.mean_latent(self.weights, self.architecture))[0]

    @default_numerics()
    def sample(
        self, key: jax.Array | int | np.integer, count: int = 1, *, truncation: float = 1.0
    ) -> tuple[UInt8[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]:
        """Samples random images and their latents.

        Args:
          key: a `jax.random` key, or a seed. Image i depends only on the key and i, whatever the count.
          count: how many.
          truncation: in (0, 1]: how far latents stray from the mean; smaller values give more typical, less varied
            images.

        Returns:
          Images (count, size, size, 3), uint8, and latents (count, W), float32.

        Raises:
          ArgumentError: a count below 1, or a truncation out of range.
        """
        if count < 1:
            raise ArgumentError(f"count is {count}: it must be 1 or more")
        if not 0 < truncation <= 1:
            raise ArgumentError(f"truncation is {truncation}: it must be above 0 and at most 1")
        images, latents = random_images(
            jax.random.key(key) if isinstance(key, (int, np.integer)) else key,
            self.weights["generator"],
            arch=self.architecture,
            count=count,
            truncation=truncation,
            mean=jnp.asarray(self.mean_latent)[None],
        )
        return to_uint8(images), latents

    @default_numerics()
    def synthesize(self, latents: ArrayLike) -> UInt8[np.ndarray, "n s s 3"]:
        """Generates the images of latents.

        Args:
          latents: (n, W), or (n, L, W) with a style for each of the generator's L layers (W+).

        Returns:
          Images (n, size, size, 3), uint8.

        Raises:
          ArgumentError: latents of another shape.
        """
        w = np.atleast_1d(as_array(latents, "latents"))
        return to_uint8(in_batches(self.apply, w, size=batch_size(self.architecture)))

    def apply(self, latents: Float[Array | np.ndarray, "n *layers w"]) -> Float[Array, "n s s 3"]:
        """Generates images as a function that JAX can trace and differentiate.

        In reverse mode (`jax.grad`, `jax.vjp`): layers have gradients of their own, so `jax.jvp` raises a `TypeError`.

        Args:
          latents: (n, W), or (n, L, W) in W+.

        Returns:
          Images (n, size, size, 3), float32, about -1 to 1 and not clamped.
        """
        return _synthesize(self.weights["generator"], jnp.asarray(latents, jnp.float32), arch=self.architecture)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a reconstruction has got.

    Attributes:
      stage: from 1; 0 while the depth network is fitted to the prior.
      step: 'prior', 'step1' (albedo), 'step2' (encoder) or 'step3' (depth, albedo, view, light).
      iteration: number of iterations of the step that are done.
      iterations: number of iterations in the step.
      fraction: share of the whole that is done, weighted by the time each step takes; 0 to 1.
      loss: the latest loss, every `config.logging.every_iterations`; None in between.
    """

    stage: int
    step: str
    iteration: int
    iterations: int
    fraction: float
    loss: float | None


@default_numerics()
def reconstruct(
    image: ImageLike,
    gan: Gan,
    *,
    mask: ImageLike | None = None,
    latent: ArrayLike | None = None,
    true_depth: ArrayLike | None = None,
    config: str | ConfigDict | None = None,
    seed: int | None = None,
    name: str = "image",
    callback: Callable[[Progress], object] | None = None,
    checkpoint_folder: str | os.PathLike[str] | None = None,
    steps: Mapping[str, Step] | None = None,
) -> Reconstruction:
    """Finds an image's depth, albedo, view and light by training networks on it (GAN2Shape, section 3).

    The same image, latent, configuration, seed and name give the same bits as the command line. Nothing is written to
    disk unless `checkpoint_folder` is given.

    Args:
      image: a square Pillow image or array (H, W, 3), uint8 from 0 to 255 or floats in [0, 1] (rounded to 8 bits).
      gan: a StyleGAN2 of the image's category.
      mask: the object mask, of the same size as the image: a Pillow image, white or alone opaque on the object, or
        (H, W), booleans, floats in [0, 1] or integers up to 255. Defaults to the image's alpha channel; networks that
        start from the ellipsoid require one or the other.
      latent: the image's latent in W (W,) or W+ (L, W); without one the GAN is inverted.
      true_depth: ground-truth depth (S, S) in the image's view, scene units, with S = `config.image_size` and the
        background at the greatest depth; adds errors to `metrics`.
      config: a configuration's name ('ictface', 'car:published'), a file, or what `load_config` returned.
        Defaults to `ictface:scratch` for GANs of up to 64 pixels; above that it has to be given, since schedule, prior
        and views are a category's. Its fields for images, masks, latents and the GAN's file and size are ignored: those
        are arguments here.
      seed: overrides `config.seed`.
      name: the image's name; random numbers are a function of seed and name, as in a run.
      callback: called with a `Progress` after every compiled call: an iteration on CPU, several elsewhere
        (`config.runtime.iterations_per_call`). Without one, a terminal or notebook shows a progress bar.
      checkpoint_folder: where to keep checkpoints; the same call with the same folder resumes from the last one. Not
        together with `steps`, of which nothing tells whether they are the same as before.
      steps: your own steps in place of the method's, by name: `{"step3": dataclasses.replace(STEP3, loss=mine)}` with
        `STEP3` of `gan2shape_jax.method.step3` trains with your loss, which has the arguments and results of
        `step3_loss`. The prior's fit is the step 'prior'.

    Returns:
      The reconstruction.

    Raises:
      ArgumentError: an argument of the wrong type, shape or range (a `ValueError` too).
      UserError: a file named in the configuration is missing, the checkpoints belong to another reconstruction, or the
        loss is not finite.
    """
    if not isinstance(gan, Gan):
        raise ArgumentError(f"gan is a {type(gan).__name__}: it must be a Gan, as load_gan returns it")
    own = dict(steps or {})
    if strange := [str(key) for key, step in own.items() if key not in STEPS or not isinstance(step, Step)]:
        raise ArgumentError(f"steps has {', '.join(strange)}: it must hold Steps by the names {', '.join(STEPS)}")
    if own and checkpoint_folder is not None:
        # Its code and all that this reads would have to be compared: with another loss it would be another's result.
        raise ArgumentError("checkpoint_folder is given with steps: checkpoints cannot tell whether a step has changed")
    plan = _plan_of(config, gan.architecture, seed)
    chosen = plan.config
    item, picture = _item(chosen, image, mask, true_depth, name)
    w = None if latent is None else latent_of(latent, gan.style_dim, gan.architecture.latents)
    _, frozen = inputs.load_frozen(plan, (gan.architecture, gan.weights))
    if w is None:
        w = inputs.find_latent(chosen, name, picture, gan.architecture, frozen)
    prepared = inputs.prepare_image(plan, item, w, gan.architecture, frozen)
    folder, example = None, prepared.example
    if checkpoint_folder is not None:
        require_no_pattern(folder := pathlib.Path(checkpoint_folder) / "checkpoints")
    given = (example.image, example.mask, example.latent, example.gan_image, example.true_depth)
    arrays = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(given))
    facts = {"image, configuration or seed": f"{zlib.crc32(to_json(chosen).encode(), zlib.crc32(arrays)):08x}"}
    if absent := own.keys() - {phase.step for phase in plan.schedule}:
        names = ", ".join(dict.fromkeys(phase.step for phase in plan.schedule))
        raise ArgumentError(f"steps has {', '.join(sorted(absent))}, but this reconstruction's steps are {names}")
    schedule = tuple(dataclasses.replace(phase, kind=own.get(phase.step, phase.kind)) for phase in plan.schedule)
    costs = [phase.cost for phase in schedule]

    def report(phase: Phase, done: int, loss: float | None) -> None:
        spent = sum(costs[: phase.number]) + phase.kind.cost * done
        if callback is not None:
            callback(Progress(phase.stage, phase.step, done, phase.iterations, spent / sum(costs), loss))

    with contextlib.ExitStack() as stack:
        watcher, console = loop.Watcher(on_progress=report), Console(stderr=True)
        if callback is None and (console.is_terminal or console.is_jupyter):
            watcher = stack.enter_context(stack.enter_context(Monitor(schedule, None, console)).watch(name))
        grader = judge.load_grader(plan, (gan.architecture, frozen.discriminator), checkpoint=gan.file).without_files()
        result, params = explain.train(
            plan, prepared, frozen, grader, schedule, folder=folder, watcher=watcher, requested=Requested(facts)
        )
    write = functools.partial(_write_trained, config=chosen, params=params, prepared=prepared, frozen=frozen)
    return dataclasses.replace(result, _write=write)


def _write_trained(
    result: Reconstruction,
    folder: pathlib.Path,
    *,
    config: ConfigDict,
    params: models.Params,
    prepared: PreparedImage,
    frozen: FrozenModels,
) -> None:
    """Writes a reconstruction with its networks and pictures through the GAN."""
    files = explain.training_files(
        params, result.history, networks=config.outputs.networks, depth=config.networks.depth
    )
    explain.write(result, folder, config, project=explain.projector(params, prepared, frozen), extra=files)


@default_numerics()
def photo(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    model: str | os.PathLike[str] = DEFAULT,
    *,
    box: Sequence[float] | None = None,
    which: int | None = None,
    mask: str | os.PathLike[str] | None = None,
    refine: bool = False,
    anyway: bool = False,
) -> Reconstruction:
    """Finds the object in a photo of any size and reconstructs it, as `gan2shape-jax photo` does; writes no files.

    Args:
      path: the photo's file. A list of files, or a video, shows one object (`gan2shape-jax photo --together`): what is
        usable of it gives one shape; `box`, `which`, `mask`, `refine` and `anyway` are for a single photo.
      model: what it shows, see `load_model`.
      box: x, y, side of the crop, its centre and side in pixels of the upright photo, and perhaps its turn, degrees
        clockwise; without it the object is searched for.
      which: the number of the object from left to right, if several are found; without it, the surest is taken.
      mask: a picture's file, white on the object: of the photo's proportions, or square and of the crop.
      refine: whether light and colours, and the shape of some models, are fitted to the photo, which takes minutes.
      anyway: whether the best candidate is reconstructed where nothing is found.

    Returns:
      The reconstruction, with the photo's own texture on its mesh. `metrics` has `frame`, where the object was found
      (x, y, side, roll_deg), and `trust`, how far to trust the shape. From several photos, all of that is about the
      one taken most from in front; `photographs` has each with its view and light, and `metrics["photographs"]` says
      which were left out and what they gave, as warnings do.

    Raises:
      ArgumentError: a box of another length or range, no photo, or several with what is for one (a `ValueError` too).
      UserError: a file or the model is unusable, nothing is found, or there is no object of this number.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else [*path]
    several = not isinstance(path, (str, os.PathLike)) or is_video(path)
    single = {"box": box, "which": which, "mask": mask, "refine": refine or None, "anyway": anyway or None}
    if several and (wrong := [name for name, value in single.items() if value is not None]):
        raise ArgumentError(f"{wrong[0]} is for a single photo, not for several or a video")
    if not paths:
        raise ArgumentError("path is an empty list: name one photo or more")
    if box is not None and len(box) not in (3, 4):
        raise ArgumentError(f"box has {len(box)} numbers: it must be x, y, side or x, y, side, roll")
    place = None if box is None else CropBox(*box)
    loaded = pipeline.load_photo_model(explain.load_kind(model), log=_tell, refine=refine)
    if several:
        return _photo_together([*map(pathlib.Path, paths)], loaded)
    finder, file, drawn = loaded.finder, pathlib.Path(paths[0]), None if mask is None else pathlib.Path(mask)
    picture, _, subjects, notes = search(Request(file, file.stem, place, which, drawn, anyway=anyway), finder)
    subject = max(subjects, key=lambda subject: subject.detection.score)
    if (count := len(subjects)) > 1:
        found = f"{count} {finder.kind}s were found, {subject.name} is used{finder.limit_words(count)}"
        warnings.warn(found, stacklevel=2)
    for note in notes[subject.name]:
        warnings.warn(note, stacklevel=2)
    if loaded.refiner:
        result, _ = pipeline.refined(subject, loaded.refiner, pipeline.invert(subject, loaded.refiner))
    else:
        result = pipeline.explained(subject, loaded)
    if box is None and not anyway:
        pipeline.require_found(result, subject, loaded)
    result, _ = pipeline.textured(result, subject, picture, mirror=loaded.mirror)
    return dataclasses.replace(result, metrics=result.metrics | {"frame": dataclasses.asdict(subject.detection.box)})


def _tell(line: str) -> None:
    print(one_line(line), file=sys.stderr)


def _photo_together(paths: Sequence[pathlib.Path], model: pipeline.PhotoModel) -> Reconstruction:
    gathered = together.gather(together.sources_of(paths), model, log=functools.partial(warnings.warn, stacklevel=5))
    result, shots = together.reconstruct(gathered, model.predictor, name=paths[0].stem)
    result, _ = together.textured(result, shots, mirror=model.mirror)
    assert shots[0].subject is not None
    frame = dataclasses.asdict(shots[0].subject.detection.box)
    return dataclasses.replace(result, metrics=result.metrics | {"frame": frame})


@default_numerics()
def load_model(model: str | os.PathLike[str] | None = None, *, config: str | ConfigDict | None = None) -> Model:
    """Loads networks that explain images feed-forward.

    Args:
      model: a name ('cat', 'people', 'ictface': in the package), a file that `gan2shape-jax lift` has written, or
        networks from joint training, which need `config`. Defaults to the configuration's `networks.pretrained`.
      config: the configuration that they were trained with: a name ('ictface', 'car:published'), a file, or what
        `load_config` returned. Defaults to the bundled one of the model's category, without a model to 'people'.

    Raises:
      ConfigError: there is no such model, and the message lists the names; or values of the configuration that no
        prediction can use.
      UserError: a file is missing, damaged, or of another category, camera or size than the configuration's.
    """
    if config is None:
        chosen = explain.load_kind(DEFAULT if model is None else model).unlock()
    else:
        chosen = _named(config)
        chosen.networks.pretrained = chosen.networks.pretrained if model is None else str(weights_file(model, MODEL))
    chosen.recipe = "predict"
    validate(chosen)
    _require_files(chosen)
    networks = explain.load_predictor(resolve(chosen.lock()), None)
    return Model(dataclasses.replace(networks, grader=networks.grader.without_files()))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["networks"], meta_fields=[])
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
    """Trained networks; made by `load_model`.

    It is a pytree, whose leaves are the parameters, the frozen arrays and the settings that shape no program: an
    argument of `jax.jit`, `jax.grad` and the like. It can be pickled.

    Attributes:
      networks: what is applied to an image.
    """

    networks: explain.Predictor

    @property
    def config(self) -> ConfigDict:
        """The configuration that the networks were trained with."""
        return self.networks.plan.config

    def __repr__(self) -> str:
        return f"Model({self.config.category}, {self.config.image_size} x {self.config.image_size} pixels)"

    @property
    def params(self) -> models.Params:
        """The networks' parameters by name: depth, albedo, view, light and, where there is one, detail."""
        return self.networks.params

    def apply(
        self,
        params: models.Params,
        images: Float[Array | np.ndarray, "n s s 3"],
        landmarks: Float[Array | np.ndarray, "n 5 2"] | None = None,
    ) -> Decomposition:
        """Explains images as a function that JAX can trace, differentiate and divide among devices.

        It is what `reconstruct` computes before it measures, cuts and draws: parameters and images are the only
        arguments, and derivatives by both are exact. They are in reverse mode: `jax.jvp` raises a `TypeError`.

        Args:
          params: parameters like `params`.
          images: (n, S, S, 3), -1 to 1, as `Gan.apply` returns them.
          landmarks: (n, 5, 2), pixels, of people, as `detection.faces.landmarks_in` returns them; `reconstruct` detects
            them, and corrects views by them. NaN or None: views are the network's.

        Returns:
          Depth (n, S, S), scene units; normals (n, S, S, 3) and albedo (n, S, S, 3), -1 to 1; view (n, 6), radians and
          scene units; light (n, 4): ambient, diffuse, dx, dy. All float32, in the canonical frame.
        """
        networks = self.networks
        inputs = params, jnp.asarray(images, jnp.float32), networks.frozen, networks.settings
        known = None if landmarks is None else jnp.asarray(landmarks, jnp.float32)
        return _decompose(*inputs, landmarks=known)

    @default_numerics()
    def reconstruct(
        self,
        image: ImageLike | Sequence[ImageLike],
        *,
        mask: ImageLike | Sequence[ImageLike | None] | None = None,
        true_depth: ArrayLike | None = None,
        name: str = "image",
    ) -> Reconstruction:
        """Returns an image's depth, albedo, view and light from one pass through the networks.

        The first image compiles the program, or loads it; each further image takes a fraction of a second.

        Args:
          image: a square Pillow image or array (H, W, 3), uint8 from 0 to 255 or floats in [0, 1] (rounded to 8 bits),
            framed like the images of the model's GAN. A list or tuple of them, which show one object, gives one shape.
          mask: the object mask, of the same size as the image, see `reconstruct`; for several images a list. Defaults
            to the image's alpha channel, or else the whole square.
          true_depth: (S, S), see `reconstruct`; adds errors to `metrics`. For a single image.
          name: the image's name.

        Returns:
          The reconstruction. With a lifted model, `metrics` has `trust`: how far to trust the shape, as a sentence
          (`verdict`), a `grade`, and in figures; and `dissimilarity`: of this image and the
          model's picture of it. From several images it is that of the one seen most from in front, in the joint shape;
          `photographs` has each with its view and light. Where most have 128 pixels a side, so has the joint shape.

        Raises:
          ArgumentError: an argument of the wrong type, shape or range (a `ValueError` too).
        """
        if _is_several(image):
            result = self._reconstruct_together(image, mask, true_depth, name)
        else:
            result = self.networks.reconstruct(_item(self.config, image, mask, true_depth, name)[0])
        return dataclasses.replace(result, _write=functools.partial(explain.write, config=self.config))

    def _reconstruct_together(self, images: Any, masks: Any, true_depth: Any, name: str) -> Reconstruction:
        """Returns the result of several images of one object, each with its mask if there are any."""
        masks = [None] * len(images) if masks is None else masks
        if true_depth is not None:
            raise ArgumentError("true_depth is for a single image, not for a list")
        if not images or not isinstance(masks, (list, tuple)) or len(masks) != len(images):
            raise ArgumentError("image is a list: it must have an image or more, and mask be a list of as many")
        items = [
            _item(self.config, image, mask, None, f"{name}-{number}")
            for number, (image, mask) in enumerate(zip(images, masks, strict=True), start=1)
        ]
        shots = [together.Shot(item.name, self.networks.reconstruct(item), picture=picture) for item, picture in items]
        return together.reconstruct(together.Gathered(together.spread(shots), len(shots)), self.networks, name=name)[0]


def _is_several(image: Any) -> bool:
    """Whether this is a list of images; one image may be a list too, of rows."""
    listed = isinstance(image, (list, tuple))
    return listed and (not image or isinstance(image[0], Image.Image) or np.ndim(image[0]) == 3)


def _plan_of(config: Any, architecture: Architecture, seed: Any) -> Plan:
    """Returns the plan for one image and this GAN, whose sizes override the configuration's."""
    chosen = _named(config or "ictface:scratch")
    if config is None and architecture.size > chosen.image_size:
        raise ArgumentError(
            f"config is needed for a GAN of {architecture.size} pixels, since schedule, prior and views depend on the "
            "category: config='own' needs no other files, 'car:published' and others published ones"
        )
    chosen.gan.size, chosen.gan.style_dim, chosen.gan.channel_multiplier = architecture.size, architecture.style_dim, 0
    chosen.gan.checkpoint = "this GAN"  # for messages: the file has been loaded
    if seed is not None:
        try:
            chosen.seed = operator.index(seed)
        except TypeError:
            raise ArgumentError(f"seed is {str(seed)[:40]!r}: it must be a whole number") from None
    if chosen.recipe not in ("train", "refine"):
        raise ConfigError(f"config.recipe is {chosen.recipe!r}: an image is reconstructed by 'train' or 'refine'")
    validate(chosen)
    if problems := gan_problems(chosen, architecture):
        raise ConfigError("\n".join(problems))
    _require_files(chosen)
    return resolve(chosen.lock())


def _named(config: Any) -> ConfigDict:
    """Returns a configuration that can be changed: one with this name, or a copy of this one."""
    if isinstance(config, str):
        return load_config(config).unlock()
    if not isinstance(config, ConfigDict):
        raise ArgumentError(f"config is a {type(config).__name__}: it must be a name, a ConfigDict or None")
    return config.copy_and_resolve_references().unlock()


def _require_files(config: ConfigDict) -> None:
    absent = [file for file in required_files_of(config) if file.field in _READ and not file.present]
    lines = [f"config.{file.field}: {file.path or '(empty)'} does not exist; {file.advice}" for file in absent]
    if lines:
        raise UserError("\n".join(line.rstrip("; ") for line in lines))


def _item(
    config: ConfigDict, image: Any, mask: Any, true_depth: ArrayLike | None, name: str
) -> tuple[Item, Image.Image]:
    """Returns what a run would read from files, made from arguments, and the whole picture.

    Without a mask or an alpha channel, the object is the whole square, if nothing needs a mask.
    """
    size, crop = config.image_size, config.data.crop
    picture, alpha = picture_of(image)
    mask = alpha if mask is None else mask
    if mask is None and needs_masks(config):
        raise ArgumentError("there is no mask, and image has no alpha channel that shows an object: pass a mask")
    item = Item(
        name=name,
        image=np.asarray(crop_and_resize(picture, crop, size), np.float32) / 255 * 2 - 1,
        mask=np.ones((size, size), np.float32) if mask is None else mask_of(mask, picture.width, size, crop),
        depth=None if true_depth is None else true_depth_of(true_depth, size, config.camera.max_depth),
        latent=None,
        original_size=picture.width,
    )
    return item, picture
