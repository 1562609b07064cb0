"""Draws heads with the package's rasteriser of meshes: a batch of pictures, and what is true of them, in one program.

A head is made from its modes, turned, lit by second-order harmonics and a key light whose shadow is a second pass from
the light, painted by formulas in the coordinates of the head at rest, and put before a background. Conventions are
those of `geometry.camera`: x right, y down, z away, the rotation centre one unit from the camera; of what is returned,
normals and light are as in `geometry.lighting`.
"""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from sources import EYE, GLASSES, HAIR, MOUTH, SKIN, TEETH

from gan2shape_jax.geometry.camera import Camera, rotation_matrix
from gan2shape_jax.geometry.mesh_rasterizer import interpolate, rasterize

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import photograph
from photograph import bell, curve, step, unit

_UNIT = 0.0677  # scene units of a unit of the head; with the next line, framed as the bundled faces are
_CENTER = np.array([0.0, -0.51, -0.28])  # of rotation, in the head's frame
_SKULL = np.array([0.0, 0.25, -1.2])  # its middle, in the head's frame
_HALF = 0.44  # from the middle to an eye
_AXES = np.array([1.0, -1, -1])  # from the head's frame to the scene's


def occlusion(family: dict, directions: int = 48) -> np.ndarray:
    """Returns the share of the sky that each vertex sees at rest, `(styles, N + H)`, weighted by the cosine."""
    k = np.arange(directions) + 0.5
    up, turn = 1 - 2 * k / directions, k * np.pi * (1 + 5**0.5)
    sky = np.stack([np.sqrt(1 - up**2) * np.cos(turn), up, np.sqrt(1 - up**2) * np.sin(turn)], -1)
    camera = Camera(image_size=160, fov_deg=20.0)
    result = []

    @jax.jit
    def visible_from(vertices, faces, normals, direction):
        side = jnp.cross(
            direction, jnp.where(jnp.abs(direction[1]) < 0.9, jnp.array([0.0, 1, 0]), jnp.array([1.0, 0, 0]))
        )
        side /= jnp.linalg.norm(side)
        frame = jnp.stack([side, jnp.cross(direction, side), -direction])
        points = vertices @ frame.T * 0.048 + jnp.array([0, 0, 1.0])
        depth = rasterize(points, camera, faces=faces).depth
        xy = jnp.clip(
            jnp.round(points[:, :2] / points[:, 2:] * camera.focal_length + (camera.width - 1) / 2), 0, 159
        ).astype(int)
        visible = points[:, 2] < depth[xy[:, 1], xy[:, 0]] + 0.003
        weight = jnp.maximum(normals @ direction, 0)
        return weight * visible, weight

    for style in range(len(family["hair"])):
        vertices = jnp.asarray(np.concatenate([family["rest"], family["hair"][style]]))
        faces = np.concatenate(
            [family["faces"][family["parts"] != GLASSES], family["hair_faces"][style] + len(family["rest"])]
        )
        normals = _normals(vertices, jnp.asarray(family["faces"]), len(family["rest"]))
        total = sum(
            np.stack(visible_from(vertices, jnp.asarray(faces), normals, jnp.asarray(d, jnp.float32))) for d in sky
        )
        result.append(total[0] / np.maximum(total[1], 1e-3))
    return np.stack(result).astype(np.float32)


