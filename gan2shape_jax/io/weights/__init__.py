"""Reads foreign checkpoints (torch, NVIDIA pickles) as data: no code in a file is ever run."""
