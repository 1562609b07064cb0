"""`gan2shape-jax export`: a saved result for other programs, without GAN or networks."""

import sys
from collections.abc import Callable, Sequence

from gan2shape_jax.apps.export import blender_command, print_command, spread_command, texture_command
from gan2shape_jax.errors import exit_code

__all__ = ["main"]

_KINDS: dict[str, Callable[[Sequence[str]], None]] = {
    "print": print_command.run,
    "texture": texture_command.run,
    "blender": blender_command.run,
    "spread": spread_command.run,
}
_USAGE = """\
usage: gan2shape-jax export print RESULT [OPTION ...]
       gan2shape-jax export texture RESULT PHOTO [OPTION ...]
       gan2shape-jax export blender RESULT
       gan2shape-jax export spread RESULT [--out FILE]

Writes a saved result for other programs. RESULT is the folder of one image's results (it contains result.json).

  print     a closed solid in millimetres for a 3D printer: STL or 3MF
  texture   the mesh with the texture of the photo that RESULT was cut out of, at the photo's own resolution: GLB
  blender   a script that opens mesh, camera and photo in Blender
  spread    the mesh, coloured by how far its depth may be off: GLB or PLY

The options: gan2shape-jax export print --help, and likewise"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 1 after an error that has been printed, 2 for an unknown kind."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if not arguments or arguments[0] not in _KINDS:
        print(f"error: name what to export first: {', '.join(_KINDS)}\n\n{_USAGE}", file=sys.stderr)
        return 2
    return exit_code(lambda: _KINDS[arguments[0]](arguments[1:]))
