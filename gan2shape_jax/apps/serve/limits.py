"""What visitors of a server may request."""

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on uploads, waiting jobs and stored files.

    Attributes:
      file_bytes: maximum size of a photo's file.
      pixels: maximum number of pixels of a photo.
      waiting: maximum number of waiting jobs, not counting those that run.
      job_s: time limit of a job, in seconds.
      keep_s: seconds for which a visitor's files are kept after their last action.
      stored_bytes: on disk for all visitors together, above which no photo is accepted.
      uploads: maximum number of simultaneous uploads.
    """

    file_bytes: int = 50_000_000
    pixels: int = 50_000_000
    waiting: int = 8
    job_s: float = 1800.0
    keep_s: float = 1800.0
    stored_bytes: int = 2_000_000_000
    uploads: int = 4
