"""Seconds from a photo to its mesh, feed-forward with the bundled model, in a warm process.

    python benchmarks/speed/feed_forward.py

Median and minimum of twenty, each from the decoded picture to the textured mesh in memory; the first one compiles.
"""

import argparse
import statistics
import time

from PIL import Image

import gan2shape_jax as g2s
from gan2shape_jax.io.bundled import asset

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    begin = time.perf_counter()
    model = g2s.load_model()
    loaded = time.perf_counter() - begin
    image, mask = (Image.open(asset(f"ictface/{kind}/006.png")) for kind in ("image", "mask"))
    image.load(), mask.load()
    seconds = []
    for _ in range(21):
        begin = time.perf_counter()
        mesh = model.explain(image, mask=mask).mesh()
        seconds.append(time.perf_counter() - begin)
    print(
        f"loaded in {loaded:.2f} s, first mesh {seconds[0]:.2f} s, then {statistics.median(seconds[1:]):.3f} s "
        f"(least {min(seconds[1:]):.3f}); {len(mesh.vertices)} vertices"
    )
