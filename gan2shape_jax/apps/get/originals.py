"""The release of GAN2Shape: one archive in four parts, with everything that one of its configurations names.

Letters as in `found="G"` are explained in `table`.
"""

from gan2shape_jax.apps.get.records import Archive, Entry, Given, Source

__all__ = ["ORIGINALS"]

_RELEASE = "https://github.com/XingangPan/GAN2Shape/releases/download/v1.0"


def _gives(gan: str, parser: str, prefix: str = "", pretrained: str = "") -> tuple[Given, ...]:
    """Returns what the archive provides for a configuration."""
    at = "checkpoints"
    gives = [
        Given("gan.checkpoint", (f"{at}/stylegan2/{gan}.pt",), f"{gan}.safetensors", "stylegan2"),
        Given("parsing.weights", (f"{at}/parsing/{parser}.pth",), f"{parser}.safetensors", "networks"),
    ]
    if pretrained:
        gives.append(Given("networks.pretrained", (f"{at}/gan2shape/{pretrained}.pth",), f"{pretrained}.pth"))
    for what in ("view", "light"):
        name = f"{prefix}{what}_mvn.pth"
        gives.append(Given(f"sampling.{what}_mvn", (f"{at}/view_light/{name}",), name))
    return tuple(gives)


_CATEGORIES = {
    "celeba": (
        "human faces, 128 pixels: all that configs/celeba.py names",
        _gives("stylegan2-celeba-config-e", "bisenet", "celeba_", "celeba_pretrain"),
    ),
    "cat": (
        "cat faces, 256 pixels: all that configs/cat.py names",
        _gives("stylegan2-catface-config-e", "pspnet_voc", "cat_", "cat_pretrain"),
    ),
    "car": (
        "cars, 512 pixels: all that configs/car.py names",
        _gives("stylegan2-car-config-f", "pspnet_voc"),
    ),
    "church": (
        "churches, 256 pixels: all that configs/church.py names",
        _gives("stylegan2-church-config-f", "pspnet_ade20k"),
    ),
    "synface": (
        "rendered faces, 128 pixels: all that configs/synface.py names",
        _gives("stylegan2-synface-config-e", "bisenet", "synface_", "synface_pretrain"),
    ),
}

_ARCHIVE = Archive(
    "gan2shape",
    tuple(Source(f"{_RELEASE}/{part}", f"gan2shape-{part}", found="G") for part in ("x00", "x01", "x02", "x03")),
    tuple(sorted({member for _, gives in _CATEGORIES.values() for given in gives for member in given.made_of})),
)


def _original(name: str) -> Entry:
    title, gives = _CATEGORIES[name]
    return Entry(name, title, "gan2shape", gives, archive=_ARCHIVE, config=name, also=("lpips",))


ORIGINALS = tuple(_original(name) for name in _CATEGORIES)
