"""Draws new images from a GAN, with their latents, as input data for a run."""
