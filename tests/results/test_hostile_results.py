"""Results folders by other hands: each file of one may be made to do harm, and is refused by its name."""

import copy
import json
import os
import time

import pytest
from helpers.hostile_arrays import announced, npz
from helpers.plain_result import plain_result

from gan2shape_jax.errors import UserError
from gan2shape_jax.results.result import load_metrics, load_result, save_result

pytestmark = pytest.mark.hostile

_DEEP = "[" * 100_000


@pytest.fixture
def folder(tmp_path):
    metrics = {"side": 0.5, "prior": {"side": 0.4}, "worse_than_prior": True}
    save_result(plain_result(metrics=metrics), tmp_path / "a")
    (tmp_path / "a" / "files.json").unlink()  # whoever writes a result to do harm leaves no checksums that tell
    return tmp_path / "a"


def _changed(record: dict, path: tuple[str, ...], value) -> str:
    record = copy.deepcopy(record)
    owner = record
    for name in path[:-1]:
        owner = owner[name]
    owner[path[-1]] = value
    return json.dumps(record)


_ANYTHING = [
    None,
    True,
    -1,
    0,
    10**6,
    10**19,
    1e300,
    "",
    "text",
    [],
    [1],
    {},
    {"a": 1},
    [[]],
    float("nan"),
    float("inf"),
]
_PATHS = [("format",), ("name",), ("category",), ("camera",), ("arrays",), ("metrics",), ("arrays", "depth")]
_PATHS += [
    ("camera", name) for name in ("image_size", "fov_deg", "rot_center_depth", "min_depth", "near", "far", "more")
]
_PATHS += [("metrics", name) for name in ("side", "prior", "reconstruction_l1", "worse_than_prior")] + [
    ("metrics", "prior", "side")
]


@pytest.mark.parametrize("path", _PATHS, ids=".".join)
def test_a_value_of_any_type_is_read_or_refused(path, folder):
    file = folder / "result.json"
    record = json.loads(file.read_text())
    for value in _ANYTHING:
        file.write_text(_changed(record, path, value))
        for read in (load_result, load_metrics):
            try:
                read(folder)
            except UserError as error:
                assert "result.json" in str(error) or ".npy" in str(error)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("camera", "image_size"), 100_000),
        (("camera", "image_size"), 16.0),
        (("camera", "fov_deg"), "10"),
        (("camera", "fov_deg"), 0),
        (("camera", "min_depth"), None),
        (("camera", "near"), float("nan")),
        (("metrics",), []),
        (("metrics", "side"), "0.5"),
        (("metrics", "prior"), 0.4),
        (("name",), 3),
        (("arrays",), ["depth"]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(path, value, folder):
    file = folder / "result.json"
    file.write_text(_changed(json.loads(file.read_text()), path, value))
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        load_result(folder)
    if path[0] == "metrics":
        with pytest.raises(UserError, match=r"result\.json is damaged"):
            load_metrics(folder)


@pytest.mark.parametrize(
    "text", [_DEEP, "{}", "[]", "null", '{"format": 1}', '{"format": 1, "format": 1}', "", "\x00", "9" * 5000]
)
def test_a_record_that_is_none_is_refused(text, folder):
    (folder / "result.json").write_text(text)
    for read in (load_result, load_metrics):
        with pytest.raises(UserError, match=r"result\.json"):
            read(folder)


def test_metrics_that_could_not_be_computed_are_unknown(folder):
    file = folder / "result.json"
    file.write_text(_changed(json.loads(file.read_text()), ("metrics", "side"), float("nan")))
    assert load_metrics(folder)["side"] is None and load_result(folder).metrics["side"] is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        announced("(100000, 100000)"),
        announced(f"({2**62}, 4)"),
        announced("(16, 16)", "'|O'") + b"\x80\x04.",
        announced("(16, 16)", "'<f8'") + bytes(2048),
        announced("(16, 16)") + bytes(1023),
        npz({"depth.npy": announced("(16, 16)") + bytes(1024)}),
        npz({"depth.npy": bytes(2**26)}),
    ],
)
def test_an_array_that_is_none_is_refused_by_name(content, folder):
    (folder / "depth.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"depth\.npy"):
        load_result(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["result.json", "depth.npy", "gan_image.npy"])
def test_a_named_pipe_is_not_waited_for(name, folder):
    start = time.monotonic()
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(_changed(record, ("arrays", "gan_image"), 0))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="named pipe"):
        load_result(folder)
    assert time.monotonic() - start < 5
