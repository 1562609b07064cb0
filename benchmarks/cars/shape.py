"""The shape of cars: one mesh for all, whose vertices are smooth functions of a car's measures.

Two boxes with rounded edges, body and cabin, four wheels and two mirrors. Axes: x to the viewer's right of a car seen
from in front, y up from the road, z forward, metres; the origin is on the road, halfway between the car's ends. A mesh
of any car is its own mirror image in x, vertex by vertex (`OPPOSITE`).
"""

import jax.numpy as jnp
import numpy as np
from photograph import step, unit

FRONT, BACK, SIDE, TOP, UNDER, SCREEN, HATCH, WINDOW, ROOF, WHEEL, MIRROR = range(11)
BODY = (FRONT, BACK, SIDE, TOP, UNDER)
CABIN = (SCREEN, HATCH, WINDOW, ROOF)
BELOW = 0.12  # of the cabin's height, how far it reaches into the body
# Of a wheel, from its inner side to its middle: places along the axle (widths, from the outer face) and radii.
_RINGS = np.array([
    [-1.0, 0.7], [-1.0, 0.94], [-0.9, 1.0], [-0.1, 1.0], [0.0, 0.94], [0.02, 0.82], [-0.02, 0.7], [-0.2, 0.66],
    [-0.12, 0.25], [-0.08, 0.0],
])  # fmt: skip
_SPOKES = 28  # vertices around a wheel
_WIDTH = 0.21  # metres, of a wheel


def _symmetric(*values: float) -> np.ndarray:
    return np.unique(np.round([*values, *(-v for v in values)], 6))


_ENDS = (1.0, 0.99, 0.97, 0.94)
_BODY = (
    _symmetric(0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97, 1),
    np.array([-1, -0.93, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.95, 1]),
    _symmetric(*_ENDS, *np.linspace(0, 0.9, 25)),
)
_CABIN = (
    _symmetric(0, 0.25, 0.5, 0.7, 0.85, 0.94, 1),
    np.array([-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.7, 0.85, 0.94, 1]),
    _symmetric(1, 0.95, 0.87, 0.75, 0.6, 0.4, 0.2, 0),
)


def _box(axes: tuple[np.ndarray, ...], parts: dict[tuple[int, int], int]) -> tuple[np.ndarray, ...]:
    """Returns the surface of a cube: points in [-1, 1], faces, and a part for each; `parts` are by axis and end."""
    points, faces, numbers, count = [], [], [], 0
    for (axis, end), part in parts.items():
        others = [k for k in range(3) if k != axis]
        first, second = np.meshgrid(*(axes[k] for k in others), indexing="ij")
        grid = np.full((*first.shape, 3), float(end))
        grid[..., others[0]], grid[..., others[1]] = first, second
        points.append(grid.reshape(-1, 3))
        cells = _cells(*first.shape) + count
        across = np.cross(*(points[-1][cells[:, k] - count] - points[-1][cells[:, 0] - count] for k in (1, 2)))
        faces.append(np.where((across[:, axis] * end > 0)[:, None], cells, cells[:, ::-1]))
        numbers.append(np.full(len(cells), part))
        count += first.size
    welded, where = np.unique(np.concatenate(points), axis=0, return_inverse=True)
    return welded, where.reshape(-1)[np.concatenate(faces)], np.concatenate(numbers)


def _cells(rows: int, columns: int) -> np.ndarray:
    at = np.arange(rows * columns).reshape(rows, columns)
    corners = at[:-1, :-1], at[1:, :-1], at[:-1, 1:], at[1:, 1:]
    a, b, c, d = (corner.ravel() for corner in corners)
    return np.concatenate([np.stack([a, b, c], -1), np.stack([c, b, d], -1)])


def _round() -> tuple[np.ndarray, np.ndarray]:
    """Returns unit directions of a small sphere and its faces, seen from outside."""
    down, around = np.meshgrid(np.linspace(0, np.pi, 7), np.linspace(0, 2 * np.pi, 11), indexing="ij")
    points = np.stack([np.sin(down) * np.cos(around), np.cos(down), np.sin(down) * np.sin(around)], -1)
    return points.reshape(-1, 3), _cells(7, 11)[:, ::-1]


