"""`gan2shape-jax get`: from addresses, or downloads made by hand, to files that a configuration takes."""

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import shlex
import sys
import tarfile

import pytest
from helpers.tensorflow_files import Case, networks, save

from gan2shape_jax import main as program
from gan2shape_jax import stylegan2
from gan2shape_jax.apps import get as command
from gan2shape_jax.apps.get import ENTRIES, MEMBERS, Entry, Product, Source, files_present, obtain
from gan2shape_jax.config import apply_overrides, command_line, load_config
from gan2shape_jax.config.schema import gan_problems
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import GAN, MODEL, cache, names_of, weights_file
from gan2shape_jax.io.output_folders import MARKER, WEIGHTS
from gan2shape_jax.run.lock import hold

_CORPUS = pathlib.Path(__file__).parents[2] / "io" / "corpus" / "torch_zip"
_URL = "https://example.org/gan.pkl"


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    """A StyleGAN2 as NVIDIA publishes it."""
    path = tmp_path_factory.mktemp("published") / "a.pkl"
    return save(path, networks(Case(64, 64, 8, style=8, layers=1))).read_bytes()


def _entry(content, *, with_hash=True):
    source = Source(_URL, "gan.pkl", "A", hashlib.sha256(content).hexdigest() if with_hash else "", len(content))
    product = Product("gan.checkpoint", ("gan.pkl",), "gan.safetensors")
    return Entry(
        "horse", "a horse", ENTRIES["nvidia-cat"].licence, (product,), (source,), "horse:published", ("lpips",)
    )


@pytest.fixture
def horse(servers, pickled, monkeypatch):
    servers.add(_URL, pickled)
    monkeypatch.setitem(ENTRIES, "horse", _entry(pickled))
    return servers


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _get(*words, folder):
    return program.main(["get", *words, "--folder", str(folder)])


def _below(folder):
    ours = (".lock", MARKER)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name not in ours)


