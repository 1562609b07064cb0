"""The table is in order: https addresses, hashes that are hashes, fields and configurations that exist."""

import pathlib
import re

from gan2shape_jax.apps.get import table
from gan2shape_jax.apps.get.command import MOST
from gan2shape_jax.apps.get.table import ENTRIES, MEMBERS
from gan2shape_jax.config import flatten, load_config, names

_FOUND = set(re.findall(r"^- ([A-Z]):", table.__doc__, re.MULTILINE))


def test_entries_are_in_order():
    fields, addresses = flatten(load_config("base")), dict[str, str]()
    for name, entry in ENTRIES.items():
        assert entry.name == name and re.fullmatch(r"[a-z0-9-]+", name) and entry.title
        for source in entry.sources:
            assert source.url.startswith("https://") and re.fullmatch(r"[\w.-]+", source.file)
            assert re.fullmatch(r"[0-9a-f]{64}|", source.sha256) and 0 < (source.size or 1) < MOST
            assert set(source.found.split(", ")) <= _FOUND
            assert addresses.setdefault(source.file, source.url) == source.url
        there = set(MEMBERS) if entry.archived else {source.file for source in entry.sources}
        for given in entry.gives:
            assert given.field in fields and set(given.made_of) <= there
            assert given.file.endswith((".safetensors", ".pth"))
            assert pathlib.PurePath(given.file).name == given.file
        assert len({given.file for given in entry.gives}) == len(entry.gives)
        assert entry.config in ("", *names()) and set(entry.also) <= set(ENTRIES)
        assert entry.licence.url.startswith("https://")
    used = {letter for entry in ENTRIES.values() for source in entry.sources for letter in source.found.split(", ")}
    assert used == _FOUND
    assert set(table._KNOWN) <= {source.file for entry in ENTRIES.values() for source in entry.sources}
    assert len({pathlib.PurePosixPath(member).name for member in MEMBERS}) == len(MEMBERS)


def test_what_a_configuration_calls_its_files_is_what_it_gets():
    for name in ("celeba", "cat", "car", "church", "synface"):
        entry, config = ENTRIES[name], flatten(load_config(name))
        given = {one.field: one.file for one in entry.gives}
        given |= {one.field: one.file for other in entry.also for one in ENTRIES[other].gives}
        needed = {field: path for field, path in config.items() if str(path).startswith("checkpoints/")}
        assert {field: pathlib.PurePosixPath(path).name for field, path in needed.items()} == given
    horse = load_config("horse").gan.checkpoint
    assert pathlib.PurePosixPath(horse).name == ENTRIES["horse"].gives[0].file
