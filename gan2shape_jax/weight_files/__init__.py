"""Foreign checkpoints (torch, NVIDIA pickles) read as data: nothing that is in a file runs."""
