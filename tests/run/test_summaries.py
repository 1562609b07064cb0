"""The summaries of a run: each result is read once, other hosts' results are found, worse shapes are named."""

import json
import pathlib
import threading

import numpy as np
from helpers.opened_files import counted

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import Result, load_metrics, save_result
from gan2shape_jax.run import summaries
from gan2shape_jax.run.each_image import GroupOutcome, for_each_group, for_each_image
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.summaries import Summaries

SIZE = 32


def _save(folder: RunFolder, name: str, **metrics) -> None:
    flat, picture = np.ones((SIZE, SIZE)), np.zeros((SIZE, SIZE, 3))
    result = Result(
        name=name,
        camera=Camera(image_size=SIZE, fov_deg=10.0, min_depth=0.9, max_depth=1.1, rot_center_depth=1.0),
        depth=flat,
        albedo=picture,
        view=np.zeros(6),
        light=np.zeros(4),
        mask=flat,
        image=picture,
        input_mask=flat,
        canonical=picture,
        reconstruction=picture,
        warped_depth=flat,
        metrics={"side": 0.03, "prior": {"side": 0.04}} | metrics,
    )
    save_result(result, folder.result(name))


def test_a_run_reads_each_result_once_and_no_array(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "_SPACING", 0)  # writes after every image
    folder = RunFolder(tmp_path)
    names = [f"{i:03d}.png" for i in range(60)]

    def reconstruct(group):
        return GroupOutcome({}, lambda: _save(folder, group[0].removesuffix(".png")) or {})

    with counted() as opened:
        assert for_each_group(folder, names, print, [[name] for name in names], reconstruct, wait=True) == 0
    reads = {path: count for path, count in opened.items() if path.startswith(str(tmp_path))}
    reads = {path: count for path, count in reads.items() if ".part/" not in path}  # the writer's own checksums
    # Of arrays, only the file that the page offers for download is read, and it once.
    assert {pathlib.Path(path).name for path in reads if path.endswith(".npy")} <= {"depth.npy"}
    assert {count for path, count in reads.items() if path.endswith(".npy")} <= {1}
    of_results = [count for path, count in reads.items() if pathlib.Path(path).name == "result.json"]
    assert len(of_results) == 60 and max(of_results) == 1
    assert len((tmp_path / "results.csv").read_text().splitlines()) >= 61


def test_writing_waits_longer_the_longer_it_takes(tmp_path):
    folder = RunFolder(tmp_path)
    told = Summaries(folder, ["a", "b"], print)
    _save(folder, "a")
    told.note({})
    _save(folder, "b")
    told.note({})  # too soon
    assert "\nb," not in (tmp_path / "results.csv").read_text()
    told.end()
    assert "\nb," in (tmp_path / "results.csv").read_text()


def test_results_that_other_hosts_wrote_meanwhile_are_told(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    told = Summaries(folder, ["a", "b"], print)
    _save(folder, "a")
    write = summaries.write_table

    def slow(root, rows):
        write(root, rows)
        if len(rows) == 1:
            _save(folder, "b")  # what another host does at that moment

    monkeypatch.setattr(summaries, "write_table", slow)
    told.note({})
    assert "\nb," in (tmp_path / "results.csv").read_text()


def test_a_shape_worse_than_its_prior_is_named_in_all_summaries(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    _save(folder, "good", worse_than_prior=False)
    _save(folder, "bad", side=0.05, worse_than_prior=True)
    Summaries(folder, ["good", "bad"], print).end()
    words = "done, worse than its prior"
    for file in ("results.csv", "results.md", "index.html"):
        assert (tmp_path / file).read_text().count(words) >= 1, file
    assert "worse than" in " ".join(capsys.readouterr().out.split())
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows if row.startswith("good,")] == ["done"]


def test_a_damaged_result_is_named_and_stops_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    _save(folder, "a")
    _save(folder, "b")
    (tmp_path / "results" / "a" / "result.json").write_text("{")
    Summaries(folder, ["a", "b"], print).end()
    rows = (tmp_path / "results.md").read_text()
    assert "unreadable" in rows and "result.json is damaged" in rows and "| b |" in rows


def test_metrics_are_read_without_the_arrays(tmp_path):
    folder = RunFolder(tmp_path)
    _save(folder, "a")
    (tmp_path / "results" / "a" / "depth.npy").unlink()
    assert (
        load_metrics(tmp_path / "results" / "a")
        == json.loads((tmp_path / "results" / "a" / "result.json").read_text())["metrics"]
    )


def test_an_image_is_made_while_the_one_before_is_written(tmp_path):
    folder, said = RunFolder(tmp_path), []
    second_is_under_way = threading.Event()

    def make(name):
        if name == "b.png":
            second_is_under_way.set()
        if name == "c.png":
            raise UserError("c is unusable")

        def write():
            assert second_is_under_way.wait(30)
            if name == "b.png":
                raise OSError("b cannot be written")
            _save(folder, name.removesuffix(".png"))

        return write

    names = ["a.png", "b.png", "c.png", "d.png"]
    assert for_each_image(folder, names, lambda line: said.append(str(line)), make) == 1
    assert [folder.is_finished(stem) for stem in "abcd"] == [True, False, False, True]
    assert sorted(said) == ["b: b cannot be written", "c: c is unusable"]
