"""`--cluster ray`: photos on S3, divided among two workers of Ray on this machine, one of which is killed."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers.command_line import overrides
from helpers.placed import placed
from helpers.tiny import tiny_config
from PIL import Image

from gan2shape_jax.apps.cluster import engine
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main

_FACES = ("001", "002", "005", "006", "008", "009")


def _photos(folder, count):
    """Writes different small photos of faces, a broken one, and one with nobody; returns the names of the former."""
    folder.mkdir()
    names = [f"face{k:03}" for k in range(count)]
    for k, name in enumerate(names):
        where = {"x": 100 + 13 * k % 97, "y": 90 + 7 * k % 41, "side": 88 + 2 * (k % 9)}
        photo = placed(f"ictface/image/{_FACES[k % len(_FACES)]}.png", **where)
        Image.fromarray(photo).save(folder / f"{name}.jpg", quality=90)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    Image.new("RGB", (90, 90), "teal").save(folder / "nobody.png")
    return names


def _sums(files):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def _a_worker_killed(when):
    """Kills an actor once the condition holds, which has to be before the block ends."""
    killed = []
    killer = threading.Thread(target=lambda: killed.append(_kill_a_worker(when)), daemon=True)
    killer.start()
    yield
    killer.join(1)
    assert killed, "all was done before a worker was killed"


def _kill_a_worker(when):
    while not when():
        time.sleep(0.05)
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            own = process.stat().st_uid == os.getuid() and _is_below(int(process.name), os.getpid())
            if own and (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                os.kill(int(process.name), signal.SIGKILL)
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("there is no actor")


def _is_below(process, ancestor):
    while process > 1:
        if process == ancestor:
            return True
        process = int(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def _compare(s3, tmp_path, monkeypatch, capsys, *, count, after):
    """Makes photos in one process, and with two workers on S3 of which one is killed, and compares every file."""
    import s3fs

    monkeypatch.chdir(tmp_path)
    names = _photos(tmp_path / "photos", count)
    assert main(["photo", "photos", "--out", "results"]) == 1
    fs, bucket = s3fs.S3FileSystem(use_listings_cache=False), f"bucket/{count}"
    fs.put("photos", f"{bucket}/photos", recursive=True)
    command = ["photo", f"s3://{bucket}/photos", "--out", f"s3://{bucket}/results", "--cluster", "ray"]
    capsys.readouterr()
    with _a_worker_killed(lambda: len(fs.find(f"{bucket}/results/done")) >= after):
        assert main(command) == 1
    printed = capsys.readouterr()
    assert "Ray: 2 workers with 2 cores each" in printed.err

    made = {
        path.removeprefix(f"{bucket}/results/"): content
        for path, content in fs.cat(fs.find(f"{bucket}/results")).items()
    }
    one = _below(tmp_path / "results")
    assert sorted(name.removeprefix("done/") for name in made if name.startswith("done/")) == [
        f"{n}.json" for n in names
    ]
    own = {name for name in made if name.startswith(("results/", "photos/image/", "photos/mask/", "photos/framing/"))}
    assert own and _sums({name: made[name] for name in own}) == _sums({name: one[name] for name in own})
    assert {name for name in one if name.startswith("results/")} <= own
    for name in names:
        ours, theirs = (json.loads(files[f"photos/{name}.json"]) for files in (made, one))
        assert ours["photo"].pop("path") == f"s3://{bucket}/photos/{name}.jpg" and theirs["photo"].pop("path")
        assert ours == theirs
    table = made["results.csv"].decode().splitlines()
    assert [line.split(",")[0] for line in table[1:]] == ["broken", *names, "nobody"]
    assert table[2:-1] == one["results.csv"].decode().splitlines()[2:-1]
    assert "is damaged or truncated" in table[1] and f"s3://{bucket}/photos/broken.jpg" in table[1]
    assert "no face found" in table[-1]
    page = made["index.html"].decode()
    assert page.count("<img src=") >= count and f'"results/{names[0]}"' in page

    before = fs.find(f"{bucket}/results/results", detail=True)
    assert main(command) == 1  # only the two that failed are tried again
    printed = capsys.readouterr()
    assert f"{count} of {count + 2} were finished earlier" in printed.err and "1 of 2:" in printed.err
    assert fs.find(f"{bucket}/results/results", detail=True) == before


def test_six_photos_on_s3_and_a_killed_worker_give_what_one_process_makes(workers, s3, tmp_path, monkeypatch, capsys):
    _compare(s3, tmp_path, monkeypatch, capsys, count=6, after=1)


@pytest.mark.heavy
def test_two_hundred_photos_do(workers, s3, tmp_path, monkeypatch, capsys):
    _compare(s3, tmp_path, monkeypatch, capsys, count=200, after=70)


def _both(arguments, tmp_path, monkeypatch, when=None):
    """Runs a command in one process and with two workers, in folders of the same name; compares every file."""
    folders = [tmp_path / "one/run", tmp_path / "cluster/run"]
    for folder, more in zip(folders, ([], ["--cluster", "ray"])):
        folder.parent.mkdir()
        monkeypatch.chdir(folder.parent)
        with _a_worker_killed(functools.partial(when, folder)) if when and more else contextlib.nullcontext():
            assert main([*arguments, *more]) == 0
    one, cluster = map(_below, folders)
    cluster = {name: content for name, content in cluster.items() if not name.startswith("done/")}
    assert _sums(cluster) == _sums(one) and any(name.endswith("depth.npy") for name in one)
    return folders[1]


def _images(tmp_path, names, **fields):
    """Returns the arguments for a run over images of the list, into the folder `run`."""
    (tmp_path / "inputs").mkdir()
    config = tiny_config(tmp_path / "inputs", names=names, workdir="run", **fields)
    return ["--config=ictface", *overrides(config)]


def test_images_of_a_list_are_predicted_as_by_one_process(workers, tmp_path, monkeypatch, capsys):
    (tmp_path / "list.txt").write_text("001.png\n006.png\n")
    arguments = ["--config=ictface", "--config.recipe=predict", "--config.workdir=run", "--config.outputs.preset=mesh"]
    arguments += [f"--config.data.image_list={tmp_path}/list.txt"]
    _both(arguments, tmp_path, monkeypatch)
    capsys.readouterr()
    assert main([*arguments, "--cluster=ray"]) == 0
    printed = capsys.readouterr().out
    assert "001: finished before, skipped" in printed and "Ray" not in printed


@pytest.mark.heavy
def test_images_that_are_trained_resume_when_their_worker_is_killed(workers, tmp_path, monkeypatch):
    arguments = _images(tmp_path, ("001.png", "005.png", "006.png"))
    run = _both(
        arguments, tmp_path, monkeypatch, lambda run: list(run.glob("checkpoints/*/001/*/_CHECKPOINT_METADATA"))
    )
    assert not list(run.glob("checkpoints/*"))


@pytest.mark.heavy
def test_a_refined_photo_is_as_by_one_process(workers, tmp_path, monkeypatch, short):
    for name in ("a", "b"):
        Image.fromarray(placed(x=150 + 20 * (name == "a"))).save(tmp_path / f"{name}.png")
    _both(["photo", f"{tmp_path}/*.png", "--model", str(short), "--refine", "--out", "run"], tmp_path, monkeypatch)


_ALONE = "predicted or trained independently of each other"


@pytest.mark.parametrize(
    "words, message",
    [
        ("ictface:scratch --config.recipe=joint --cluster=ray", _ALONE),
        ("ictface:scratch --config.schedule.reset_weight=False --cluster=ray", _ALONE),
        ("ictface --cluster=slurm", "--cluster is 'slurm': it must be one of ray"),
    ],
)
def test_what_depends_on_other_images_is_not_for_a_cluster(tmp_path, capsys, words, message):
    assert main([f"--config.workdir={tmp_path}", *f"--config={words}".split()]) == 2
    assert message in capsys.readouterr().err


def _answers(tmp_path, items, maker="maker", **task):
    """Returns the answers by name, of which there is one for each item, and what was said."""
    said = []
    task = {"folder": str(tmp_path), **task}
    answers = list(engine.answers(f"helpers.makers:{maker}", task, items, at_once=2, log=said.append))
    assert sorted(answer["name"] for answer in answers) == sorted(item["name"] for item in items)
    return {answer["name"]: answer for answer in answers}, said


def test_an_image_that_kills_its_workers_is_told_and_takes_no_other_with_it(workers, tmp_path):
    items = [{"name": f"{k}", "number": k} for k in range(6)]
    items[2]["dies"], items[3]["dies"], items[5]["fails"] = 100, 1, True
    answers, said = _answers(tmp_path, items)
    assert "2 workers" in said[0]
    assert {name for name, answer in answers.items() if answer["failed"]} == {"2", "5"}
    assert "its worker died in each of 3 attempts" in answers["2"]["failed"]["2"]
    assert "KeyError: 'nobody has thought of this'" in answers["5"]["failed"]["5"]
    assert answers["3"]["twice"] == 6


def test_what_no_worker_can_do_ends_the_command(workers, tmp_path):
    with pytest.raises(UserError, match="there is no model own"):
        _answers(tmp_path, [{"name": "a", "number": 1}], "refusing", model="own")


def test_without_a_cluster_one_is_started(tmp_path):
    """By a command of its own, with what it leaves: nothing."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    script = (
        "from gan2shape_jax.apps.cluster import engine\n"
        "items = [{'name': 'a', 'number': 21}]\n"
        f"task = {{'folder': {str(tmp_path)!r}}}\n"
        "print(list(engine.answers('helpers.makers:maker', task, items, at_once=1, log=print)))"
    )
    tests = pathlib.Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tests.parent), str(tests)])
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "'twice': 42" in ran.stdout and "Ray: " in ran.stdout


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_a_sentence(tmp_path, monkeypatch, address):
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"^there is no Ray cluster at RAY_ADDRESS={address}: .*refused"):
        _answers(tmp_path, [{"name": "a", "number": 1}])


def test_without_the_extra_a_sentence_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None if name == "ray" else object())
    assert main(["photo", "s3://bucket/photos", "--out", "s3://bucket/results", "--cluster", "ray"]) == 1
    brings = "pip install -e '.[cluster]' in the checkout brings it"
    assert capsys.readouterr().err == f"error: --cluster ray needs ray, which is not installed: {brings}\n"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            ["s3://bucket/photos"],
            "error: s3://bucket/photos is in object storage, which is read and written with --cluster ray",
        ),
        (["a.jpg", "--out", "s3://bucket/x"], "error: s3://bucket/x is in object storage"),
        (["a.jpg", "--cluster", "ray", "--which", "2"], "error: --which is for photos without --cluster"),
        (["a.jpg", "--cluster", "ray", "--open"], "error: --open is for photos without --cluster"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, sentence, capsys):
    assert main(["photo", *arguments]) == 1
    assert sentence in capsys.readouterr().err
