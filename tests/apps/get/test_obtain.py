"""From addresses, or from downloads made by hand, to files that the program loads; nothing half-made stays."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
import tarfile

import pytest
from helpers.tensorflow_files import Case, networks, save

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.get import places
from gan2shape_jax.apps.get.obtain import obtain
from gan2shape_jax.apps.get.records import Entry, Given, Source
from gan2shape_jax.apps.get.table import ENTRIES
from gan2shape_jax.apps.get.transfer import Patience
from gan2shape_jax.errors import UserError

_CORPUS = pathlib.Path(__file__).parents[2] / "io" / "weights" / "corpus" / "torch_zip"
_HASTE = Patience(2, 1, (0.01,))


@contextlib.contextmanager
def _unseen(source):
    yield lambda done, total: None


def _obtain(entry, folder, **options):
    return obtain(entry, folder, _unseen, patience=_HASTE, **options)


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    """A StyleGAN2 as NVIDIA publishes it, of 8 pixels."""
    path = tmp_path_factory.mktemp("published") / "a.pkl"
    return save(path, networks(Case(8, 16, 4, style=4, layers=1))).read_bytes()


def _entry(url, content, *, known=True, name="horse"):
    sha256 = hashlib.sha256(content).hexdigest() if known else ""
    source = Source(url, "gan.pkl", len(content) if known else None, sha256)
    given = Given("gan.checkpoint", ("gan.pkl",), "gan.safetensors", "stylegan2")
    return Entry(name, "a horse", "nvidia-stylegan2", (given,), (source,), config="horse")


def _below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("known", [True, False])
def test_a_network_is_fetched_converted_and_recorded(server, tmp_path, pickled, known):
    entry = _entry(server.add("/gan.pkl", pickled), pickled, known=known)
    assert places.found(entry, tmp_path) is None
    files = _obtain(entry, tmp_path)
    assert files == {"gan.checkpoint": tmp_path / "horse" / "gan.safetensors"} == places.found(entry, tmp_path)
    arch, header = stylegan2.read_header(files["gan.checkpoint"])
    assert arch.size == 8 and header["source_sha256"] == hashlib.sha256(pickled).hexdigest()
    assert header["license"].startswith("Nvidia Source Code License-NC") and "https://" in header["license"]
    record = json.loads((tmp_path / "horse" / "record.json").read_text())
    assert record["made_of"] == {"gan.pkl": hashlib.sha256(pickled).hexdigest()} and "License" in str(record["licence"])
    assert _below(tmp_path) == [".lock", "horse/gan.safetensors", "horse/record.json"]


def test_the_download_can_be_kept(server, tmp_path, pickled):
    _obtain(_entry(server.add("/gan.pkl", pickled), pickled), tmp_path, keep=True)
    assert (tmp_path / "downloads" / "gan.pkl").read_bytes() == pickled


def test_a_damaged_checkpoint_counts_as_absent(server, tmp_path, pickled):
    entry = _entry(server.add("/gan.pkl", pickled), pickled)
    path = _obtain(entry, tmp_path)["gan.checkpoint"]
    path.write_bytes(path.read_bytes()[:-1])
    assert places.found(entry, tmp_path) is None
    assert _obtain(entry, tmp_path) == places.found(entry, tmp_path)
    (tmp_path / "horse" / "record.json").write_text("{")
    assert places.found(entry, tmp_path) is None


def test_what_a_person_has_downloaded_is_compared_and_stays(tmp_path, pickled):
    entry = _entry("https://example.invalid/gan.pkl", pickled)
    (tmp_path / "mine.pkl").write_bytes(pickled)
    (tmp_path / "other.pkl").write_bytes(pickled + b"x")
    with pytest.raises(UserError, match="other.pkl has .* bytes, and gan.pkl as published"):
        _obtain(entry, tmp_path / "cache", given=[tmp_path / "other.pkl"])
    with pytest.raises(UserError, match="--from takes the 1 files of horse in this order: gan.pkl"):
        _obtain(entry, tmp_path / "cache", given=[tmp_path / "mine.pkl"] * 2)
    files = _obtain(entry, tmp_path / "cache", given=[tmp_path / "mine.pkl"])
    assert stylegan2.read_header(files["gan.checkpoint"])[0].size == 8
    assert (tmp_path / "mine.pkl").read_bytes() == pickled and not (tmp_path / "cache" / "downloads").exists()


def test_a_file_that_cannot_be_converted_is_told_and_not_taken_again(server, tmp_path):
    url = server.add("/gan.pkl", b"\x80\x04cos\nsystem\n(X\x04\0\0\0truetR.")
    with pytest.raises(UserError, match="(?s)refused, for it holds os.system.*no hash is known, was removed"):
        _obtain(_entry(url, b"", known=False), tmp_path)
    assert _below(tmp_path) == [".lock"]
    entry = _entry(
        url, server.files["/gan.pkl"].content
    )  # with a hash it is what was published: it need not come again
    for _ in range(2):
        with pytest.raises(UserError, match="refused, for it holds os.system"):
            _obtain(entry, tmp_path)
    assert len(server.asked) == 2 and _below(tmp_path) == [".lock", "downloads/gan.pkl"]


def test_two_at_once_do_not_meet(server, tmp_path, pickled):
    entry = _entry(server.add("/gan.pkl", pickled), pickled)
    with places.held(tmp_path):
        with pytest.raises(UserError, match="another process is getting a checkpoint in .*--folder"):
            _obtain(entry, tmp_path)
        assert server.asked == []
    _obtain(entry, tmp_path)


def test_a_read_only_folder_is_told(server, tmp_path, pickled, monkeypatch):
    entry = _entry(server.add("/gan.pkl", pickled), pickled)
    _obtain(entry, tmp_path)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # which root is never told
    assert places.found(entry, tmp_path) is not None  # what is there can be used
    with pytest.raises(UserError, match="is read-only, or name a folder with --folder"):
        _obtain(entry, tmp_path)
    assert len(server.asked) == 1


def test_a_folder_that_is_none_is_told(tmp_path, pickled):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(UserError, match="is a file: name a folder, or name a folder with --folder|is a file"):
        _obtain(_entry("https://example.invalid/a", pickled), tmp_path / "cache")


def test_two_files_make_one(server, tmp_path):
    """LPIPS: the tool's own refusal shows that both came to it, in their order."""
    lpips = ENTRIES["lpips"]
    sources = tuple(
        dataclasses.replace(source, url=server.add(f"/{source.file}", b"\x80\x02}."), size=None, sha256="")
        for source in lpips.sources
    )
    with pytest.raises(UserError, match="(?s)vgg.*was removed"):
        _obtain(dataclasses.replace(lpips, sources=sources), tmp_path)
    assert [path for path, _ in server.asked] == ["/vgg16-397923af.pth", "/vgg.pth"]