def _template() -> dict[str, np.ndarray]:
    body = _box(_BODY, {(2, 1): FRONT, (2, -1): BACK, (0, 1): SIDE, (0, -1): SIDE, (1, 1): TOP, (1, -1): UNDER})
    cabin = _box(_CABIN, {(2, 1): SCREEN, (2, -1): HATCH, (0, 1): WINDOW, (0, -1): WINDOW, (1, 1): ROOF})
    rings = _cells(len(_RINGS), _SPOKES + 1)
    ball, ball_faces = _round()
    return {
        "body": body[0], "cabin": cabin[0], "ball": ball,
        "pieces": [
            (len(body[0]), *body[1:]), (len(cabin[0]), *cabin[1:]),
            *((len(_RINGS) * (_SPOKES + 1), rings[:, :: int(side)], np.full(len(rings), WHEEL)) for side in _SIDES),
            *((len(ball), ball_faces[:, :: int(side)], np.full(len(ball_faces), MIRROR)) for side in _SIDES[:2]),
        ],
    }  # fmt: skip


def _opposite() -> np.ndarray:
    numbers = []
    for name in ("body", "cabin"):
        points, flipped = (np.round(_SHAPES[name] * [side, 1, 1], 6) + 0.0 for side in (1, -1))
        numbers.append(np.empty(len(points), int))
        numbers[-1][np.lexsort(points.T)] = np.lexsort(flipped.T)
    pairs = [np.arange(piece[0]) for piece in _SHAPES["pieces"][2:]]
    swapped = [3, 2, 5, 4, 7, 6]  # a wheel's or mirror's other one is the next or the one before
    return np.concatenate([own + start for own, start in zip(numbers + pairs, _STARTS[[0, 1, *swapped]])])


_SIDES = (1.0, -1.0, 1.0, -1.0)  # of the wheels, in front and behind, and of the mirrors
_SHAPES = _template()
_STARTS = np.cumsum([0, *(piece[0] for piece in _SHAPES["pieces"])])
FACES = np.concatenate([piece[1] + start for piece, start in zip(_SHAPES["pieces"], _STARTS)]).astype(np.int32)
OPPOSITE = _opposite()  # of each vertex, the number of the one that is its mirror image
PARTS = np.concatenate([piece[2] for piece in _SHAPES["pieces"]]).astype(np.int32)


def _rounded(points, radii):
    """Returns points of the cube with edges rounded by ellipses of these radii, in half lengths of the sides."""
    inner = jnp.clip(points, -(1 - radii), 1 - radii)
    beyond = (points - inner) / radii
    return inner + radii * beyond / jnp.maximum(jnp.linalg.norm(beyond + 1e-9, axis=-1, keepdims=True), 1)


def deck(p, z):
    """Returns the height of bonnet, waistline and boot along the car."""
    t = jnp.clip((p["long"] / 2 - z) / (p["long"] / 2 - p["cowl_z"]), 0, 1)
    bonnet = p["nose"] + (p["cowl"] - p["nose"]) * t ** p["bonnet_bend"]
    return jnp.where(z > p["cowl_z"], bonnet, waist(p, z))


def waist(p, z):
    t = jnp.clip((p["cowl_z"] - z) / (p["cowl_z"] - p["base_z"]), 0, 1)
    tail = jnp.clip((p["base_z"] - z) / (p["long"] / 2 + p["base_z"] + 0.05), 0, 1)
    return p["cowl"] + (p["boot"] - p["cowl"]) * t - 0.05 * tail**2


def plan(p, c):
    """Returns the half width along the car, where it is greatest."""
    ahead, behind = step(c, 0.35, 1.0), step(-c, 0.4, 1.0)
    return p["wide"] / 2 * (1 - p["taper"][0] * ahead**2 - p["taper"][1] * behind**2)


def floor(p, c):
    return p["clear"] + 0.05 * step(c, 0.6, 1.0) + p["rise"] * step(-c, 0.6, 1.0)


def _body(p):
    a, b, c = _rounded(jnp.asarray(_SHAPES["body"]), p["round_body"]).T
    ahead, behind = step(c, 0.35, 1.0), step(-c, 0.4, 1.0)
    section = 1 - p["tuck"] * jnp.maximum(-b - 0.2, 0) ** 2 - p["lean"] * jnp.maximum(b, 0) ** 2
    section += p["crease"] * (step(b, 0.1, 0.45) - step(b, 0.45, 0.55))
    z = c * p["long"] / 2
    top = deck(p, z)
    x = a * plan(p, c) * section
    y = floor(p, c) + (b + 1) / 2 * (top - floor(p, c))
    y -= jnp.maximum(b, 0) ** 4 * p["crown"] * a**4
    # Nose and tail: bowed in plan, leaning back above and below the bumper.
    lean = p["nose_lean"] * jnp.maximum(b - p["bumper"], 0) ** 2 + 0.06 * jnp.maximum(p["bumper"] - 0.4 - b, 0)
    z -= ahead**2 * (p["bow"] * a**2 + lean) - behind**2 * (0.15 * a**2 + 0.12 * jnp.maximum(b, 0) ** 2)
    bed = step(p["base_z"] - 0.08 - z, 0, 0.02) * step(z + p["long"] / 2, 0.1, 0.14) * (jnp.abs(a) < 0.84) * (b > 0.9)
    return jnp.stack([x, y - p["bed"] * 0.42 * bed, z], -1), jnp.stack([a, b, c], -1)


