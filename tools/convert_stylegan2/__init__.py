"""Converts rosinality's and NVIDIA's StyleGAN2 checkpoints to safetensors, without PyTorch."""

from .checkpoint import Converted, convert, read_checkpoint

__all__ = ["Converted", "convert", "read_checkpoint"]
