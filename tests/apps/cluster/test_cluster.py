"""`--cluster ray`: photos on S3, divided among two workers of Ray on this machine, one of which is killed."""

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
from helpers.placed import placed
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


def _kill_a_worker(fs, bucket, after):
    """Once so many photos are done, kills one of the actors; returns its process id."""
    while len(fs.find(f"{bucket}/results/done")) < after:
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
    killed, command = [], ["photo", f"s3://{bucket}/photos", "--out", f"s3://{bucket}/results", "--cluster", "ray"]
    killer = threading.Thread(target=lambda: killed.append(_kill_a_worker(fs, bucket, after)), daemon=True)
    killer.start()
    capsys.readouterr()
    assert main(command) == 1
    printed = capsys.readouterr()
    killer.join(1)
    assert killed, "everything was done before a worker was killed"
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
    assert f"{count} of {count + 2} were finished before" in printed.err and "1 of 2:" in printed.err
    assert fs.find(f"{bucket}/results/results", detail=True) == before


def test_six_photos_on_s3_and_a_killed_worker_give_what_one_process_makes(workers, s3, tmp_path, monkeypatch, capsys):
    _compare(s3, tmp_path, monkeypatch, capsys, count=6, after=1)


@pytest.mark.heavy
def test_two_hundred_photos_do(workers, s3, tmp_path, monkeypatch, capsys):
    _compare(s3, tmp_path, monkeypatch, capsys, count=200, after=70)


def _answers(tmp_path, items, maker="maker", **task):
    """Returns the answers by name, of which there is one for each item, and what was said."""
    said = []
    task = {"folder": str(tmp_path), **task}
    answers = list(engine.answers(f"helpers.makers:{maker}", task, items, say=said.append))
    assert sorted(answer["name"] for answer in answers) == sorted(item["name"] for item in items)
    return {answer["name"]: answer for answer in answers}, said


def test_an_image_that_kills_its_workers_is_told_and_takes_no_other_with_it(workers, tmp_path):
    items = [{"name": f"{k}", "number": k} for k in range(6)]
    items[2]["dies"], items[3]["dies"], items[5]["fails"] = 100, 1, True
    answers, said = _answers(tmp_path, items)
    assert "2 workers" in said[0]
    assert {name for name, answer in answers.items() if answer["failed"]} == {"2", "5"}
    assert "its worker ended each of the 3 times" in answers["2"]["failed"]["2"]
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
        "print(list(engine.answers('helpers.makers:maker', task, items, say=print)))"
    )
    tests = pathlib.Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tests.parent), str(tests)])
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "'twice': 42" in ran.stdout and "Ray: " in ran.stdout


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
        (["a.jpg", "--cluster", "ray", "--which", "2"], "error: --box, --which, --mask and --latent are for a single"),
        (["a.jpg", "--cluster", "ray", "--open"], "error: --open is for photos without --cluster"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, sentence, capsys):
    assert main(["photo", *arguments]) == 1
    assert sentence in capsys.readouterr().err
