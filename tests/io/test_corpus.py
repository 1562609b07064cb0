"""Files that a fuzzer found to lead somewhere are read again: each is read, or refused in a sentence."""

import pathlib
import warnings

from helpers.reading_program import readers

from gan2shape_jax.errors import UserError

_CORPUS = pathlib.Path(__file__).parent / "corpus"


def test_each_kept_file_is_read_or_refused():
    refused, known = [], readers()
    for path in sorted(_CORPUS.iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                known[path.name.rsplit("-", 1)[0]](path)
            except UserError as error:
                refused.append(str(error))
    assert len(refused) > 100 and max(map(len, refused)) < 1000
