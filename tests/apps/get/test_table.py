"""The table is in order: addresses that are followed, hashes that are hashes, fields and configurations that exist."""

import pathlib
import re

import pytest

from gan2shape_jax.apps.get import table
from gan2shape_jax.apps.get.addresses import check_address
from gan2shape_jax.apps.get.licences import LICENCES
from gan2shape_jax.apps.get.records import MOST
from gan2shape_jax.apps.get.table import ENTRIES
from gan2shape_jax.config import load_config, names
from gan2shape_jax.config.tree import flatten

_FOUND = set(re.findall(r"^- ([A-Z]):", table.__doc__, re.MULTILINE))


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_in_order(name):
    entry = ENTRIES[name]
    assert entry.name == name and re.fullmatch(r"[a-z0-9-]+", name) and entry.title
    assert bool(entry.sources) != (entry.archive is not None)
    for source in entry.downloads:
        check_address(source.url)
        assert source.url.startswith("https://")
        assert re.fullmatch(r"[\w.-]+", source.file)
        assert re.fullmatch(r"[0-9a-f]{64}|", source.sha256) and (source.size is None or 0 < source.size < MOST)
        assert source.found and set(source.found.split(", ")) <= _FOUND
    there = set(entry.archive.members) if entry.archive else {source.file for source in entry.sources}
    fields = flatten(load_config("base"))
    for given in entry.gives:
        assert given.field in fields and set(given.made_of) <= there
        assert given.converter in ("stylegan2", "networks") or given.file.endswith(".pth")
        assert pathlib.PurePath(given.file).name == given.file
    assert entry.config in ("", *names()) and set(entry.also) <= set(ENTRIES)
    assert entry.licence in LICENCES.values()
    check_address(entry.licence.url)


def test_no_two_downloads_share_a_name_but_have_another_address():
    addresses: dict[str, str] = {}
    for entry in ENTRIES.values():
        for source in entry.downloads:
            assert addresses.setdefault(source.file, source.url) == source.url
    targets = [given.file for entry in ENTRIES.values() if entry.archive for given in entry.gives]
    assert all(targets)
    for entry in ENTRIES.values():
        files = [given.file for given in entry.gives]
        assert len(set(files)) == len(files)
        if entry.archive:
            basenames = [pathlib.PurePosixPath(member).name for member in entry.archive.members]
            assert len(set(basenames)) == len(basenames)


def test_every_letter_is_used_and_every_licence():
    used = {letter for entry in ENTRIES.values() for source in entry.downloads for letter in source.found.split(", ")}
    assert used == _FOUND
    assert {entry.terms for entry in ENTRIES.values()} == set(LICENCES)


@pytest.mark.parametrize("name", ["celeba", "cat", "car", "church", "synface"])
def test_the_originals_serve_their_configurations_with_all_that_these_name(name):
    """Every file of the published weights that the configuration names is given, by the name that it has there."""
    entry, config = ENTRIES[name], flatten(load_config(name))
    given = {one.field: one.file for one in entry.gives}
    given |= {one.field: one.file for other in entry.also for one in ENTRIES[other].gives}
    wanted = {field: path for field, path in config.items() if str(path).startswith("checkpoints/")}
    assert {field: pathlib.PurePosixPath(path).name for field, path in wanted.items()} == given


def test_what_a_configuration_that_is_served_calls_its_gan_is_what_it_gets():
    horse = load_config("horse").gan.checkpoint
    assert pathlib.PurePosixPath(horse).name == ENTRIES["horse"].gives[0].file
