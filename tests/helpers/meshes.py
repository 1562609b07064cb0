"""Random meshes of named difficulties, the camera and samples that tests look at them with, and what these see."""

import numpy as np

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry.rasterizer import SampleGrid
from helpers import compiled
from helpers.compiled import FACES, VERTICES

CAMERA = camera_lib.Camera(9, fov_deg=60.0)
SAMPLES = SampleGrid.over(CAMERA, supersample=3).shifted(0.0123)
KINDS = "small", "large", "around the camera", "slivers", "mixed"


def random_mesh(kind, seed):
    """Returns vertices (24, 3) and faces (40, 3) of a named difficulty, in float64."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-0.6, -0.6, 0.8], [0.6, 0.6, 1.3], (VERTICES, 3))
    faces = rng.integers(0, VERTICES, (FACES, 3), np.int32)
    if kind == "small":  # near to each other on screen
        nearest = np.argsort(np.linalg.norm(points[:, None] - points, axis=-1), axis=1)
        faces[:, 1:] = nearest[faces[:, :1], 1 + rng.integers(0, 3, (FACES, 2))]
    elif kind == "large":
        points[:, :2] *= 40
    elif kind == "around the camera":
        points = rng.normal(size=points.shape)
        points[:4, 2] = 0
    elif kind == "slivers":
        faces[:, 2] = faces[:, 1]
        points = np.concatenate([points[:12], points[:12] + rng.normal(size=(12, 3)) * 1e-3])
        faces = faces % 12
        faces[:, 2] += 12
    elif kind == "mixed":
        points *= 10 ** rng.uniform(-2, 2, (VERTICES, 1))
    # The same triangle twice, in another order, has the same depth but for rounding: keep one.
    again = np.setdiff1d(np.arange(FACES), np.unique(np.sort(faces, 1), axis=0, return_index=True)[1])
    faces[again] = 0
    return points, faces


def chosen(faces, which):
    """The faces that are chosen, in their order, and as many without area as are left."""
    return np.concatenate([faces[which], np.zeros_like(faces[~which])])


def rasterize(vertices, faces):
    return compiled.rasterize(vertices, CAMERA, faces=faces, samples=SAMPLES)


def brute_force(vertices, faces, camera, samples):
    """Returns triangle, barycentrics and depth: the ray of every sample through every triangle, in float64."""
    y, x = samples.first + samples.spacing * np.indices(samples.shape)
    fx, fy, cx, cy = camera.intrinsics
    rays = np.stack([(x - cx) / fx, (y - cy) / fy, x * 0 + 1])
    triangle = np.full(x.shape, -1)
    barycentric = np.zeros((*x.shape, 3))
    depth = np.full(x.shape, camera.far)
    farthest = np.max(np.asarray(vertices)[..., 2], initial=0)
    near = 1e-4 * min(farthest, camera.far) if camera.near is None else camera.near
    for number, corners in enumerate(np.asarray(vertices, np.float64)[faces]):
        if np.linalg.matrix_rank(corners) < 3 or len(set(faces[number])) < 3:
            continue
        # The point of depth z on a ray is z times it, and the sum of weight times corner.
        shares = np.linalg.solve(corners.T, rays.reshape(3, -1)).T.reshape(*x.shape, 3)
        z = 1 / np.where((shares >= 0).all(-1), shares.sum(-1), np.inf)
        won = (z > near) & (z < depth)
        triangle[won], depth[won] = number, z[won]
        barycentric[won] = (shares * z[..., None])[won]
    return triangle, barycentric, depth
