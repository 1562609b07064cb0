"""Trains a StyleGAN2 on a folder of photos (Karras et al., 2020; with adaptive augmentation)."""
