"""The command line: `gan2shape-jax --config=NAME`, also `python -m gan2shape_jax.main ...`.

Exit codes: 0 all is done; 1 something is wrong with the data or the machine, or an image failed; 2
the command line or the configuration is wrong; 130 interrupted.
"""

import errno
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence

from gan2shape_jax import malloc_tuning, xla_flags
from gan2shape_jax.config.fields import apply_overrides, describe_fields, flatten, load_config, names
from gan2shape_jax.config.original.options import LAUNCH_OPTIONS
from gan2shape_jax.errors import ConfigError, UserError

__all__ = ["console", "main"]

# What a machine may refuse: a full disk, a folder that cannot be written, a closed pipe.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPIPE)

_USAGE = """\
usage: gan2shape-jax --config=NAME[:VARIANT] [--config.FIELD=VALUE ...] [--check]
       gan2shape-jax render RESULT ...        new views of a saved result (render --help)
       gan2shape-jax evaluate RESULTS ...     errors of finished runs, side by side (evaluate --help)
       gan2shape-jax edit RESULT ...          rotation and relighting, by the mesh and by the GAN (edit --help)

Reconstructs the 3D shape of every image that a configuration lists.

  --config=NAME        a bundled configuration ({names}),
                       the path of a Python file with a function get_config,
                       or of a YAML file of the published PyTorch code
  --config.FIELD=VALUE sets one field, such as --config.workdir=results/mine
  --check              looks at every file, estimates hours and memory, and stops
  --version            prints the version
  --help               prints this

The fields, with the values of {title}:
"""


def main(argv: Sequence[str]) -> int:
    """Runs the program with its arguments (the program's name left out); returns its exit code."""
    warnings.showwarning = _show_warning
    xla_flags.avoid_wrong_sums()
    try:
        return _run(list(argv))
    except ConfigError as error:
        _complain(error)
        return 2
    except UserError as error:
        _complain(error)
        return 1
    except OSError as error:
        if error.errno not in _MACHINE:
            raise
        _complain(error)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        return 130


def console() -> None:
    """The entry of the console command."""
    malloc_tuning.restart_keeping_memory()
    code = main(sys.argv[1:])
    if code:
        # Everything is closed by now, but callbacks of the checkpoint library's threads may still print tracebacks
        # while Python shuts down; after an error or Ctrl-C they would hide the one line that matters.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(argv: list[str]) -> int:
    if argv and argv[0] == "render":
        from gan2shape_jax.outputs import render_command  # imports jax, which --help need not wait for

        return render_command.main(argv[1:])
    if argv and argv[0] == "evaluate":
        from gan2shape_jax.evaluation import command as evaluate_command

        return evaluate_command.main(argv[1:])
    if argv and argv[0] == "edit":
        from gan2shape_jax.editing import command as edit_command

        return edit_command.main(argv[1:])
    spec, overrides, flags = _parse(argv)
    if "--version" in flags:
        from gan2shape_jax import __version__

        print(f"gan2shape-jax {__version__}")
        return 0
    if "--help" in flags:
        print(_help(spec))
        return 0
    if not spec:
        raise ConfigError(f"name a configuration: --config=NAME (bundled are: {', '.join(names())})")
    config = apply_overrides(load_config(spec), overrides)
    if "--check" in flags:
        from gan2shape_jax.run import check

        return check.run_check(config)
    from gan2shape_jax.config import validation
    from gan2shape_jax.inputs import per_image_files, required_files

    validation.validate(config)
    required_files.require_files(config)
    per_image_files.require_per_image_files(config, required_files.require_images(config))
    from gan2shape_jax.run import experiment  # after the checks: this imports jax and all that builds on it

    return experiment.run(config)


def _parse(argv: list[str]) -> tuple[str, dict[str, str], set[str]]:
    """Splits arguments into configuration, overrides and flags; values follow `=` or a space."""
    spec, overrides, flags = "", {}, set()
    rest = iter(argv)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in ("--help", "-h", "--check", "--version") and not equals:
            flags.add("--help" if name == "-h" else name)
            continue
        if name != "--config" and not name.startswith("--config."):
            instead = f"here: {LAUNCH_OPTIONS[name]}" if name in LAUNCH_OPTIONS else "--help lists what there is"
            raise ConfigError(f"unknown argument {argument!r} ({instead})")
        if not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise ConfigError(f"{name} needs a value: {name}=VALUE")
        if name == "--config":
            spec = value
        else:
            overrides[name.removeprefix("--config.")] = value
    return spec, overrides, flags


def _help(spec: str) -> str:
    values = flatten(load_config(spec or "base"))
    title = f"configuration {spec}" if spec else "configs/base.py, which the others start from"
    lines = [_USAGE.format(names=", ".join(names()), title=title)]
    for field, meaning in describe_fields().items():
        lines.append(f"  --config.{field}={values[field]!r}")
        lines += textwrap.wrap(meaning, 96, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Warnings about the user's data take one line; those of libraries keep Python's form."""
    if category is UserWarning:
        print(f"warning: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _complain(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    console()
