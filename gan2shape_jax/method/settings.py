"""What a configuration says to the method, as one record.

Only this module and the set-up read the configuration; every step receives `Settings`.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, Literal

import flax.struct
import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import extensions
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import ViewRange
from gan2shape_jax.networks import modules
from gan2shape_jax.stylegan2 import Architecture


@dataclasses.dataclass(frozen=True)
class NetworkSizes:
    """The depth network's name and the five networks' widths (channels), of which only `view_light_width` may be 0."""

    width: int
    group_base: int
    zdim: int
    encoder_width: int
    view_light_width: int = 0
    depth: str = "encoder_decoder"  # which network predicts depth, see `models.modules_of`


def _shaping(default: Any = dataclasses.MISSING) -> Any:
    """Returns a field that is part of the tree's structure: it shapes programs."""
    arguments = {} if default is dataclasses.MISSING else {"default": default}
    return flax.struct.field(pytree_node=False, **arguments)  # type: ignore[no-untyped-call]


@flax.struct.dataclass
class Settings:
    """The settings of the method as one pytree; see `configs/base.py` for the meaning and units of each field.

    What shapes a program (sizes, the camera, the architecture, flags) is its structure. Weights of the losses, rates of
    the optimiser and ranges of what is drawn are its leaves, float32 arrays: other ones compile nothing.
    """

    view_range: ViewRange
    view_scale: Any
    rand_light: Any  # (7,)
    lam_perc: Any
    lam_smooth: Any
    lam_regular: Any
    learning_rate: Any
    weight_decay: Any
    beta1: Any
    beta2: Any
    eps: Any
    camera: Camera = _shaping()
    networks: NetworkSizes = _shaping()
    architecture: Architecture = _shaping()
    batch_size: int = _shaping()
    F1_d: int = _shaping()
    relative_enc: bool = _shaping()
    use_mask: bool = _shaping()
    add_mean_V: bool = _shaping()
    add_mean_L: bool = _shaping()
    perceptual: str = _shaping()  # a name of `perceptual.DISTANCES`
    collect_iters: int = _shaping()
    crop: int | None = _shaping()
    original_size: int = _shaping()
    # The published code's faults, reproduced together by `config.reference`.
    sampling: Literal["centred", "half"] = _shaping()
    unit_normals: bool = _shaping()
    skip_first_batch: bool = _shaping()
    # False in an ablation and in a lift: the encoder's output is the offset, bypassing the mapping network.
    regularize_offset: bool = _shaping(True)
    # Whether V and L are averaged over an image and its mirror image, so that they agree; for a lifted model.
    mirrored: bool = _shaping(False)
    # The terms of step 3 and of the anchored step that are computed: names of those below whose weights are positive.
    optional_terms: tuple[str, ...] = _shaping(())
    # Scale of offsets in W: the truncation of the GAN, which applies to the input's latent and its offset together.
    offset_scale: Any = 1.0
    # For the anchored step: weight of the distance from the views that pseudo-images were drawn with.
    anchor_view: Any = 0.0
    # Weights of the losses that other packages add, by name: of those that are computed.
    added_losses: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Iterations over which the learning rate rises at the start of every step; 0 as published.
    warmup_iterations: Any = 0.0
    # For a lift: fresh GAN samples per iteration of the inversion step, and their truncation.
    fresh_samples: int = _shaping(0)
    truncation: Any = 1.0
    # For the anchored step: iterations and learning rate of the search for each projected sample's latent.
    latent_iterations: int = _shaping(0)
    latent_learning_rate: Any = 0.0
    # For a lift's step 3 without an anchor: iterations and learning rate of each image's own encoder.
    own_encoder_iterations: int = _shaping(0)
    encoder_learning_rate: Any = 0.0

    @property
    def image_size(self) -> int:
        """Side of the input image in pixels."""
        return self.camera.width

    @property
    def sample_count(self) -> int:
        """Projected samples kept for step 3."""
        return self.collect_iters * self.batch_size


