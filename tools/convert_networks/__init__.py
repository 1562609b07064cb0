"""Converts networks other than StyleGAN2 to safetensors, without PyTorch."""

from .convert import convert
from .record import Converted

__all__ = ["Converted", "convert"]
