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

__all__ = ["ENTRIES", "LICENCES", "Archive", "Entry", "Given", "Licence", "Source"]


@dataclasses.dataclass(frozen=True)
class Licence:
    """The terms that come with a checkpoint.

    Attributes:
      title: as its makers call it.
      says: a summary for users.
      url: of the full text.
    """

    title: str
    says: str
    url: str


@dataclasses.dataclass(frozen=True)
class Source:
    """A file published by others.

    Attributes:
      url: its address.
      file: its name here.
      found: where address, size and hash were found.
      sha256: in hexadecimal, or "" if no source gives it.
      size: in bytes, or None if no source gives it.
      by_hand: why no program can fetch it, or "".
    """

    url: str
    file: str
    found: str
    sha256: str = ""
    size: int | None = None
    by_hand: str = ""


@dataclasses.dataclass(frozen=True)
class Archive:
    """A tar archive, gzipped and split into parts, whose files serve several entries.

    Attributes:
      name: of the folder that its files are unpacked into.
      parts: in order.
      members: names of the needed files in the archive.
    """

    name: str
    parts: tuple[Source, ...]
    members: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Given:
    """A file that an entry provides for a configuration field.

    Attributes:
      field: such as `gan.checkpoint`.
      made_of: names of sources, or members of the archive.
      file: its name; if its extension differs from that of what it is made of, it is converted.
      converter: `stylegan2` or `networks`; "" uses the single file as it is.
    """

    field: str
    made_of: tuple[str, ...]
    file: str
    converter: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A checkpoint that can be obtained by its name.

    Attributes:
      name: on the command line.
      title: for users.
      terms: key of its licence.
      gives: the files that are made from it.
      sources: that are downloaded; () if `archive` holds them.
      archive: that holds its files, or None.
      config: the bundled configuration that it serves, or "" for none.
      also: names of other entries that this configuration needs.
    """

    name: str
    title: str
    terms: str
    gives: tuple[Given, ...]
    sources: tuple[Source, ...] = ()
    archive: Archive | None = None
    config: str = ""
    also: tuple[str, ...] = ()

    @property
    def licence(self) -> Licence:
        """The terms that have to be agreed to."""
        return LICENCES[self.terms]

    @property
    def downloads(self) -> tuple[Source, ...]:
        """Everything that is fetched."""
        return self.archive.parts if self.archive is not None else self.sources

    @property
    def size(self) -> int | None:
        """Total size of all downloads in bytes, or None if that of any is not known."""
        sizes = [source.size for source in self.downloads]
        return None if None in sizes else sum(size for size in sizes if size is not None)


_NON_COMMERCIAL = (
    "Non-commercial: the weights, and what is made from them, may be used for research or evaluation only, and are "
    "passed on under the same terms."
)
LICENCES: dict[str, Licence] = {
    "nvidia-stylegan2": Licence(
        "Nvidia Source Code License-NC (StyleGAN2)",
        _NON_COMMERCIAL,
        "https://nvlabs.github.io/stylegan2/license.html",
    ),
    "nvidia-ada": Licence(
        "NVIDIA Source Code License for StyleGAN2 with Adaptive Discriminator Augmentation (ADA)",
        _NON_COMMERCIAL,
        "https://nvlabs.github.io/stylegan2-ada-pytorch/license.html",
    ),
    "nvidia-stylegan3": Licence(
        "NVIDIA Source Code License for StyleGAN3, whose repository publishes these StyleGAN2 networks",
        _NON_COMMERCIAL,
        "https://github.com/NVlabs/stylegan3/blob/main/LICENSE.txt",
    ),
    "gan2shape": Licence(
        "MIT (the repository of GAN2Shape); of its weights nothing more is said",
        "The StyleGAN2 networks of cars and churches have the names of NVIDIA's: take their terms, Nvidia Source Code "
        "License-NC, to hold, which are research or evaluation only. CelebA and CelebAMask-HQ, which the faces and "
        "their parser were trained on, are for non-commercial research only.",
        "https://github.com/XingangPan/GAN2Shape/blob/master/LICENSE",
    ),
    "rosinality": Licence(
        "MIT (rosinality/stylegan2-pytorch; parts of it under NVIDIA's licence); of its weights nothing more is said",
        "Trained on FFHQ, whose pictures have licences of their own (Creative Commons, some non-commercial).",
        "https://github.com/rosinality/stylegan2-pytorch/blob/master/LICENSE",
    ),
    "lpips": Licence(
        "BSD-2-Clause (LPIPS) and BSD-3-Clause (torchvision)",
        "Free use with the copyright notices. VGG16 was trained on ImageNet, whose pictures have terms of their own.",
        "https://github.com/richzhang/PerceptualSimilarity/blob/master/LICENSE",
    ),
    "bisenet": Licence(
        "MIT (the repositories of face-parsing.PyTorch and facexlib)",
        "Trained on CelebAMask-HQ, which is for non-commercial research only.",
        "https://github.com/zllrunning/face-parsing.PyTorch/blob/master/LICENSE",
    ),
}

# SHA-256 and size of the files of which they are known.
_SHA256 = {
    "stylegan2-horse-config-f.pkl": "cbc73372c7d82d095913ca8b4b9f170560777175bd7c3b8a75dd55d70807f32b",
    "stylegan2-car-config-f.pkl": "e1618eee2b3ce87c4a3849442f7850ef12a478556bff035c8e09ee7e23b3794c",
    "stylegan2-cat-config-f.pkl": "08940fd616cfaf6bc7b0286b5d1a0b3f70febb26e136d64716c8d3f5e9bd3883",
    "stylegan2-church-config-f.pkl": "4090c5f83b44b83475c84864188aa39a0fb72694492302b7e6af36aad0d18104",
    "stylegan2-ffhq-config-f.pkl": "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d",
    "ada-ffhq.pkl": "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
    "ada-metfaces.pkl": "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f",
    "ada-afhqdog.pkl": "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662",
    "stylegan2-celebahq-256x256.pkl": "8b385aa564a58cdd97b4818620edcb27aeeb614345881b2ff0be91493b53fccc",
    "stylegan2-ffhq-512x512.pkl": "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
    "stylegan2-afhqcat-512x512.pkl": "17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9",
    "vgg16-397923af.pth": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "vgg.pth": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "parsing_bisenet.pth": "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
}
_SIZE = {
    "stylegan2-horse-config-f.pkl": 357_418_027,
    "stylegan2-car-config-f.pkl": 364_027_523,
    "stylegan2-cat-config-f.pkl": 357_418_027,
    "stylegan2-church-config-f.pkl": 357_418_027,
    "stylegan2-ffhq-config-f.pkl": 381_673_535,
    "ada-ffhq.pkl": 381_624_121,
    "vgg.pth": 7_289,
    "parsing_bisenet.pth": 53_289_463,
}


def _source(base: str, file: str, found: str, *, prefix: str = "", by_hand: str = "") -> Source:
    name = prefix + file
    return Source(f"{base}/{file}", name, found, _SHA256.get(name, ""), _SIZE.get(name), by_hand)


def _gan(name: str, title: str, terms: str, source: Source, config: str = "") -> Entry:
    """Returns the entry of a StyleGAN2 in a single file."""
    target = source.file.rpartition(".")[0] + ".safetensors"
    given = Given("gan.checkpoint", (source.file,), target, "stylegan2")
    also = {"": (), "celeba": ("bisenet", "lpips")}.get(config, ("lpips",))
    return Entry(name, title, terms, (given,), (source,), config=config, also=also)


def _lsun(name: str, title: str, data: str, found: str = "A, B", config: str = "") -> Entry:
    letter = "e" if name.endswith("-e") else "f"
    base, file = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks", f"stylegan2-{data}-config-{letter}.pkl"
    return _gan(name, f"{title}, NVIDIA's config {letter}", "nvidia-stylegan2", _source(base, file, found), config)


def _ada(name: str, title: str, file: str, found: str = "C", config: str = "") -> Entry:
    base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
    source = _source(base, file, found, prefix="ada-")
    if "-" in file:  # the networks that transfer learning starts from
        source = _source(f"{base}/transfer-learning-source-nets", file, found)
    return _gan(name, title, "nvidia-ada", source, config)


def _ngc(name: str, title: str, data: str, found: str = "E", config: str = "") -> Entry:
    base = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
    source = _source(base, f"stylegan2-{data}.pkl", found)
    return _gan(name, f"{title}, from NVIDIA's catalogue", "nvidia-stylegan3", source, config)


_FACES, _CELEBA_HQ = "human faces (FFHQ)", "human faces (CelebA-HQ), 256 pixels"
_GANS = (
    _lsun("horse", "horses (LSUN), 256 pixels", "horse", config="horse"),
    _lsun("nvidia-car", "cars (LSUN), 512 pixels", "car", config="car"),
    _lsun("nvidia-car-e", "cars (LSUN), 512 pixels", "car", "A", "car"),
    _lsun("nvidia-cat", "whole cats (LSUN; not the faces of configs/cat.py), 256 pixels", "cat"),
    _lsun("nvidia-church", "churches (LSUN), 256 pixels", "church", config="church"),
    _lsun("nvidia-ffhq", f"{_FACES}, 1024 pixels", "ffhq", "A, B, D", "celeba"),
    _lsun("nvidia-ffhq-e", f"{_FACES}, 1024 pixels", "ffhq", "A", "celeba"),
    _ada("ada-ffhq", f"{_FACES}, 1024 pixels", "ffhq.pkl", "C, D, F", "celeba"),
    _ada("ada-metfaces", "faces in paintings (MetFaces), 1024 pixels", "metfaces.pkl", "C, F", "celeba"),
    _ada("ada-afhqcat", "cat faces (AFHQ), 512 pixels", "afhqcat.pkl", config="cat"),
    _ada("ada-afhqdog", "dog faces (AFHQ), 512 pixels", "afhqdog.pkl", "C, F"),
    _ada("ada-afhqwild", "faces of wild animals (AFHQ), 512 pixels", "afhqwild.pkl"),
    _ada("ada-ffhq-256", f"{_FACES}, 256 pixels", "ffhq-res256-mirror-paper256-noaug.pkl", config="celeba"),
    _ada("ada-ffhq-512", f"{_FACES}, 512 pixels", "ffhq-res512-mirror-stylegan2-noaug.pkl", config="celeba"),
    _ada(
        "ada-celebahq-256",
        _CELEBA_HQ,
        "celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl",
        config="celeba",
    ),
    _ada("ada-lsundog-256", "whole dogs (LSUN), 256 pixels", "lsundog-res256-paper256-kimg100000-noaug.pkl"),
    _ngc("ngc-celebahq-256", _CELEBA_HQ, "celebahq-256x256", "E, D", "celeba"),
    _ngc("ngc-ffhq-256", f"{_FACES}, 256 pixels", "ffhq-256x256", config="celeba"),
    _ngc("ngc-ffhq-512", f"{_FACES}, 512 pixels", "ffhq-512x512", "E, F", "celeba"),
    _ngc("ngc-afhqcat", "cat faces (AFHQ), 512 pixels", "afhqcat-512x512", "E, F", "cat"),
    _ngc("ngc-afhqv2", "cat, dog and wild faces together (AFHQv2), 512 pixels", "afhqv2-512x512"),
    _gan(
        "rosinality-ffhq-256",
        "human faces (FFHQ), 256 pixels, rosinality's own training",
        "rosinality",
        Source(
            "https://drive.google.com/file/d/1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO/view",
            "550000.pt",
            "H",
            by_hand="Google Drive asks before it hands over files of this size",
        ),
        "celeba",
    ),
)

# Of GAN2Shape's release: the title, and the names of GAN, parser, networks and statistics in the archive.
_CATEGORIES = {
    "celeba": ("human faces, 128 pixels", "stylegan2-celeba-config-e", "bisenet", True),
    "cat": ("cat faces, 256 pixels", "stylegan2-catface-config-e", "pspnet_voc", True),
    "car": ("cars, 512 pixels", "stylegan2-car-config-f", "pspnet_voc", False),
    "church": ("churches, 256 pixels", "stylegan2-church-config-f", "pspnet_ade20k", False),
    "synface": ("rendered faces, 128 pixels", "stylegan2-synface-config-e", "bisenet", True),
}


def _gives(name: str) -> tuple[Given, ...]:
    """Returns what the archive of GAN2Shape provides for a configuration."""
    _, gan, parser, own_networks = _CATEGORIES[name]
    at, prefix = "checkpoints", f"{name}_" if own_networks else ""
    gives = [
        Given("gan.checkpoint", (f"{at}/stylegan2/{gan}.pt",), f"{gan}.safetensors", "stylegan2"),
        Given("parsing.weights", (f"{at}/parsing/{parser}.pth",), f"{parser}.safetensors", "networks"),
    ]
    as_they_are = {f"sampling.{what}_mvn": f"view_light/{prefix}{what}_mvn.pth" for what in ("view", "light")}
    if own_networks:
        as_they_are = {"networks.pretrained": f"gan2shape/{name}_pretrain.pth"} | as_they_are
    gives += [Given(field, (f"{at}/{file}",), file.rpartition("/")[2]) for field, file in as_they_are.items()]
    return tuple(gives)


_ARCHIVE = Archive(
    "gan2shape",
    tuple(
        Source(f"https://github.com/XingangPan/GAN2Shape/releases/download/v1.0/{part}", f"gan2shape-{part}", "G")
        for part in ("x00", "x01", "x02", "x03")
    ),
    tuple(sorted({member for name in _CATEGORIES for given in _gives(name) for member in given.made_of})),
)
_ORIGINALS = tuple(
    Entry(
        name,
        f"{_CATEGORIES[name][0]}: all that configs/{name}.py names",
        "gan2shape",
        _gives(name),
        archive=_ARCHIVE,
        config=name,
        also=("lpips",),
    )
    for name in _CATEGORIES
)

_LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
_OTHERS = (
    Entry(
        "lpips",
        "the perceptual distance LPIPS (VGG16), which every configuration but ictface names",
        "lpips",
        (Given("loss.lpips_weights", ("vgg16-397923af.pth", "vgg.pth"), "lpips_vgg16.safetensors", "networks"),),
        (
            _source("https://download.pytorch.org/models", "vgg16-397923af.pth", "I, D"),
            _source(_LPIPS, "vgg.pth", "J"),
        ),
    ),
    Entry(
        "bisenet",
        "the parser that finds masks of human faces",
        "bisenet",
        (Given("parsing.weights", ("parsing_bisenet.pth",), "bisenet.safetensors", "networks"),),
        (_source("https://github.com/xinntao/facexlib/releases/download/v0.2.0", "parsing_bisenet.pth", "K"),),
    ),
)

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (*_ORIGINALS, *_GANS, *_OTHERS)}
