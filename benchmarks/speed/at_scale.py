"""Photos a second: 1, 8 and 64 at once in one process, and by one and two workers of Ray with a core each.

    python benchmarks/speed/at_scale.py [--photos 64] [--rounds 2]

The photos show a bundled face on noise; all files and the page are made. What is compiled is compiled before. One and
two workers take turns; what counts is the time from the first batch of each to the last photo, without the start of
Ray. Needs the extra `cluster`, and two idle cores for figures that mean something.
"""

import argparse
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.io.bundled import asset


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        names = _photos(pathlib.Path("photos"), options.photos)
        _in_one_process(names)
        _by_workers(options.rounds)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def _photos(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Writes photos of 300 x 220 pixels, each with a face of about 100."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with Image.open(asset("ictface/image/006.png")) as picture:
        face = picture.convert("RGB")
    for k in range(count):
        photo = Image.fromarray(rng.integers(80, 110, (220, 300, 3), dtype=np.uint8))
        photo.paste(face.resize((100 + k % 7,) * 2), (60 + k % 50, 40 + k % 30))
        photo.save(folder / f"{k:04}.jpg", quality=92)
    return sorted(folder.iterdir())


def _in_one_process(paths: Sequence[pathlib.Path]) -> None:
    """Prints photos a second of `photo`'s own functions."""
    from gan2shape_jax.apps.photo import crops, photo_run

    config = photo_run.config_of(photo_run.load_kind("people"), pathlib.Path("one"), refine=False)
    cropper = crops.load_cropper(config, say=print)

    def make(part: Sequence[pathlib.Path], name: str) -> None:
        requests = [photo_run.Request(path, f"{name}-{path.stem}") for path in part]
        prepared = [photo for request in requests for photo in photo_run.prepare(request, config, cropper)]
        assert not photo_run.run_over(config, prepared, cropper) and len(prepared) == len(part)

    for at_once in (1, 8, 64):
        make(paths[:at_once], f"first{at_once}")  # compiles
        count = min(len(paths), max(at_once, 8))
        began = time.perf_counter()
        for first in range(0, count, at_once):
            make(paths[first : first + at_once], f"at{at_once}")
        print(f"{at_once} at once: {count / (time.perf_counter() - began):.2f} photos a second", flush=True)


def _by_workers(rounds: int) -> None:
    """Prints photos a second of one and of two workers, each on a machine of its own with one core."""
    import ray
    from ray.cluster_utils import Cluster

    from gan2shape_jax.main import main as command

    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for count in rates:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
            if count == 2:
                cluster.add_node(num_cpus=1, num_gpus=0)
            ray.init(address=cluster.address, log_to_driver=False)
            out = pathlib.Path(f"workers{count}-{number}")
            command(["photo", "photos", "--out", str(out), "--cluster", "ray"])
            ray.shutdown()
            cluster.shutdown()
            done = sorted(path.stat().st_mtime for path in (out / "done").iterdir())
            # Batches of eight end together: the first of each worker is its start.
            start = done[8 * count - 1]
            rates[count].append(sum(at > start for at in done) / (done[-1] - start))
            print(f"{count} worker{'s'[: count > 1]}: {rates[count][-1]:.2f} photos a second", flush=True)
    one, two = (float(np.median(rates[count])) for count in rates)
    print(f"two workers: {two / one:.2f} times as many as one, {two / one / 2:.0%} of twice")


if __name__ == "__main__":
    main()
