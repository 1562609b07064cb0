"""The published checkpoints by name; addresses, sizes and hashes are those found in public repositories.

The authors of this program have tried none of the addresses, and publish nothing listed here. Each source says where it
was found:

- A: `pretrained_networks.py` of NVlabs/stylegan2 (commit bf0fe0b): addresses
- B: the table in the README of clibdev/stylegan2-pytorch, and commit 422f404 of aaronb/StyleGAN2-pkl on Hugging Face:
  SHA-256 of the same five files, which agree; the latter also gives their sizes
- C: the README and `train.py` of NVlabs/stylegan2-ada-pytorch (commit d72cc7d): addresses
- D: programs that download the file from that address and compare its SHA-256 and size, found by the hash
- E: the README of NVlabs/stylegan3: addresses
- F: pages of Hugging Face that give the SHA-256 of copies: DragGan/DragGan-Models, aaronb/StyleGAN2-pkl
- G: `scripts/download.sh` and `configs/*.yml` of XingangPan/GAN2Shape (commit 97dddd9): addresses, names of members
- H: the README of rosinality/stylegan2-pytorch: the address
- I: torchvision's list of models, and the file's name, which contains the first digits of its SHA-256
- J: the repository richzhang/PerceptualSimilarity (commit 082bb24) itself: size and SHA-256 of the file in it
- K: facexlib's list of models; the SHA-256 is also that of the authors' 79999_iter.pth, say many users of either

A hash from F is that of a copy: it equals the publisher's own where the two can be compared (stylegan2-cat-config-f,
ffhq of ADA), and is omitted if only a copy under another name is known.
"""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Licence:
    """The terms that come with a checkpoint: the makers' title, a summary for users, and the address of all of them."""

    title: str
    says: str
    url: str


@dataclasses.dataclass(frozen=True)
class Source:
    """A file published by others."""

    url: str
    file: str  # its name here
    found: str  # where address, size and hash were found
    sha256: str = ""  # in hexadecimal, if a source gives it
    size: int | None = None  # bytes, if a source gives it
    by_hand: str = ""  # why no program can fetch it


@dataclasses.dataclass(frozen=True)
class Given:
    """A file that an entry provides for a configuration field."""

    field: str  # such as `gan.checkpoint`
    made_of: tuple[str, ...]  # names of sources, or members of the archive
    file: str  # its name; a `.safetensors` is converted, anything else is the single file that it is made of


@dataclasses.dataclass(frozen=True)
class Entry:
    """A checkpoint that can be obtained by its name."""

    name: str
    title: str
    licence: Licence  # that has to be agreed to
    gives: tuple[Given, ...]
    sources: tuple[Source, ...]  # what is downloaded
    config: str = ""  # the bundled configuration that it serves
    also: tuple[str, ...] = ()  # other entries that this configuration needs
    archived: bool = False  # whether the sources are the parts of `ARCHIVE`, a gzipped tar archive for several entries


# SHA-256 and size of the files of which they are known.
_KNOWN: dict[str, tuple[str, int | None]] = {
    "stylegan2-horse-config-f.pkl": ("cbc73372c7d82d095913ca8b4b9f170560777175bd7c3b8a75dd55d70807f32b", 357_418_027),
    "stylegan2-car-config-f.pkl": ("e1618eee2b3ce87c4a3849442f7850ef12a478556bff035c8e09ee7e23b3794c", 364_027_523),
    "stylegan2-cat-config-f.pkl": ("08940fd616cfaf6bc7b0286b5d1a0b3f70febb26e136d64716c8d3f5e9bd3883", 357_418_027),
    "stylegan2-church-config-f.pkl": ("4090c5f83b44b83475c84864188aa39a0fb72694492302b7e6af36aad0d18104", 357_418_027),
    "stylegan2-ffhq-config-f.pkl": ("adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d", 381_673_535),
    "ada-ffhq.pkl": ("a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c", 381_624_121),
    "ada-metfaces.pkl": ("880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f", None),
    "ada-afhqdog.pkl": ("f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662", None),
    "stylegan2-celebahq-256x256.pkl": ("8b385aa564a58cdd97b4818620edcb27aeeb614345881b2ff0be91493b53fccc", None),
    "stylegan2-ffhq-512x512.pkl": ("d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478", None),
    "stylegan2-afhqcat-512x512.pkl": ("17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9", None),
    "vgg16-397923af.pth": ("397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", None),
    "vgg.pth": ("a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", 7_289),
    "parsing_bisenet.pth": ("468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567", 53_289_463),
}


def _source(url: str, found: str, *, prefix: str = "") -> Source:
    name = prefix + url.rpartition("/")[2]
    return Source(url, name, found, *_KNOWN.get(name, ("", None)))


