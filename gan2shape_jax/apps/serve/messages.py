"""Messages between server and worker: one JSON object per line.

The server sends a task (`tasks.Request` as a dictionary), or {"cancel": NUMBER}. The worker answers with any number of

  {"ready": true}                        once, when the GAN is loaded
  {"job": N, "stage": NAME, ...facts}    a stage is done
  {"job": N, "say": TEXT}                a line of its log
  {"job": N, "end": "done"}              or "cancelled", or "failed" with {"error": TEXT}
"""

import json
from typing import IO, Any

__all__ = ["LONGEST", "receive", "send"]

LONGEST = 1 << 20  # bytes of a message


def send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    """Writes a message; raises `OSError` if the reader is gone."""
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """Returns the next message, or None if there will be no more."""
    line = pipe.readline(LONGEST)
    return json.loads(line) if line.endswith(b"\n") else None
