"""The script that opens a result in Blender, written beside the result."""

import pathlib

from gan2shape_jax.io import bundled
from gan2shape_jax.io.atomic_files import atomic_bytes
from gan2shape_jax.errors import UserError

__all__ = ["SCRIPT", "write_blender_script"]

SCRIPT = "open_in_blender.py"


def write_blender_script(folder: pathlib.Path) -> pathlib.Path:
    """Writes the script into a folder of results and returns its path.

    The script reads `camera.json`, a mesh and the photo from its own folder, and contains nothing of the result itself.

    Raises:
      UserError: this installation lacks the script, or the file system refuses.
    """
    source = bundled.folder("tools") / SCRIPT
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} is missing: install the package again") from error
    atomic_bytes(folder / SCRIPT, content)
    return folder / SCRIPT