def _normals(vertices, faces, head: int):
    """Returns the vertices' outward normals: the surface's for the head, away from its middle for hair."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across = jnp.cross(b - a, c - a)
    total = jnp.zeros((head, 3)).at[faces.reshape(-1)].add(jnp.repeat(across, 3, 0))
    return jnp.concatenate([unit(total), unit(vertices[head:] - jnp.array([0, -0.2, -1.1]))])


def _paint(q, part, lips, shade, p, balls, radius, gaze):
    """Returns linear albedo (..., 3) and gloss (...) at points of the head at rest."""
    x, y, z = q[..., 0], q[..., 1], q[..., 2]
    u = jnp.abs(x) / _HALF
    phase = q @ (p["waves"] * jnp.linspace(2, 22, len(p["waves"]))[:, None]).T + p["phases"]
    waves = jnp.sin(phase)
    coarse, fine = waves[..., :10].mean(-1), waves[..., 10:].mean(-1)
    skin = p["skin"] * (1 + 0.10 * coarse + 0.07 * fine)[..., None]
    blush = p["blush"] * (
        bell((u - 1.25) / 0.55, (y + 0.6) / 0.32)
        + 0.8 * bell(u / 0.5, (y + 0.62) / 0.2) * (z > 0.3)
        + 0.5 * (z < -1.0) * (y > -0.9)
    )
    skin = skin * (1 - blush[..., None] * jnp.array([0.02, 0.24, 0.2]))
    socket = bell((u - 1) / 0.5, (y + 0.03) / 0.2) * (z > -0.6)
    bags = p["age"] * (
        bell((u - 0.95) / 0.45, (y + 0.3) / 0.06) + bell((u - 0.85 + (y + 0.85) * 0.5) / 0.09, (y + 0.8) / 0.3)
    )
    skin = skin * (1 - (0.2 * socket + 0.3 * bags * (z > -0.5))[..., None] * jnp.array([0.8, 1, 1]))
    spots = 0.3 * p["freckles"] * step(fine, 0.12, 0.3) * bell(u / 1.6, (y + 0.4) / 0.5)
    skin = skin * (1 - spots[..., None] * jnp.array([0.5, 0.8, 1]))
    skin = skin + lips[..., None] * (p["lip"] - skin)

    strands = 0.8 + 0.4 * jnp.sin(70 * u + 55 * y + 12 * fine) * jnp.sin(23 * y - 9 * u + 9 * coarse)
    # Eyebrows.
    shift, arch, thick, strength = p["brow"]
    line = curve(u, [0.2, 0.5, 1.25, 1.9], [0.37, 0.40, 0.46, 0.34]) + shift + arch * (u - 0.9)
    width = thick * curve(u, [0.3, 0.55, 1.2, 1.85], [0.05, 0.068, 0.052, 0.012])
    brow = strength * step(width - jnp.abs(y - line), -0.03, 0.03)
    brow = brow * step(u, 0.28, 0.45) * (1 - step(u, 1.75, 1.95)) * (z > -0.7)
    skin = skin + (brow * jnp.clip(strands + 0.2, 0, 1))[..., None] * (p["brow_colour"] - skin)
    # Beard: stubble everywhere, moustache, chin, cheeks.
    top = curve(u, [0.0, 0.7, 1.05, 1.5, 2.2, 3.0], [-0.70, -0.74, -0.95, -0.8, -0.35, -0.1]) + 0.03 * coarse
    area = step(top - y, -0.05, 0.1) * step(y, -2.3, -1.9) * (z > -1.5)
    over = step(y, -1.08, -0.98) * (u < 1.3)
    chin = (1 - over) * (1 - step(u, 0.75, 1.05))
    cheek = (1 - over) * step(u, 0.75, 1.05)
    beard = area * (p["beard"][1] * over + p["beard"][2] * chin + p["beard"][3] * cheek) * (1 - 0.9 * lips)
    bearded = skin + (beard * jnp.clip(strands + 0.1, 0, 1) * 0.92)[..., None] * (p["brow_colour"] * 1.4 - skin)
    skin = jnp.where(p["beard"][:1] > 0, bearded * 0.9 + 0.1 * skin, bearded)
    # Lids.
    ball = jnp.where(x[..., None] > 0, balls[0], balls[1])
    away = jnp.sqrt(((q - ball) ** 2).sum(-1)) / radius
    lid = (1 - step(away, 1.06, 1.22)) * jnp.where(y > -0.0, 1.0, 0.45) * p["liner"]
    skin = skin * (1 - lid[..., None] * jnp.array([0.8, 0.85, 0.85]))
    # Scalp and clothes.
    hairline = curve(-z, [-0.3, 0.2, 0.55, 0.8, 1.1, 1.45, 2.2], [1.12, 1.02, 0.7, 0.35, -0.05, -0.2, -1.1])
    above = y - hairline - p["hairline"] * (z > -0.8) + 0.12 * coarse
    scalp = p["shaved"] * step(above, -0.2, 0.6 - 0.45 * p["shaved"] ** 2) * (0.8 + 0.2 * strands)
    scalp = scalp * jnp.where((z < -0.95) & (z > -1.75) & (u > 3.0) & (y < 0.35), 0, 1)  # not the ears
    skin = skin + scalp[..., None] * (p["hair"] * 0.6 - skin)
    shirt = step(p["collar"] + 0.35 * (z < -1) - y + 0.15 * z, 0, 0.04)
    skin = skin + shirt[..., None] * (p["shirt"] * (1 + 0.1 * fine[..., None]) - skin)
    gloss = 0.35 * (1 - scalp) * (1 - shirt) * (1 + lips + 0.5 * bell(u / 0.6, (y + 0.3) / 0.8))

    # Eyes: angle from the gaze.
    look = unit(q - ball)
    ahead = jnp.array([jnp.sin(gaze[0]), jnp.sin(gaze[1]), jnp.cos(gaze[0]) * jnp.cos(gaze[1])])
    angle = jnp.arccos(jnp.clip(look @ ahead, -1, 1))
    around = jnp.sin(23 * jnp.arctan2(look[..., 1], look[..., 0]) + 5 * coarse)
    white = jnp.array([0.62, 0.56, 0.53]) * (1 - 0.2 * step(angle, 0.6, 1.2))[..., None]
    iris = p["iris"] * (1.15 + 0.2 * around - 0.75 * step(angle, 0.36, 0.44))[..., None]
    eye = jnp.where((angle < 0.45)[..., None], iris, white) * step(angle, 0.15, 0.2)[..., None] + 0.004

    locks = jnp.arctan2(x, z - _SKULL[2])
    locks = 0.18 * jnp.sin(41 * locks + 6 * coarse) + 0.14 * jnp.sin(97 * locks + 3 * y) + 0.25 * coarse + 0.15 * fine
    hair = p["hair"] * (jnp.clip(shade, 0.3, 2.0) ** 1.4 * (0.95 + locks))[..., None]
    albedo, shine = skin, gloss
    for number, colour, light in (
        (MOUTH, jnp.array([0.16, 0.04, 0.035]), 0.3), (TEETH, jnp.array([0.6, 0.54, 0.44]), 0.5), (EYE, eye, 1.5),
        (HAIR, hair, 0.25), (GLASSES, p["frames"], 1.0),
    ):  # fmt: skip
        albedo = jnp.where((part == number)[..., None], colour, albedo)
        shine = jnp.where(part == number, light, shine)
    return jnp.clip(albedo, 0.003, 0.85), shine


def _background(s, size: int):
    """Returns a linear background (size, size, 3): a gradient, soft shapes as of a room out of focus, and texture."""
    at = (jnp.arange(size) + 0.5) / size
    x, y = at[None, :], at[:, None]
    slope = step(x * s["gradient"][0] + y * s["gradient"][1] + 0.5, 0, 1)[..., None]
    colour = s["palette"][0] + slope * (s["palette"][1] - s["palette"][0])
    for blob, tone in zip(s["blobs"], s["palette"][2:], strict=True):
        cx, cy, kind, wide, high, soft = blob
        box = jnp.maximum(jnp.abs(x - cx) - wide, jnp.abs(y - cy) - high)
        disc = jnp.sqrt((x - cx) ** 2 + (y - cy) ** 2) - wide
        inside = jax.nn.sigmoid(-jnp.where(kind < 0.65, box, disc) / soft) * s["busy"]
        colour = colour + inside[..., None] * (tone - colour)
    noise = jax.image.resize(s["texture"], (size, size), "cubic")
    return jnp.clip(colour * jnp.exp(noise)[..., None], 0.002, 0.95)


def shaped(family, p):
    """Returns where a person's vertices are, `(N + H, 3)`, in the head's frame about the middle of the eyes."""
    rest, style = family["rest"], p["style"]
    moved = jnp.tensordot(p["weights"], family["modes"], 1)
    mirror = jnp.stack([p["mirror"], 1.0, 1.0])
    worn = (family["hair"][style] - _SKULL) * p["volume"] + _SKULL + jnp.stack([0.0, *p["lift"]])
    hair = (worn + moved[family["hair_near"][style]].mean(1) * mirror) * mirror
    points = jnp.concatenate([rest + moved, hair])
    # Framed alike: by the distances between the eyes and from them to the mouth.
    eyes = points[family["eyes"]].mean(1)
    middle = eyes.mean(0)
    mouth = (points[: len(rest)] * family["lips"][:, None]).sum(0) / family["lips"].sum()
    scale = (
        jnp.linalg.norm(eyes[0] - eyes[1]) / family["apart"] + jnp.linalg.norm(middle - mouth) / family["above"]
    ) / 2
    return (points - middle) / scale - _CENTER


def in_scene(points, s):
    """Returns points of a head, see `shaped`, in the scene; how it is turned; and its tangent and lens.

    Other focal lengths come nearer and are scaled to the camera's, which sees a point at its product with the lens.
    """
    tangent = jnp.tan(jnp.radians(s["fov"]) / 2) / np.tan(np.radians(photograph.FOV) / 2)
    turn = rotation_matrix(s["view"][:3])
    shift = s["view"][3:] * tangent + jnp.array([0, 0, 1.0])
    scene = (points * _AXES * _UNIT * s["zoom"] * tangent) @ turn.T + shift
    return scene, turn, tangent, jnp.array([1, 1, tangent]) / tangent


def _draw_one(family, p, s, size: int, supersample: int):
    camera = Camera(image_size=size, far=photograph.FAR)
    rest, style = family["rest"], p["style"]
    head = len(rest)
    points = shaped(family, p)
    shown = jnp.where((family["parts"][:, None] == GLASSES) & (p["glasses"] < 0.5), 0, family["faces"])
    faces = jnp.concatenate([shown, family["hair_faces"][style] + head])
    parts = jnp.concatenate([family["parts"], jnp.full(len(family["hair_faces"][0]), HAIR)])
    normals = _normals(points + _CENTER, family["faces"], head)
    scene, turn, tangent, lens = in_scene(points, s)
    normals = (normals * _AXES) @ turn.T
    fragments = rasterize(scene * lens, camera, faces=faces, supersample=supersample)
    paint = jnp.concatenate([rest, family["hair"][style]])
    attributes = jnp.concatenate([
        paint, normals, scene,
        family["occlusion"][style][:, None],
        jnp.concatenate([family["lips"], family["hair_shade"][style]])[:, None],
    ], -1)  # fmt: skip
    values = interpolate(fragments, attributes, faces=faces, supersample=1)
    visible = fragments.triangle >= 0
    part = jnp.where(visible, parts[jnp.maximum(fragments.triangle, 0)], -1)
    q, position, sky, extra = values[..., :3], values[..., 6:9], values[..., 9], values[..., 10]
    normal, is_hair = unit(values[..., 3:6]), part == HAIR
    eyeballs = family["balls"], family["radius"], s["gaze"]
    albedo, gloss = _paint(q, part, jnp.where(is_hair, 0, extra), jnp.where(is_hair, extra, 1), p, *eyeballs)
    facing = jnp.where(normal[..., 2:] > 0, 0, 1) * 2 - 1
    normal = jnp.where((part == HAIR)[..., None], normal, normal * facing)
    sky = jnp.maximum(sky, jnp.where(part == EYE, 0.55, jnp.where(part == TEETH, 0.5, 0)))  # at rest both are hidden
    # Light.
    direction = unit(s["key_direction"])
    around = (
        photograph.harmonic_light(normal, photograph.harmonics(s))
        * (0.25 + 0.75 * sky[..., None]) ** 1.3
        * jnp.minimum(1, sky[..., None] * 1.5 + 0.1)
    )
    lit = photograph.shadow(scene, faces, position + normal * 0.0025, direction, s["soft"])
    cosine = normal @ direction
    wrap = jnp.where(
        (part == SKIN)[..., None], jnp.array([0.2, 0.12, 0.09]), jnp.where((part == HAIR)[..., None], 0.35, 0.0)
    )
    diffuse = jnp.maximum(cosine[..., None] + wrap, 0) / (1 + wrap)
    half = unit(direction - unit(position))
    shine = jnp.maximum((normal * half).sum(-1), 0)
    rough = jnp.where(part == EYE, 180.0, jnp.where(part == HAIR, 12.0, 18.0))
    grazing = 0.04 + 0.5 * (1 - jnp.abs((normal * unit(position)).sum(-1))) ** 4
    spec = gloss * jnp.where(part == EYE, 3.0, p["gloss"]) * (grazing * shine**rough * 8)
    light = around + s["key"] * (lit[..., None] * diffuse)
    radiance = albedo * light + (spec * lit)[..., None] * s["key"] + 0.025 * (gloss * p["gloss"])[..., None] * around
    # Exposure as a camera would choose it, for what is seen and for the room.
    behind = _background(s, size * supersample)
    brightness = (radiance.mean(-1) * visible).sum() / jnp.maximum(visible.sum(), 1)
    gain = s["exposure"] * (0.21 / jnp.maximum(brightness, 1e-3)) ** 0.75
    radiance = radiance * gain
    picture = jnp.where(visible[..., None], radiance, behind * s["exposure"])
    shown = photograph.developed(picture, s, supersample)
    surface = {
        # In the method's scene: the head in its view at a scale that the focal length does not change.
        "depth": 1 + (fragments.depth - 1) / tangent,
        "visible": visible,
        "albedo": albedo,
        "normal": normal,
        "shading": light,
        "key": s["key"],
        "direction": direction,
    }
    return photograph.told(shown, surface, s, gain=gain, supersample=supersample)


@functools.partial(jax.jit, static_argnames=("size", "supersample"))
def draw(family, people, scenes, *, size: int, supersample: int):
    """Draws a batch: dictionaries of arrays with a leading axis; see `people`."""
    return jax.vmap(lambda p, s: _draw_one(family, p, s, size, supersample))(people, scenes)


def on_device(family: dict) -> dict:
    """Returns a family's arrays for `draw`."""
    rest, eyes = family["rest"], family["eyes"]
    balls = rest[eyes].mean(1)
    center = np.stack([(rest[e].min(0) + rest[e].max(0)) / 2 for e in eyes])
    radius = float((rest[eyes[0]].max(0) - rest[eyes[0]].min(0))[0] / 2)
    center[:, 2] = rest[eyes[0]][:, 2].max() - radius
    mouth = (rest * family["lips"][:, None]).sum(0) / family["lips"].sum()
    arrays = {name: jnp.asarray(family[name]) for name in family if name != "names"}
    return arrays | {
        "balls": jnp.asarray(center, jnp.float32), "radius": radius,
        "apart": float(np.linalg.norm(balls[0] - balls[1])), "above": float(np.linalg.norm(balls.mean(0) - mouth)),
    }  # fmt: skip
