"""Sizes are what a StyleGAN2 can have: tables of shapes and features are as large as they say, before any tensor."""

import dataclasses

import pytest
from helpers.tiny_stylegan2 import TINY

from gan2shape_jax.stylegan2 import Architecture


def _published(size: int, channels: int = 32768) -> Architecture:
    widths = tuple(min(512, channels // (4 << level)) for level in range(size.bit_length() - 2))
    return Architecture(size=size, style_dim=512, mapping_layers=8, channels=widths, discriminator_channels=widths)


def test_published_sizes_are_possible():
    for size in (8, 64, 256, 1024):
        assert _published(size).channels[0] == 512
        assert _published(size, 65536).size == size  # twice the width


def test_other_sizes_are_refused_in_few_words():
    for field, value, words in (
        ("size", 48, "a StyleGAN2 of 48 pixels"),
        ("size", 2**30, "sizes of 1073741824"),
        ("style_dim", 10**9, "at most 16384 channels"),
        ("mapping_layers", 10**9, "32 mapping layers"),
        ("mapping_layers", True, "whole numbers"),
        ("channels", (5, 4, 10**9), "at most 16384 channels"),
        ("channels", (5,) * 10**5, "16 pixels need 3 widths, not 100000"),
        ("discriminator_channels", (1,) * 10**5, "100000 discriminator widths"),
        ("stddev_group", 10**30, "at most 16384"),
        ("taps", (float("nan"),) * 4, "no low-pass filter"),
        ("taps", (1.0,) * 10**5, "no low-pass filter"),
        ("conv_clamp", float("inf"), "cannot be clamped"),
        ("discriminator_clamp", float("nan"), "cannot be clamped"),
        ("mapping_scale", 10**400, "a mapping scale of"),
        ("mapping_scale", "0.01", "a mapping scale of"),
        ("stored_mean", {}, "a stored mean of a dict"),
        ("generator_kind", {"skip": 1}, "an architecture a dict"),
        ("discriminator_kind", "fancy", "architecture 'fancy'"),
        ("conv_clamp", -1.0, "clamped to -1"),
        ("discriminator_clamp", "256", "clamped to '256'"),
        ("taps", (1.0, -1.0), "no low-pass filter"),
        ("stddev_channels", 3, "4 channels do not divide into 3"),
        ("stddev_group", -1, "whole numbers"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            Architecture.from_dict(dataclasses.asdict(TINY) | {field: value})
        assert len(str(error.value)) < 5000
