"""Draws new images from a GAN, with their latents, as input data for a run."""

from .samples import Samples, draw_samples, write_samples

__all__ = ["Samples", "draw_samples", "write_samples"]
