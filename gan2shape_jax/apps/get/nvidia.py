"""The StyleGAN2 networks that NVIDIA publishes: from stylegan2 (TensorFlow), stylegan2-ada-pytorch and its catalogue.

Letters as in `found="A"` are explained in `table`.
"""

from typing import Any

from gan2shape_jax.apps.get.records import Entry, Given, Source

__all__ = ["NVIDIA", "generative"]

_STYLEGAN2 = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
_TRANSFER = f"{_ADA}/transfer-learning-source-nets"
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"


def generative(
    name: str,
    title: str,
    terms: str,
    source: Source,
    config: str = "",
    also: tuple[str, ...] = (),
) -> Entry:
    """Returns the entry of a StyleGAN2 in a single file."""
    target = source.file.rpartition(".")[0] + ".safetensors"
    given = Given("gan.checkpoint", (source.file,), target, "stylegan2")
    return Entry(name, title, terms, (given,), (source,), config=config, also=also)


def _stylegan2(data: str, size: int | None, sha256: str, *, config: str = "f") -> Source:
    file = f"stylegan2-{data}-config-{config}.pkl"
    return Source(f"{_STYLEGAN2}/{file}", file, size, sha256, "A, B" if sha256 else "A")


def _ada(file: str, size: int | None = None, sha256: str = "", found: str = "C") -> Source:
    return Source(f"{_ADA}/{file}", f"ada-{file}", size, sha256, found)


def _transfer(file: str) -> Source:
    return Source(f"{_TRANSFER}/{file}", file, found="C")


def _ngc(file: str, sha256: str = "", found: str = "E") -> Source:
    return Source(f"{_NGC}/{file}", file, sha256=sha256, found=found)


_LSUN, _ADAS, _THREE = "nvidia-stylegan2", "nvidia-ada", "nvidia-stylegan3"
_FACES: dict[str, Any] = {"config": "celeba", "also": ("bisenet", "lpips")}

NVIDIA = (
    generative(
        "horse",
        "horses (LSUN), 256 pixels, NVIDIA's config f",
        _LSUN,
        _stylegan2("horse", 357_418_027, "cbc73372c7d82d095913ca8b4b9f170560777175bd7c3b8a75dd55d70807f32b"),
        "horse",
        ("lpips",),
    ),
    generative(
        "nvidia-car",
        "cars (LSUN), 512 pixels, NVIDIA's config f",
        _LSUN,
        _stylegan2("car", 364_027_523, "e1618eee2b3ce87c4a3849442f7850ef12a478556bff035c8e09ee7e23b3794c"),
        "car",
        ("lpips",),
    ),
    generative(
        "nvidia-car-e",
        "cars (LSUN), 512 pixels, NVIDIA's config e",
        _LSUN,
        _stylegan2("car", None, "", config="e"),
        "car",
        ("lpips",),
    ),
    generative(
        "nvidia-cat",
        "whole cats (LSUN; not the faces of configs/cat.py), 256 pixels, NVIDIA's config f",
        _LSUN,
        _stylegan2("cat", 357_418_027, "08940fd616cfaf6bc7b0286b5d1a0b3f70febb26e136d64716c8d3f5e9bd3883"),
    ),
    generative(
        "nvidia-church",
        "churches (LSUN), 256 pixels, NVIDIA's config f",
        _LSUN,
        _stylegan2("church", 357_418_027, "4090c5f83b44b83475c84864188aa39a0fb72694492302b7e6af36aad0d18104"),
        "church",
        ("lpips",),
    ),
    generative(
        "nvidia-ffhq",
        "human faces (FFHQ), 1024 pixels, NVIDIA's config f",
        _LSUN,
        Source(
            f"{_STYLEGAN2}/stylegan2-ffhq-config-f.pkl",
            "stylegan2-ffhq-config-f.pkl",
            381_673_535,
            "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d",
            "A, B, D",
        ),
        **_FACES,
    ),
    generative(
        "nvidia-ffhq-e",
        "human faces (FFHQ), 1024 pixels, NVIDIA's config e",
        _LSUN,
        _stylegan2("ffhq", None, "", config="e"),
        **_FACES,
    ),
    generative(
        "ada-ffhq",
        "human faces (FFHQ), 1024 pixels",
        _ADAS,
        _ada("ffhq.pkl", 381_624_121, "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c", "C, D, F"),
        **_FACES,
    ),
    generative(
        "ada-metfaces",
        "faces in paintings (MetFaces), 1024 pixels",
        _ADAS,
        _ada("metfaces.pkl", None, "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f", "C, F"),
        **_FACES,
    ),
    generative("ada-afhqcat", "cat faces (AFHQ), 512 pixels", _ADAS, _ada("afhqcat.pkl"), "cat", ("lpips",)),
    generative(
        "ada-afhqdog",
        "dog faces (AFHQ), 512 pixels",
        _ADAS,
        _ada("afhqdog.pkl", None, "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662", "C, F"),
    ),
    generative("ada-afhqwild", "faces of wild animals (AFHQ), 512 pixels", _ADAS, _ada("afhqwild.pkl")),
    generative(
        "ada-ffhq-256",
        "human faces (FFHQ), 256 pixels",
        _ADAS,
        _transfer("ffhq-res256-mirror-paper256-noaug.pkl"),
        **_FACES,
    ),
    generative(
        "ada-ffhq-512",
        "human faces (FFHQ), 512 pixels",
        _ADAS,
        _transfer("ffhq-res512-mirror-stylegan2-noaug.pkl"),
        **_FACES,
    ),
    generative(
        "ada-celebahq-256",
        "human faces (CelebA-HQ), 256 pixels",
        _ADAS,
        _transfer("celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl"),
        **_FACES,
    ),
    generative(
        "ada-lsundog-256",
        "whole dogs (LSUN), 256 pixels",
        _ADAS,
        _transfer("lsundog-res256-paper256-kimg100000-noaug.pkl"),
    ),
    generative(
        "ngc-celebahq-256",
        "human faces (CelebA-HQ), 256 pixels, from NVIDIA's catalogue",
        _THREE,
        _ngc(
            "stylegan2-celebahq-256x256.pkl",
            "8b385aa564a58cdd97b4818620edcb27aeeb614345881b2ff0be91493b53fccc",
            "E, D",
        ),
        **_FACES,
    ),
    generative(
        "ngc-ffhq-256",
        "human faces (FFHQ), 256 pixels, from NVIDIA's catalogue",
        _THREE,
        _ngc("stylegan2-ffhq-256x256.pkl"),
        **_FACES,
    ),
    generative(
        "ngc-ffhq-512",
        "human faces (FFHQ), 512 pixels, from NVIDIA's catalogue",
        _THREE,
        _ngc(
            "stylegan2-ffhq-512x512.pkl",
            "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
            "E, F",
        ),
        **_FACES,
    ),
    generative(
        "ngc-afhqcat",
        "cat faces (AFHQ), 512 pixels, from NVIDIA's catalogue",
        _THREE,
        _ngc(
            "stylegan2-afhqcat-512x512.pkl",
            "17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9",
            "E, F",
        ),
        "cat",
        ("lpips",),
    ),
    generative(
        "ngc-afhqv2",
        "cat, dog and wild faces together (AFHQv2), 512 pixels, from NVIDIA's catalogue",
        _THREE,
        _ngc("stylegan2-afhqv2-512x512.pkl"),
    ),
)
