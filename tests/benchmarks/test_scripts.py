"""Every benchmark answers `--help`, so what it imports is where it looks for it."""

import pathlib
import runpy
import sys

import pytest

_FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"
_SCRIPTS = sorted(path for path in _FOLDER.glob("*/*.py") if "__main__" in path.read_text())


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: str(path.relative_to(_FOLDER)))
def test_script_answers_help(script, monkeypatch, capsys):
    assert "ArgumentParser" in script.read_text(), "it would do its work here instead of answering"
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    # As Python starts it: beside the script, without the checkout, whose `tools` the suite imports.
    checkout = {str(_FOLDER.parent), ""}
    monkeypatch.setattr(sys, "path", [str(script.parent), *(path for path in sys.path if path not in checkout)])
    for name in [name for name in sys.modules if name.split(".")[0] in ("tools", "benchmarks")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert f"python {script.relative_to(_FOLDER.parent)}" in capsys.readouterr().out
