"""Published checkpoints: where they are, what they may be used for, and how they come to be files of this program."""