def _gan(name: str, title: str, licence: Licence, source: Source, config: str) -> Entry:
    """Returns the entry of a StyleGAN2 in a single file."""
    given = Given("gan.checkpoint", (source.file,), source.file.rpartition(".")[0] + ".safetensors")
    also = {"": (), "celeba": ("bisenet", "lpips")}.get(config, ("lpips",))
    return Entry(name, title, licence, (given,), (source,), config, also)


_SITE = "https://nvlabs-fi-cdn.nvidia.com"
_CATALOGUE = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
_NON_COMMERCIAL = (
    "Non-commercial: the weights, and what is made from them, may be used for research or evaluation only, and are "
    "passed on under the same terms."
)
# By the part of the list that publishes a StyleGAN2 of NVIDIA's: start of the address, title and address of the terms.
_NVIDIA = {
    "A": (
        f"{_SITE}/stylegan2/networks/stylegan2-",
        "Nvidia Source Code License-NC (StyleGAN2)",
        "https://nvlabs.github.io/stylegan2/license.html",
    ),
    "C": (
        f"{_SITE}/stylegan2-ada-pytorch/pretrained/",
        "NVIDIA Source Code License for StyleGAN2 with Adaptive Discriminator Augmentation (ADA)",
        "https://nvlabs.github.io/stylegan2-ada-pytorch/license.html",
    ),
    "E": (
        f"{_CATALOGUE}/stylegan2-",
        "NVIDIA Source Code License for StyleGAN3, whose repository publishes these StyleGAN2 networks",
        "https://github.com/NVlabs/stylegan3/blob/main/LICENSE.txt",
    ),
}


def _nvidia(name: str, title: str, data: str, found: str, config: str = "") -> Entry:
    """Returns the entry of one of NVIDIA's; `data` is the file's own part of the address."""
    start, terms, url = _NVIDIA[found[0]]
    origin = {"A": f", NVIDIA's config {data[-1]}", "C": "", "E": ", from NVIDIA's catalogue"}[found[0]]
    prefix = ""
    if found[0] == "C" and "-" in data:
        start += "transfer-learning-source-nets/"  # what transfer learning starts from
    elif found[0] == "C":
        prefix = "ada-"  # their names alone, such as ffhq.pkl, do not say whose they are
    source = _source(f"{start}{data}.pkl", found, prefix=prefix)
    return _gan(name, title + origin, Licence(terms, _NON_COMMERCIAL, url), source, config)


_FACES, _CELEBA_HQ = "human faces (FFHQ)", "human faces (CelebA-HQ), 256 pixels"
_GANS = (
    _nvidia("horse", "horses (LSUN), 256 pixels", "horse-config-f", "A, B", "horse"),
    _nvidia("nvidia-car", "cars (LSUN), 512 pixels", "car-config-f", "A, B", "car"),
    _nvidia("nvidia-car-e", "cars (LSUN), 512 pixels", "car-config-e", "A", "car"),
    _nvidia("nvidia-cat", "whole cats (LSUN; not the faces of configs/cat.py), 256 pixels", "cat-config-f", "A, B"),
    _nvidia("nvidia-church", "churches (LSUN), 256 pixels", "church-config-f", "A, B", "church"),
    _nvidia("nvidia-ffhq", f"{_FACES}, 1024 pixels", "ffhq-config-f", "A, B, D", "celeba"),
    _nvidia("nvidia-ffhq-e", f"{_FACES}, 1024 pixels", "ffhq-config-e", "A", "celeba"),
    _nvidia("ada-ffhq", f"{_FACES}, 1024 pixels", "ffhq", "C, D, F", "celeba"),
    _nvidia("ada-metfaces", "faces in paintings (MetFaces), 1024 pixels", "metfaces", "C, F", "celeba"),
    _nvidia("ada-afhqcat", "cat faces (AFHQ), 512 pixels", "afhqcat", "C", "cat"),
    _nvidia("ada-afhqdog", "dog faces (AFHQ), 512 pixels", "afhqdog", "C, F"),
    _nvidia("ada-afhqwild", "faces of wild animals (AFHQ), 512 pixels", "afhqwild", "C"),
    _nvidia("ada-ffhq-256", f"{_FACES}, 256 pixels", "ffhq-res256-mirror-paper256-noaug", "C", "celeba"),
    _nvidia("ada-ffhq-512", f"{_FACES}, 512 pixels", "ffhq-res512-mirror-stylegan2-noaug", "C", "celeba"),
    _nvidia("ada-celebahq-256", _CELEBA_HQ, "celebahq-res256-mirror-paper256-kimg100000-ada-target0.5", "C", "celeba"),
    _nvidia("ada-lsundog-256", "whole dogs (LSUN), 256 pixels", "lsundog-res256-paper256-kimg100000-noaug", "C"),
    _nvidia("ngc-celebahq-256", _CELEBA_HQ, "celebahq-256x256", "E, D", "celeba"),
    _nvidia("ngc-ffhq-256", f"{_FACES}, 256 pixels", "ffhq-256x256", "E", "celeba"),
    _nvidia("ngc-ffhq-512", f"{_FACES}, 512 pixels", "ffhq-512x512", "E, F", "celeba"),
    _nvidia("ngc-afhqcat", "cat faces (AFHQ), 512 pixels", "afhqcat-512x512", "E, F", "cat"),
    _nvidia("ngc-afhqv2", "cat, dog and wild faces together (AFHQv2), 512 pixels", "afhqv2-512x512", "E"),
    _gan(
        "rosinality-ffhq-256",
        f"{_FACES}, 256 pixels, rosinality's own training",
        Licence(
            "MIT (rosinality/stylegan2-pytorch; parts of it under NVIDIA's licence); of its weights nothing more is "
            "said",
            "Trained on FFHQ, whose pictures have licences of their own (Creative Commons, some non-commercial).",
            "https://github.com/rosinality/stylegan2-pytorch/blob/master/LICENSE",
        ),
        Source(
            "https://drive.google.com/file/d/1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO/view",
            "550000.pt",
            "H",
            by_hand="Google Drive asks before it hands over files of this size",
        ),
        "celeba",
    ),
)

