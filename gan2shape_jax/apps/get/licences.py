"""What the makers of published checkpoints allow, in a sentence each, and where the full terms are."""

import dataclasses

__all__ = ["LICENCES", "Licence"]


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


LICENCES: dict[str, Licence] = {
    "nvidia-stylegan2": Licence(
        "Nvidia Source Code License-NC (StyleGAN2)",
        "Non-commercial: the weights, and what is made from them, may be used for research or evaluation only, and are "
        "passed on under the same terms.",
        "https://nvlabs.github.io/stylegan2/license.html",
    ),
    "nvidia-ada": Licence(
        "NVIDIA Source Code License for StyleGAN2 with Adaptive Discriminator Augmentation (ADA)",
        "Non-commercial: the weights, and what is made from them, may be used for research or evaluation only, and are "
        "passed on under the same terms.",
        "https://nvlabs.github.io/stylegan2-ada-pytorch/license.html",
    ),
    "nvidia-stylegan3": Licence(
        "NVIDIA Source Code License for StyleGAN3, whose repository publishes these StyleGAN2 networks",
        "Non-commercial: the weights, and what is made from them, may be used for research or evaluation only, and are "
        "passed on under the same terms.",
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
