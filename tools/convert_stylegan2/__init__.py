"""Converts StyleGAN2 checkpoints of rosinality's and NVIDIA's to safetensors, without PyTorch."""

from .checkpoint import Converted, convert, read_checkpoint

__all__ = ["Converted", "convert", "read_checkpoint"]