def screen(p, v):
    """Returns where along the car windscreen and rear screen are, at a share of the cabin's height."""
    front = p["cowl_z"] + (p["header_z"] - p["cowl_z"]) * (v - 0.12 * v * (1 - v))
    return front, p["base_z"] + (p["end_z"] - p["base_z"]) * v


def _cabin(p):
    a, b, c = _rounded(jnp.asarray(_SHAPES["cabin"]), p["round_cabin"]).T
    v = (b + 1) / 2 * (1 + BELOW) - BELOW
    front, back = screen(p, v)
    z = back + (front - back) * (c + 1) / 2
    ahead, behind = jnp.maximum(c - 0.2, 0), jnp.maximum(-c - 0.2, 0)
    roof = p["high"] - 0.05 * ahead**2 - p["roof_drop"] * behind**2
    base = waist(p, z)
    y = base + v * (roof - base) - 0.035 * a**2 * jnp.maximum(v, 0)
    low = plan(p, z / (p["long"] / 2)) * (1 - p["lean"]) * 0.985
    x = a * (low + (p["roof_wide"] / 2 - low) * jnp.maximum(v, 0) ** 1.15) * (1 - 0.13 * ahead**2 - 0.1 * behind**2)
    z += -0.16 * a**2 * ahead**2 + 0.1 * a**2 * behind**2
    return jnp.stack([x, y, z], -1), jnp.stack([a, v, c], -1)


def axles(p):
    """Returns where along the car its axles are."""
    front = p["long"] / 2 - p["overhang"]
    return jnp.stack([front, front - p["wheelbase"]])


def _outer(p, z):
    return plan(p, z / (p["long"] / 2)) + 0.012 + p["flare"]


def _wheels(p):
    around = np.linspace(0, 2 * np.pi, _SPOKES + 1)
    along = _RINGS[:, :1] * _WIDTH * np.ones_like(around)
    up, forward = (_RINGS[:, 1:] * turn * p["radius"] for turn in (np.cos(around), np.sin(around)))
    for number, side in enumerate(_SIDES):
        z = axles(p)[number // 2]
        x = side * (_outer(p, z) + along)
        yield jnp.stack([x, up + p["radius"], forward + z], -1).reshape(-1, 3)


def _mirrors(p):
    z = p["cowl_z"] - 0.42
    for side in _SIDES[:2]:
        middle = jnp.stack([side * (plan(p, z / (p["long"] / 2)) * (1 - p["lean"]) + 0.075), waist(p, z) + 0.065, z])
        yield _SHAPES["ball"] * [side, 1, 1] * np.array([0.1, 0.065, 0.07]) + middle


def to_axle(p, y, z):
    """Returns the distance of points at the side from the nearest axle."""
    front, rear = axles(p)
    nearest = jnp.where(z > (front + rear) / 2, front, rear)
    return jnp.sqrt((y - p["radius"]) ** 2 + (z - nearest) ** 2)


def mesh(p):
    """Returns a car's vertices `(V, 3)`, their outward normals, and their places on the cube that they come from."""
    (body, body_at), (cabin, cabin_at) = _body(p), _cabin(p)
    others = [*_wheels(p), *_mirrors(p)]
    points = jnp.concatenate([body, cabin, *others])
    a, b, c = (points[FACES[:, k]] for k in range(3))
    total = jnp.zeros_like(points).at[FACES.reshape(-1)].add(jnp.repeat(jnp.cross(b - a, c - a), 3, 0))
    # The side is bent in behind the rims, where the tyres hide the edge, and out around the arches.
    away = to_axle(p, body[:, 1], body[:, 2])
    side = step(jnp.abs(body_at[:, 0]), 0.8, 0.95) * (body[:, 1] < p["arch"] + p["radius"] + 0.12)
    bent = p["flare"] * (1 - step(away - p["arch"], 0.03, 0.12)) - 0.15 * (away < 0.75 * p["radius"])
    body = body.at[:, 0].add(jnp.sign(body_at[:, 0]) * side * bent)
    places = jnp.concatenate([body_at, cabin_at, jnp.zeros((len(points) - len(body) - len(cabin), 3))])
    return points.at[: len(body)].set(body), unit(total), places