# Terms of the loss that are computed only where their weight is positive.
_OPTIONAL = ("anchor_view",)


def changed(settings: Settings, **fields: Any) -> Settings:
    """Returns the settings with other values of these fields; numbers of leaves become float32 arrays."""
    replaced = dataclasses.replace(settings, **fields)
    terms = tuple(
        name for name in _OPTIONAL if fields.get(name, 0) or (name in replaced.optional_terms and name not in fields)
    )
    leaves, structure = jax.tree.flatten(
        dataclasses.replace(replaced, optional_terms=terms), is_leaf=lambda leaf: isinstance(leaf, (tuple, list))
    )
    result: Settings = jax.tree.unflatten(structure, jax.device_put([np.asarray(leaf, np.float32) for leaf in leaves]))
    return result


def from_config(config: ConfigDict, architecture: Architecture, *, original_size: int) -> Settings:
    """Returns the settings of a resolved, validated configuration, for a GAN of this architecture.

    Fields of the groups `sampling`, `loss` and `optimizer` are taken as they are, by their names. `original_size` is
    the side in pixels of the input image before cropping and resizing: without cropping, it has no effect, and images
    of all sizes share compiled programs. Raises `ConfigError`: a field of these groups is not among `Settings`.
    """
    camera, gan, net, size = config.camera, config.gan, config.networks, config.image_size
    added = {name: config.loss[f"lam_{name}"] for name in extensions.names("loss")}
    files = [f"{name}_weights" for name in ("lpips", *extensions.names("distance"))]
    settings = Settings(
        camera=Camera(
            image_size=size,
            fov_deg=camera.fov_deg,
            rot_center_depth=camera.rot_center_depth,
            min_depth=camera.min_depth,
            max_depth=camera.max_depth,
            near=0.1,  # as the published renderer
        ),
        view_range=ViewRange(
            rotation_deg=camera.xyz_rotation_range_deg, xy=camera.xy_translation_range, z=camera.z_translation_range
        ),
        networks=NetworkSizes(
            width=net.width or modules.default_width(size),
            group_base=net.group_base or modules.default_group_base(size),
            zdim=net.zdim,
            encoder_width=net.encoder_width,
            view_light_width=net.view_light_width,
            depth=net.depth,
        ),
        architecture=architecture,
        original_size=original_size if config.data.crop else size,  # matters only to cropping
        crop=config.data.crop or None,
        use_mask=config.schedule.use_mask,
        F1_d=gan.F1_d,
        relative_enc=gan.relative_enc,
        regularize_offset=gan.regularize_offset,
        offset_scale=gan.truncation,
        # The published code's faults, which `config.reference` switches on together.
        sampling="half" if config.reference else "centred",
        unit_normals=not config.reference,
        skip_first_batch=config.reference,
        **_named(config, "sampling", elsewhere=("view_mvn", "light_mvn")),
        added_losses={name: weight for name, weight in added.items() if weight},
        **_named(config, "loss", elsewhere=[*files, *(f"lam_{name}" for name in added)]),
        **_named(config, "optimizer"),
    )
    return changed(settings, **{name: getattr(settings, name) for name in _OPTIONAL})


def _named(config: ConfigDict, group: str, *, elsewhere: Collection[str] = ()) -> dict[str, Any]:
    """Returns a group's fields for `Settings`, by name, but for those that are read `elsewhere`.

    Raises `ConfigError`: a field has no place in `Settings`, so that setting it would change nothing.
    """
    values = {name: config[group][name] for name in config[group] if name not in elsewhere}
    if idle := values.keys() - Settings.__dataclass_fields__.keys():
        fields = ", ".join(f"config.{group}.{name}" for name in sorted(idle))
        raise ConfigError(
            f"{fields}: no step reads this, so it would change nothing; give it a field in Settings "
            "(gan2shape_jax/method/settings.py) and a term that uses it, or take it out of configs/base.py"
        )
    return values
