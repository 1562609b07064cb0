"""How far the backs of whole heads are from true ones: the skull of `results.back`, and the front mirrored.

    python benchmarks/faces/backs.py --sources DIR --split test --seed 93 --count 32

Heads are rendered from in front as by `render.py --frame 1.6`, and reconstructed by `people:head`. The front is laid
onto the true head, hair and all, by scale and translation; the distances are from the back, above the chin, to the
nearest place of that head, in millimetres where the eyes are 63 mm apart.
"""

import argparse
import pathlib

import drawing
import jax
import numpy as np
import render
import sources
import trimesh
from scipy import spatial

import gan2shape_jax as g2s
from gan2shape_jax.results.back import back_of
from gan2shape_jax.results.result import EYES_MM
from gan2shape_jax.results.surface import cut_surface, surface

_CHIN = 1.8  # below the eyes, in distances between them
_SAMPLES, _STEPS = 100_000, 20  # of a true head's surface, and of laying a front onto it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=pathlib.Path, required=True, help="folder of the three clones")
    parser.add_argument("--split", choices=render.chance.SPLITS, default="test")
    parser.add_argument("--seed", type=int, default=93)
    parser.add_argument("--count", type=int, default=32, help="heads, of both families together")
    options = parser.parse_args()
    drawn_so = {"frame": 1.6, "size": 64, "supersample": 3, "pictures": 1, "yaw": 0.0, "rigid": False}
    vars(options).update(drawn_so | dict.fromkeys(("fov", "turned", "jaw")))
    families, model = render.heads(options.sources), g2s.load_model(config="people:head")
    for name in sources.FAMILIES:
        numbers = list(range(options.count // 2))
        device = drawing.on_device(families[name])
        drawn = render.batch(families[name], device, name, numbers, options)
        heads = _true_heads(families[name], device, name, numbers, options)
        results = map(model.reconstruct, drawn["image"])
        apart = [_distances(result, *head) for result, head in zip(results, heads, strict=True)]
        skull, mirrored, front = np.mean(apart, axis=0)
        print(f"{name}: skull {skull:.1f} mm, mirrored {mirrored:.1f} mm; front {front:.1f} mm; {len(apart)} heads")


def _true_heads(family: dict, device: dict, name: str, numbers: list[int], options: argparse.Namespace) -> list[tuple]:
    """Returns points of heads' surfaces from in front, in scene units, where the chin ends, and the eyes' distance."""
    persons, scenes = render.described(family["names"], name, numbers, options)
    persons["weights"] = persons["weights"] - family["mean"]
    points = np.asarray(jax.jit(jax.vmap(drawing.shaped, (None, 0)))(device, persons))
    straight = scenes | {"view": np.zeros_like(scenes["view"])}
    scene, _, tangent, _ = jax.vmap(drawing.in_scene)(points, straight)
    middle = np.array([0, 0, 1])
    placed = (np.asarray(scene) - middle) / np.asarray(tangent)[:, None, None] + middle
    found = []
    for k, style in enumerate(persons["style"]):
        skin = family["faces"][family["parts"] == sources.SKIN]
        shown = np.concatenate([skin, family["hair_faces"][style] + len(family["rest"])])
        sampled, _ = trimesh.sample.sample_surface(trimesh.Trimesh(placed[k], shown, process=False), _SAMPLES, seed=k)
        eyes = placed[k][np.asarray(family["eyes"])].mean(axis=1)
        apart = np.linalg.norm(eyes[0] - eyes[1])
        found.append((np.asarray(sampled), eyes.mean(axis=0)[1] + _CHIN * apart, apart))
    return found


def _distances(result: g2s.Reconstruction, truth: np.ndarray, chin: float, eyes: float) -> tuple[float, float, float]:
    """Returns the mean distances of the skull, of the mirrored front and of the front, in millimetres."""
    part = surface(result)
    front = cut_surface(part.depth, part.field, result.camera)
    skull = back_of(front, result.camera, np.zeros((result.camera.image_size,) * 2 + (3,), np.uint8))
    mirrored = front.points * (1, 1, -1) + (0, 0, 2 * front.points[:, 2].max())
    tree, scale, shift = spatial.KDTree(truth), 1.0, np.zeros(3)
    above = front.points[:, 1] < chin
    for _ in range(_STEPS):
        there = truth[tree.query(front.points[above] * scale + shift)[1]]
        here = front.points[above]
        ours, theirs = here - here.mean(axis=0), there - there.mean(axis=0)
        scale = float((ours * theirs).sum() / (ours**2).sum())
        shift = there.mean(axis=0) - scale * here.mean(axis=0)
    apart = []
    for points, faces in ((skull.points, skull.faces), (mirrored, front.faces), (front.points, front.faces)):
        laid = points * scale + shift
        distance = tree.query(laid)[0]
        area = np.bincount(faces.ravel(), np.repeat(trimesh.triangles.area(laid[faces]), 3), minlength=len(laid))
        counted = area * (laid[:, 1] < chin)
        apart.append(float((distance * counted).sum() / counted.sum()) * EYES_MM / eyes)
    return apart[0], apart[1], apart[2]


if __name__ == "__main__":
    main()