def _release(leave_out=()):
    """The archive of GAN2Shape's release in small, as its parts."""
    honest = {"stylegan2": "honest-stylegan2", "parsing": "honest-bisenet", "view_light": "honest-statistics"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ENTRIES["celeba"].archive.members:
            if name not in leave_out:
                content = (_CORPUS / honest.get(name.split("/")[1], "honest-half")).read_bytes()
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    whole = gzip.compress(buffer.getvalue())
    step = -(-len(whole) // 4)
    return [whole[n * step : (n + 1) * step] for n in range(4)]


def _served(server, name, parts):
    entry = ENTRIES[name]
    sources = tuple(
        dataclasses.replace(source, url=server.add(f"/{source.file}", part))
        for source, part in zip(entry.archive.parts, parts)
    )
    return dataclasses.replace(entry, archive=dataclasses.replace(entry.archive, parts=sources))


def test_an_archive_is_fetched_once_for_all_that_it_serves(server, tmp_path):
    parts = _release()
    files = _obtain(_served(server, "celeba", parts), tmp_path)
    fields = {"gan.checkpoint", "parsing.weights", "networks.pretrained", "sampling.view_mvn", "sampling.light_mvn"}
    assert files.keys() == fields and all(path.parent == tmp_path / "celeba" for path in files.values())
    assert stylegan2.load(files["gan.checkpoint"])[0].size == 8
    assert files["sampling.view_mvn"].read_bytes() == (_CORPUS / "honest-statistics").read_bytes()
    assert len(server.asked) == 4 and not list((tmp_path / "downloads").iterdir())
    assert _obtain(_served(server, "car", parts), tmp_path).keys() == fields - {"networks.pretrained"}
    assert len(server.asked) == 4


def test_an_archive_that_was_downloaded_by_hand_may_be_joined(tmp_path):
    parts, paths = _release(), []
    for n, part in enumerate(parts):
        paths.append(tmp_path / f"x{n:02}")
        paths[-1].write_bytes(part)
    (tmp_path / "checkpoints.tar.gz").write_bytes(b"".join(parts))
    assert _obtain(ENTRIES["church"], tmp_path / "1", given=paths)["gan.checkpoint"].is_file()
    assert _obtain(ENTRIES["church"], tmp_path / "2", given=[tmp_path / "checkpoints.tar.gz"])[
        "gan.checkpoint"
    ].is_file()
    with pytest.raises(UserError, match="--from takes the 4 files of church"):
        _obtain(ENTRIES["church"], tmp_path / "3", given=paths[:3])


def test_a_damaged_archive_is_fetched_again(server, tmp_path):
    parts = _release()
    damaged = [*parts[:2], parts[2][::-1], parts[3]]
    with pytest.raises(UserError, match="(?s)gan2shape-x00.*damaged.*was removed"):
        _obtain(_served(server, "car", damaged), tmp_path)
    assert [name for name in _below(tmp_path) if name != ".lock"] == []
    _obtain(_served(server, "car", parts), tmp_path)


def test_what_an_archive_lacks_matters_to_those_alone_that_need_it(server, tmp_path):
    parts = _release(leave_out=["checkpoints/gan2shape/synface_pretrain.pth"])
    _obtain(_served(server, "car", parts), tmp_path)
    with pytest.raises(UserError, match="synface: the archive.*lacks checkpoints/gan2shape/synface_pretrain.pth"):
        _obtain(_served(server, "synface", parts), tmp_path)
