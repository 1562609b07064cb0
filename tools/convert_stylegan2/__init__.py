"""Converts checkpoints of rosinality/stylegan2-pytorch to safetensors, without PyTorch."""

from .checkpoint import Converted, convert, read_checkpoint

__all__ = ["Converted", "convert", "read_checkpoint"]
