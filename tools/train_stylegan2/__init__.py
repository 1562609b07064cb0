"""Trains a StyleGAN2 on a folder of photos (Karras et al., 2020; with adaptive augmentation)."""

from .settings import TrainingSettings, architecture_for
from .state import TrainingState, fresh_state
from .updates import iterate, make_updates

__all__ = ["TrainingSettings", "TrainingState", "architecture_for", "fresh_state", "iterate", "make_updates"]
