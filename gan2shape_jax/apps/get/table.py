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

from gan2shape_jax.apps.get.nvidia import NVIDIA, generative
from gan2shape_jax.apps.get.originals import ORIGINALS
from gan2shape_jax.apps.get.records import Entry, Given, Source

__all__ = ["ENTRIES"]

_OTHERS = (
    generative(
        "rosinality-ffhq-256",
        "human faces (FFHQ), 256 pixels, rosinality's own training",
        "rosinality",
        Source(
            "https://drive.google.com/file/d/1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO/view",
            "550000.pt",
            found="H",
            by_hand="Google Drive asks before it hands over files of this size",
        ),
        config="celeba",
        also=("bisenet", "lpips"),
    ),
    Entry(
        "lpips",
        "the perceptual distance LPIPS (VGG16), which every configuration but ictface names",
        "lpips",
        (Given("loss.lpips_weights", ("vgg16-397923af.pth", "vgg.pth"), "lpips_vgg16.safetensors", "networks"),),
        (
            Source(
                "https://download.pytorch.org/models/vgg16-397923af.pth",
                "vgg16-397923af.pth",
                sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                found="I, D",
            ),
            Source(
                "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
                "vgg.pth",
                7_289,
                "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
                "J",
            ),
        ),
    ),
    Entry(
        "bisenet",
        "the parser that finds masks of human faces",
        "bisenet",
        (Given("parsing.weights", ("parsing_bisenet.pth",), "bisenet.safetensors", "networks"),),
        (
            Source(
                "https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth",
                "parsing_bisenet.pth",
                53_289_463,
                "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
                "K",
            ),
        ),
    ),
)

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (*ORIGINALS, *NVIDIA, *_OTHERS)}
