"""Published checkpoints: where they are, what they may be used for, and how they become files of this program."""
