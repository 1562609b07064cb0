"""What visitors of a server may ask for."""

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what is sent, waits and is kept.

    Attributes:
      file_bytes: of a photo's file.
      pixels: of a photo.
      waiting: jobs that wait at once, those that run not counted.
      job_s: seconds that a job may run.
      keep_s: seconds that a visitor's files are kept after their last action.
      stored_bytes: that lie on the disk for all visitors together, above which no photo is taken.
      uploads: that come in at once.
    """

    file_bytes: int = 50_000_000
    pixels: int = 50_000_000
    waiting: int = 8
    job_s: float = 1800.0
    keep_s: float = 1800.0
    stored_bytes: int = 2_000_000_000
    uploads: int = 4
