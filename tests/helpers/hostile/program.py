"""Opens weight files of some kinds, and prints what each took, a line of JSON each.

    python tests/helpers/hostile/program.py torch_zip onnx

First those that were made to do harm, then what fuzzing has kept, then honest files with changed bytes.
"""

import dataclasses
import gc
import itertools
import json
import pathlib
import sys
import tempfile

sys.path[:1] = [str(pathlib.Path(__file__).parents[3]), str(pathlib.Path(__file__).parents[2])]

from helpers.hostile import cases  # noqa: E402
from helpers.hostile.measure import MIB, bounded_address_space, measured  # noqa: E402
from helpers.hostile.mutated import mutated  # noqa: E402
from helpers.hostile.targets import targets  # noqa: E402

_CORPUS = pathlib.Path(__file__).parents[2] / "io" / "weights" / "corpus"
_MUTATED = 100  # of each kind
_ONCE_MORE = 1.0  # seconds from which a file is timed twice: the lesser is what it takes, the rest is other work's


def main() -> None:
    opened = {kind: targets(kind) for kind in sys.argv[1:]}
    gc.freeze()  # what has been imported is not looked through again for every file
    bounded_address_space(2048 * MIB)
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "hostile.file"
        for kind, readers in opened.items():
            kept = ((f"corpus-{file.name}", file.read_bytes()) for file in sorted((_CORPUS / kind).iterdir()))
            for name, content in itertools.chain(cases(kind), kept, mutated(_CORPUS / kind, _MUTATED)):
                path.write_bytes(content)
                for reader, open_file in readers.items():
                    found = measured(open_file, path)
                    if found.seconds > _ONCE_MORE:
                        again = measured(open_file, path)
                        found = dataclasses.replace(found, seconds=min(found.seconds, again.seconds))
                    told = {"kind": kind, "name": name, "reader": reader, **dataclasses.asdict(found)}
                    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