def test_the_licence_is_shown_and_has_to_be_agreed_to(tmp_path, capsys, horse, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert _get("horse", folder=tmp_path / "cache") == 1
    printed = capsys.readouterr()
    assert "research or evaluation only" in printed.out and ENTRIES["horse"].licence["url"] in printed.out
    assert _URL in printed.out and "SHA-256 known; never tried from here" in printed.out
    assert "there is no terminal" in printed.err and "--agree" in printed.err
    for answer in ("n\n", "\n", "", "yesterday\n"):
        monkeypatch.setattr(sys, "stdin", _Terminal(answer))
        assert _get("horse", folder=tmp_path / "cache") == 1
        assert "was not agreed to: nothing was downloaded" in capsys.readouterr().err
    assert horse.requested == [] and not (tmp_path / "cache").exists()
    monkeypatch.setattr(sys, "stdin", _Terminal("Yes\n"))
    assert _get("horse", folder=tmp_path / "cache") == 0
    monkeypatch.setattr(sys, "stdin", None)  # it is here: nobody is asked again
    assert _get("horse", folder=tmp_path / "cache") == 0
    assert len(horse.requested) == 1
    _get("--list", folder=tmp_path / "cache")
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{printed}" for name in ENTRIES) and printed.count(", here") == 1
    assert "by hand" in printed and "Nvidia Source Code License-NC" in printed


def test_a_configuration_takes_what_is_printed(tmp_path, capsys, horse, monkeypatch):
    folder = "a folder's <name>, $HOME"

    def printed_configuration():
        printed = capsys.readouterr().out
        (line,) = [line for line in printed.splitlines() if line.startswith("  gan2shape-jax --config=")]
        arguments = command_line.parse(shlex.split(line)[1:])
        return printed, arguments.spec, apply_overrides(load_config(arguments.spec), arguments.overrides)

    assert _get("horse", "--agree", folder=tmp_path / folder) == 0
    printed, spec, config = printed_configuration()
    assert spec == "horse:published" and gan_problems(config, stylegan2.read_header(config.gan.checkpoint)[0]) == []
    assert "gan2shape-jax get lpips" in printed and "--check" in printed
    product = Product("loss.lpips_weights", ("vgg.pth",), "lpips_vgg16.pth")
    source = Source(horse.add("https://example.org/vgg.pth", (_CORPUS / "honest-half").read_bytes()), "vgg.pth", "A")
    monkeypatch.setitem(ENTRIES, "lpips", dataclasses.replace(ENTRIES["lpips"], gives=(product,), sources=(source,)))
    assert _get("lpips", "--agree", folder=tmp_path / folder) == 0
    assert "--config.loss.lpips_weights=" in capsys.readouterr().out  # which serves no single configuration
    assert _get("horse", folder=tmp_path / folder) == 0
    printed, _, config = printed_configuration()
    assert config.loss.lpips_weights.endswith("lpips_vgg16.pth") and "get lpips" not in printed


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "words, folder, message",
    [
        ("", "cache", "name a checkpoint; gan2shape-jax get --list"),
        ("hores", "cache", "there is no checkpoint 'hores'; there are celeba, cat,"),
        pytest.param("x" * 5000, "cache", "there is no checkpoint 'xxx", id="long"),
        ("horse --agree --from absent.pkl", "cache", "absent.pkl: No such file"),
        ("horse --agree --from file", "cache", "error: file is not the published file"),
        ("horse --agree --from .", "cache", "a folder, not a file"),
        ("horse --agree --from a b", "cache", "--from takes the 1 files of horse in this order: gan.pkl"),
        ("rosinality-ffhq-256 --agree", "cache", "550000.pt must be downloaded by hand (Google Drive"),
        ("horse --agree", "file", "is a file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, capsys, horse, words, folder, message):
    (tmp_path / "file").write_bytes(b"")
    assert _get(*words.split(), folder=tmp_path / folder) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error) < 2000
    assert horse.requested == [] and not (tmp_path / "cache" / "horse").exists() and (tmp_path / "file").exists()


def test_ctrl_c_and_a_missing_extra_are_said(tmp_path, capsys, horse, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert _get("horse", "--agree", folder=tmp_path) == 1
    assert "pip install -e '.[get]' in the checkout" in capsys.readouterr().err

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "obtain", interrupt)
    assert _get("horse", "--agree", folder=tmp_path) == 130
    assert "complete downloads are kept" in capsys.readouterr().err


def test_a_network_is_converted_by_one_process_and_made_again_if_it_is_not_whole(horse, tmp_path, pickled, monkeypatch):
    entry = _entry(pickled, with_hash=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tmp_path = cache("weights")
    assert files_present(entry, tmp_path) is None
    with hold(tmp_path, WEIGHTS), pytest.raises(UserError, match="another run uses"):
        obtain(entry, tmp_path)
    assert horse.requested == []
    files = obtain(entry, tmp_path)
    assert files == {"gan.checkpoint": tmp_path / "horse" / "gan.safetensors"} == files_present(entry, tmp_path)
    assert weights_file("horse", GAN) == files["gan.checkpoint"] and "horse" not in names_of(MODEL)
    arch, header = stylegan2.read_header(files["gan.checkpoint"])
    assert arch.size == 64 and header["source_sha256"] == hashlib.sha256(pickled).hexdigest()
    assert header["license"].startswith("Nvidia Source Code License-NC") and "https://" in header["license"]
    record = json.loads((tmp_path / "horse" / "record.json").read_text())
    assert record["made_of"] == {"gan.pkl": hashlib.sha256(pickled).hexdigest()} and "License" in str(record["licence"])
    assert _below(tmp_path) == ["downloads", "horse", "horse/gan.safetensors", "horse/record.json"]
    files["gan.checkpoint"].write_bytes(b"cut")
    assert files_present(entry, tmp_path) is None
    assert obtain(entry, tmp_path) == files_present(entry, tmp_path)


def test_a_file_that_cannot_be_converted_is_taken_again_only_if_its_hash_is_not_known(servers, tmp_path):
    content = b"\x80\x04cos\nsystem\n(X\x04\0\0\0truetR."
    servers.add(_URL, content)
    with pytest.raises(UserError, match="os.system"):
        obtain(_entry(content, with_hash=False), tmp_path)
    assert _below(tmp_path / "downloads") == []
    for _ in range(2):
        with pytest.raises(UserError, match="os.system"):
            obtain(_entry(content), tmp_path)
    assert len(servers.requested) == 2 and _below(tmp_path / "downloads") == ["gan.pkl"]


def test_a_web_page_in_place_of_a_file_is_not_kept(servers, tmp_path):
    page = b"\n<html>please log in</html>"
    product = Product("sampling.view_mvn", ("view.pth",), "view.pth")
    source = Source(_URL, "view.pth", "A")
    entry = dataclasses.replace(_entry(page), gives=(product,), sources=(source,))
    servers.add(_URL, page)
    for _ in range(2):
        with pytest.raises(UserError, match="is a web page"):
            obtain(entry, tmp_path)
    assert _below(tmp_path) == ["downloads"] and len(servers.requested) == 2
    for content, words in ((page, "is a web page"), (b"no checkpoint", "not a PyTorch file")):
        (tmp_path / "mine.pth").write_bytes(content)
        with pytest.raises(UserError, match=words):
            obtain(entry, tmp_path / "own", local_files=[tmp_path / "mine.pth"])
        assert files_present(entry, tmp_path / "own") is None


def _release():
    """The archive of GAN2Shape's release in small, as its parts."""
    honest = {"stylegan2": "honest-stylegan2", "parsing": "honest-bisenet", "view_light": "honest-statistics"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in MEMBERS:
            content = (_CORPUS / honest.get(name.split("/")[1], "honest-half")).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    whole = gzip.compress(buffer.getvalue())
    step = -(-len(whole) // 4)
    return [whole[n * step : (n + 1) * step] for n in range(4)]


def _serve(servers, parts):
    for source, part in zip(ENTRIES["celeba"].sources, parts):
        servers.add(source.url, part)


def _statistics(name):
    """An entry of the archive without the files that are converted, which takes seconds."""
    gives = tuple(product for product in ENTRIES[name].gives if product.field.startswith("sampling"))
    return dataclasses.replace(ENTRIES[name], gives=gives)


def test_an_archive_is_fetched_once_for_all_that_it_serves(servers, tmp_path):
    _serve(servers, _release())
    files = obtain(ENTRIES["celeba"], tmp_path)
    fields = {"gan.checkpoint", "parsing.weights", "networks.pretrained", "sampling.view_mvn", "sampling.light_mvn"}
    assert files.keys() == fields and all(path.parent == tmp_path / "celeba" for path in files.values())
    assert stylegan2.load(files["gan.checkpoint"])[0].size == 8
    assert files["sampling.view_mvn"].read_bytes() == (_CORPUS / "honest-statistics").read_bytes()
    assert _below(tmp_path / "downloads") == []
    assert len(obtain(_statistics("car"), tmp_path)) == 2
    assert len(servers.requested) == 4


def test_an_archive_from_a_person_may_be_joined_and_a_damaged_one_is_fetched_again(servers, tmp_path):
    parts, church = _release(), _statistics("church")
    for n, part in enumerate(parts):
        (tmp_path / f"x{n}").write_bytes(part)
    (tmp_path / "joined.tar.gz").write_bytes(b"".join(parts))
    for n, product in enumerate(([tmp_path / f"x{n}" for n in range(4)], [tmp_path / "joined.tar.gz"])):
        assert obtain(church, tmp_path / f"c{n}", local_files=product)["sampling.view_mvn"].is_file()
    _serve(servers, [*parts[:2], parts[2][::-1], parts[3]])
    with pytest.raises(UserError, match="(?s)gan2shape-x00.*cannot be read"):
        obtain(church, tmp_path / "cache")
    assert not [name for name in _below(tmp_path / "cache") if name.endswith((".pt", ".pth", "json"))]
    _serve(servers, parts)
    obtain(church, tmp_path / "cache")


def test_an_archive_that_failed_is_not_used_again_and_what_a_killed_start_left_goes(tmp_path):
    """It unpacks, but one of its files is damaged."""
    parts, church, cache = _release(), _statistics("church"), tmp_path / "cache"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(b"".join(parts)))) as whole:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for member in whole:
                content = whole.extractfile(member).read()
                archive.addfile(member, io.BytesIO(content[::-1] if member.name.endswith("view_mvn.pth") else content))
    (tmp_path / "bad.tar.gz").write_bytes(gzip.compress(buffer.getvalue()))
    (tmp_path / "good.tar.gz").write_bytes(b"".join(parts))
    convert = command._convert

    def checked(entry, place, files):
        for path in files.values():
            if "view_mvn" in path.name and path.read_bytes() != (_CORPUS / "honest-statistics").read_bytes():
                raise UserError(f"{path} is damaged")
        return convert(entry, place, files)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_convert", checked)
        with pytest.raises(UserError, match="is damaged"):
            obtain(church, cache, local_files=[tmp_path / "bad.tar.gz"])
        assert not (cache / "unpacked" / command.ARCHIVE).exists()
        for left in ("downloads/tmpabc123", "unpacked/.gan2shape.abcdefgh.part/a.pt", ".record.01234567.part.json"):
            (cache / left).parent.mkdir(parents=True, exist_ok=True)
            (cache / left).write_bytes(b"left")
        (cache / "downloads" / "mine").write_bytes(b"mine")
        assert obtain(church, cache, local_files=[tmp_path / "good.tar.gz"])["sampling.view_mvn"].is_file()
    assert _below(cache / "downloads") == ["mine"] and not list(cache.rglob("*.part*"))
