"""How near the sum of a blended mask, and its derivatives, come to the area that a mesh covers and to that area's.

    python benchmarks/quality/silhouettes.py

Convex bodies in random poses, and a square whose corners are samples, in float64; the area is that of the hull of the
corners on screen, its derivatives are finite differences of it. For each width on screen, in samples:

    area      off by this share of the area
    scaled    derivative when the body grows, off by this share of the true one
    moved     derivative when the body moves sideways by a sample, off by this, in samples of area

Means are root mean squares over the poses, beside the largest.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from rich.console import Console
from rich.table import Table
from scipy.spatial import ConvexHull

from gan2shape_jax.geometry.camera import Camera, project, transform
from gan2shape_jax.geometry.mesh_rasterizer import antialias, rasterize

_WIDTHS = 8, 16, 32, 64
_STEP = 1e-5


def bodies() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns vertices and faces of bodies of width 1 around the origin."""
    ball, box = trimesh.creation.icosphere(subdivisions=3, radius=0.5), trimesh.creation.box(extents=(1, 0.8, 0.6))
    triangle = np.array([[-0.5, -0.4, 0], [0.5, -0.3, 0], [0.1, 0.5, 0]]), np.array([[0, 1, 2]])
    square = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [-0.5, 0.5, 0], [0.5, 0.5, 0]])
    solid = {f"{name}, {len(body.faces):,} triangles": (np.asarray(body.vertices), np.asarray(body.faces, np.int32))
             for name, body in (("ball", ball), ("box", box))}  # fmt: skip
    return solid | {"one triangle": triangle, "square on samples": (square, np.array([[0, 1, 2], [1, 3, 2]]))}


def errors(vertices: np.ndarray, faces: np.ndarray, width: int, poses: int, *, turned: bool) -> dict[str, np.ndarray]:
    """Returns the errors of each pose."""
    side = 2 * width
    camera = Camera(side, K=(4 * width, 4 * width, side // 2, side // 2))
    rng = np.random.default_rng(0)
    angles = rng.normal(size=(poses, 3)) if turned else np.zeros((poses, 3))
    if len(faces) == 1:
        angles[:, :2] = 0  # a triangle seen from its side has no area
    places = rng.uniform(-0.5, 0.5, (poses, 2)) / (4 * width) if turned else np.zeros((poses, 2))
    moves = np.concatenate([angles, places, np.zeros((poses, 1)), np.ones((poses, 1))], -1)

    def placed(moves: jax.Array) -> jax.Array:
        return transform(jnp.asarray(vertices) / 4 * moves[6] + jnp.array([0, 0, 1.0]), moves[:6], camera)

    def area(moves: jax.Array, faces: jax.Array) -> jax.Array:
        points = placed(moves)
        fragments = rasterize(points, camera, faces=faces)
        mask = (fragments.triangle[..., None] >= 0).astype(points.dtype)
        return jnp.sum(antialias(mask, fragments, points, camera, faces=faces))

    value, slope = jax.jit(jax.vmap(jax.value_and_grad(area), (0, None)))(jnp.asarray(moves), jnp.asarray(faces))
    corners = jax.jit(jax.vmap(lambda moves: project(placed(moves), camera)))

    def exact(moves: np.ndarray) -> np.ndarray:
        return np.array([ConvexHull(each).volume for each in np.asarray(corners(jnp.asarray(moves)))])

    steps = _STEP * np.eye(7)[[6, 3]]
    grown, moved = ((exact(moves + step) - exact(moves - step)) / (2 * _STEP) for step in steps)
    slope = np.asarray(slope)
    return {
        "area": np.asarray(value) / exact(moves) - 1,
        "scaled": slope[:, 6] / grown - 1,
        "moved": (slope[:, 3] - moved) / (4 * width),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=64)
    poses = parser.parse_args().poses
    table = Table("body", "width", "area", "largest", "scaled", "largest", "moved", "largest")
    with jax.enable_x64(True):
        for name, (vertices, faces) in bodies().items():
            for width in _WIDTHS:
                off = errors(vertices, faces, width, poses, turned="square" not in name)
                cells = []
                for key, of_each in off.items():
                    pair = np.sqrt((of_each**2).mean()), np.abs(of_each).max()
                    cells += [f"{number:.2f}" if key == "moved" else f"{number:.2%}" for number in pair]
                table.add_row(name, str(width), *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