_GAN2SHAPE = Licence(
    "MIT (the repository of GAN2Shape); of its weights nothing more is said",
    "The StyleGAN2 networks of cars and churches have the names of NVIDIA's: take their terms, Nvidia Source Code "
    "License-NC, to hold, which are research or evaluation only. CelebA and CelebAMask-HQ, which the faces and "
    "their parser were trained on, are for non-commercial research only.",
    "https://github.com/XingangPan/GAN2Shape/blob/master/LICENSE",
)
_RELEASE = "https://github.com/XingangPan/GAN2Shape/releases/download/v1.0"
ARCHIVE = "gan2shape"  # the folder that its files are unpacked into
_PARTS = tuple(_source(f"{_RELEASE}/x0{n}", "G", prefix=f"{ARCHIVE}-") for n in range(4))


def _original(name: str, title: str, gan: str, parser: str, *, networks: bool = True) -> Entry:
    """Returns the entry of what the archive of GAN2Shape provides for a configuration."""
    files = {"gan.checkpoint": f"stylegan2/stylegan2-{gan}.pt", "parsing.weights": f"parsing/{parser}.pth"}
    if networks:  # and statistics of its own
        files["networks.pretrained"] = f"gan2shape/{name}_pretrain.pth"
    prefix = f"{name}_" if networks else ""
    files |= {f"sampling.{what}_mvn": f"view_light/{prefix}{what}_mvn.pth" for what in ("view", "light")}
    gives = []
    for field, file in files.items():
        path, converted = pathlib.PurePosixPath("checkpoints", file), field in ("gan.checkpoint", "parsing.weights")
        gives.append(Given(field, (str(path),), f"{path.stem}.safetensors" if converted else path.name))
    title = f"{title}: all that configs/{name}.py names"
    return Entry(name, title, _GAN2SHAPE, tuple(gives), _PARTS, name, ("lpips",), archived=True)


_ORIGINALS = (
    _original("celeba", "human faces, 128 pixels", "celeba-config-e", "bisenet"),
    _original("cat", "cat faces, 256 pixels", "catface-config-e", "pspnet_voc"),
    _original("car", "cars, 512 pixels", "car-config-f", "pspnet_voc", networks=False),
    _original("church", "churches, 256 pixels", "church-config-f", "pspnet_ade20k", networks=False),
    _original("synface", "rendered faces, 128 pixels", "synface-config-e", "bisenet"),
)
# Names of the needed files in the archive.
MEMBERS = tuple(sorted({member for entry in _ORIGINALS for given in entry.gives for member in given.made_of}))

_LPIPS = Entry(
    "lpips",
    "the perceptual distance LPIPS (VGG16), which every configuration but ictface names",
    Licence(
        "BSD-2-Clause (LPIPS) and BSD-3-Clause (torchvision)",
        "Free use with the copyright notices. VGG16 was trained on ImageNet, whose pictures have terms of their own.",
        "https://github.com/richzhang/PerceptualSimilarity/blob/master/LICENSE",
    ),
    (Given("loss.lpips_weights", ("vgg16-397923af.pth", "vgg.pth"), "lpips_vgg16.safetensors"),),
    (
        _source("https://download.pytorch.org/models/vgg16-397923af.pth", "I, D"),
        _source(
            "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth", "J"
        ),
    ),
)
_BISENET = Entry(
    "bisenet",
    "the parser that finds masks of human faces",
    Licence(
        "MIT (the repositories of face-parsing.PyTorch and facexlib)",
        "Trained on CelebAMask-HQ, which is for non-commercial research only.",
        "https://github.com/zllrunning/face-parsing.PyTorch/blob/master/LICENSE",
    ),
    (Given("parsing.weights", ("parsing_bisenet.pth",), "bisenet.safetensors"),),
    (_source("https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth", "K"),),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (*_ORIGINALS, *_GANS, _LPIPS, _BISENET)}
