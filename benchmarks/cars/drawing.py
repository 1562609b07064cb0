"""Draws cars on their roads: a batch of pictures, and what is true of them, in one program.

A car's mesh (`shape`) is turned and rasterised, painted by formulas in metres, lit by second-order harmonics and a sun
whose shadow is a second pass from its side, and mirrors the world around it, which is also what stands behind it.
Conventions of what is returned are those of `geometry.camera` and, of normals and light, `geometry.lighting`.
"""

import functools
import pathlib
import sys
import typing

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.geometry.camera import Camera, rotation_matrix
from gan2shape_jax.geometry.mesh_rasterizer import interpolate, rasterize

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import cars
import photograph
import shape
from photograph import bell, step, unit

_FILLED = 0.88  # of the picture's width, by a car that is seen from the side
_CANONICAL = rotation_matrix(np.array([0, np.radians(cars.CANONICAL_DEG), 0], np.float32))
_SPREAD = ((0.7, 0.3), (-0.6, 0.5), (-0.1, -0.8))  # places around a point where the sun's shadow is looked up
_AXES = np.array([1.0, -1, -1])  # from the car's frame to the scene's


def _slopes(camera: Camera, supersample: int):
    """Returns the slopes of the rays through the samples of a row."""
    offsets = (jnp.arange(camera.width * supersample) + 0.5) / supersample - 0.5
    return (offsets - (camera.width - 1) / 2) / camera.focal_length


def unit_of(p):
    """Returns the scene units of a metre: a car keeps its size as it turns, and fits into the picture from the side."""
    return _FILLED * 2 * np.tan(np.radians(photograph.FOV / 2)) / p["long"]


def turn_of(view):
    """Returns the rotation of a car in the scene under a view."""
    return rotation_matrix(view[:3]) @ _CANONICAL


def _any(part, numbers):
    return functools.reduce(jnp.logical_or, [part == number for number in numbers])


def _band(value, low, high, soft):
    """Returns 1 between two values and 0 outside."""
    return step(value, low - soft, low + soft) * (1 - step(value, high - soft, high + soft))


def _line(value, place, wide=0.012):
    return bell((value - place) / wide)


def _over(below, share, colour):
    return below + share[..., None] * (jnp.asarray(colour) - below)


def world(s, origin, ray):
    """Returns the light that comes along rays (..., 3), metres and axes of the car, and where they meet the road.

    The road ends at a wall around the car with blocks on it, soft as if out of focus, below the sky.
    """
    across = jnp.maximum((ray[..., ::2] ** 2).sum(-1), 1e-6)
    towards = (origin[..., ::2] * ray[..., ::2]).sum(-1)
    room = (origin[..., ::2] ** 2).sum(-1) - jnp.square(s["distance"] + 6)
    reach = (-towards + jnp.sqrt(jnp.maximum(towards**2 - across * room, 0))) / across
    at = origin + reach[..., None] * ray
    around, height = jnp.arctan2(-at[..., 0], -at[..., 2]), at[..., 1] / (s["distance"] + 6)  # 0: behind the car
    level = ray[..., 1] / jnp.sqrt(across + ray[..., 1] ** 2)
    high = jnp.maximum(level, 0)
    cloud = s["clouds"] * jnp.sin(ray @ s["cloud_waves"].T + s["cloud_phases"]).mean(-1)
    colour = s["horizon"] + (1 - (1 - high[..., None]) ** 3) * (s["zenith"] - s["horizon"]) + 2 * cloud[..., None]
    leaves = jnp.sin(jnp.stack([around, height], -1) @ s["leaf_waves"].T + s["leaf_phases"]).sum(-1) * 0.1
    daylight = 0.5 * s["horizon"] + 0.35 * s["key"]

    def stood(colour, block_and_tone):
        (middle, wide, tall, soft, form), tone = block_and_tone
        off = jnp.abs(jnp.mod(around - middle + jnp.pi, 2 * jnp.pi) - jnp.pi)
        wall = jnp.maximum(off - wide, height - tall)
        crown = 0.5 * tall * (jnp.sqrt((off / wide) ** 2 + ((height / tall - 0.55) / 0.5) ** 2) - 1)
        tree = form > 0.5
        edge = jnp.where(tree, jnp.minimum(crown, wall + 0.3 * tall) + 0.2 * tall * leaves, wall)
        panes = (jnp.mod(off / wide * 2.2, 1) > 0.55) & (jnp.mod(height / tall * 3.5, 1) > 0.5) & (form > 0.25) & ~tree
        shaded = tone * daylight * (1 - 0.45 * panes + leaves * jnp.where(tree, 1, 0.15))[..., None]
        return _over(colour, jax.nn.sigmoid(-edge / soft), shaded), None

    colour, _ = jax.lax.scan(stood, colour, (s["blocks"], s["block_colours"]))
    ground = jnp.where(ray[..., 1] < -1e-3, -origin[..., 1] / jnp.minimum(ray[..., 1], -1e-3), 1e6)
    on_road = step(-height, -0.003, 0.003)
    spot = origin + jnp.minimum(ground, reach)[..., None] * ray
    return jnp.maximum(colour, 0.003), on_road, spot


def _road(s, spot):
    """Returns the colour of the road at its spots (..., 3)."""
    waves = jnp.sin(spot[..., ::2] @ s["road_waves"].T + s["road_phases"])
    colour = s["road"] * (1 + s["road_rough"] * waves.sum(-1) / 2)[..., None]
    offset, turn, there = s["marking"]
    stripe = _band(spot[..., 0] * jnp.cos(turn) + spot[..., 2] * jnp.sin(turn), offset - 0.07, offset + 0.07, 0.03)
    return jnp.maximum(_over(colour, 0.8 * stripe * there, [0.6, 0.6, 0.58]), 0.004)


def _under(p, spot):
    """Returns the share of the sky that a spot on the road sees beside the car."""
    gap_x, gap_z = jnp.abs(spot[..., 0]) - p["wide"] / 2, jnp.abs(spot[..., 2]) - p["long"] / 2
    outside = jnp.sqrt(jnp.maximum(gap_x, 0) ** 2 + jnp.maximum(gap_z, 0) ** 2)
    inside = jnp.maximum(jnp.minimum(jnp.maximum(gap_x, gap_z), 0), -0.5)
    seen = jnp.where(outside > 0, 0.22 + 0.78 * (1 - jnp.exp(-outside / 0.4)), 0.22 + 0.8 * inside)
    front, rear = shape.axles(p)
    tyre = 0.0
    for z in (front, rear):
        tyre += bell((jnp.abs(spot[..., 0]) - p["wide"] / 2 + 0.1) / 0.16, (spot[..., 2] - z) / 0.2)
    return jnp.clip(seen * (1 - 0.8 * jnp.minimum(tyre, 1)), 0.02, 1)


def _wheel(p, q):
    """Paints the wheels: tyres, rims of four kinds with spokes, hubs."""
    front, rear = shape.axles(p)
    z = q[..., 2] - jnp.where(q[..., 2] > (front + rear) / 2, front, rear)
    y = q[..., 1] - p["radius"]
    away, turn = jnp.sqrt(y**2 + z**2) / p["radius"], jnp.arctan2(z, y) + p["rim"][3]
    kind, count, share = p["rim"][0], p["rim"][1], p["rim"][2]
    wave = jnp.cos(turn * count)
    twin = jnp.cos(turn * count) * jnp.where(jnp.cos(turn * count) > 0.75, 0.2, 1.0)
    spokes = jnp.where(kind == 0, wave, jnp.where(kind == 1, twin, jnp.cos(turn * count + 2.5 * away)))
    metal = step(spokes, 1 - 2 * share - 0.25, 1 - 2 * share + 0.25)
    holes = _band(away, 0.42, 0.56, 0.04) * (jnp.cos(turn * 2 * count) > 0)
    metal = jnp.where(kind == 3, 1 - 0.9 * holes, metal)  # a pressed wheel, or its cap
    metal = jnp.maximum(metal * (away < 0.7), jnp.maximum(_band(away, 0.61, 0.67, 0.02), away < 0.17))
    inner = away < 0.68
    wheel = _over(jnp.full_like(q, 0.022) + p["dirt"] * 0.03, metal * inner, p["rim_colour"])
    wheel = jnp.where((inner & (metal < 0.5))[..., None], 0.35 * wheel, wheel)
    return wheel, metal * inner * 0.3


def _body(p, q, at, part, normal):
    """Returns albedo, how much it mirrors head-on, how much of it is coated, and light of its own, of points (...)."""
    x, y, z = q[..., 0], q[..., 1], q[..., 2]
    body, cabin = part <= shape.UNDER, (part >= shape.SCREEN) & (part <= shape.ROOF)
    top, side = part == shape.TOP, part == shape.SIDE
    half = shape.plan(p, 1.0)
    u, ahead = jnp.abs(x) / half, p["long"] / 2 - z
    low = shape.floor(p, 1.0)
    t = (y - low) / (p["nose"] - low)
    facing = step(normal[..., 2], 0.25, 0.5) * body
    dark = jnp.full_like(q, 0.018)
    albedo, coat = jnp.broadcast_to(p["paint"], q.shape), jnp.ones_like(x)
    glow = jnp.zeros_like(x)
    two_tone = p["two_tone"] * cabin
    albedo = _over(albedo, two_tone, [0.012, 0.012, 0.013])
    # Seams: bonnet, bumper, doors.
    seam = _line(u, 0.84, 0.012) * top * (z > p["cowl_z"]) + 0.8 * _line(t, 0.46, 0.025) * facing * (u > p["grille"][2])
    sill = p["clear"] + 0.12
    hinge, latch, last = p["doors"]
    on_door = _band(y, sill, 9.0, 0.02) * side
    seam += on_door * (_line(z, hinge) + _line(z, latch) + p["four"] * _line(z, last))
    seam += side * _band(z, jnp.where(p["four"] > 0, last, latch), hinge, 0.01) * _line(y, sill, 0.015)
    ring = jnp.sqrt((y - shape.waist(p, z) + 0.16) ** 2 + (z + p["long"] / 2 - 0.75) ** 2)
    seam += side * (x * p["filler"] > 0) * _line(ring, 0.09, 0.01)
    albedo = albedo * (1 - 0.75 * jnp.clip(seam, 0, 1))[..., None]
    # Plastic: sills, arches, lower bumpers.
    away = shape.to_axle(p, y, z)
    low_parts = (y < sill - 0.02) * body
    clad = p["clad"] * jnp.maximum(_band(away, 0.0, p["arch"] + 0.07, 0.01) * side, (y < sill + 0.06) * body)
    clad = jnp.clip(jnp.maximum(clad, 0.85 * low_parts * (p["black_trim"] + p["clad"] > 0.4)), 0, 1)
    albedo, coat = _over(albedo, clad, [0.03, 0.03, 0.031]), coat * (1 - 0.9 * clad)
    # Handles.
    for place, there in ((latch + 0.13, 1.0), (last + 0.13, p["four"])):
        below = y - shape.waist(p, z)
        handle = side * there * _band(z, place - 0.02, place + 0.15, 0.015) * _line(below, -0.14, 0.02)
        albedo = _over(albedo, handle, jnp.where(p["chrome"] > 0, 0.5, 0.5 * p["paint"]))
        recess = side * there * _band(z, place, place + 0.13, 0.02) * _line(below, -0.18, 0.02)
        albedo = albedo * (1 - 0.6 * recess)[..., None]
    mirror = jnp.full_like(x, 0.045)
    # Grille, intake, plate.
    g0, g1, wide, kind = p["grille"]
    grille = _band(t, g0, g1, 0.03) * _band(u, -1.0, wide + 0.25 * (t - g0) * (kind > 1), 0.02) * facing
    bars = jnp.where(kind == 1, jnp.sin(x * 120), jnp.sin(y * 120) * jnp.sin(x * 110))
    bars = jnp.where(kind == 0, jnp.sin(y * 110), bars)
    bright = jnp.where(p["chrome"] > 0, 0.3, 0.07) * step(bars, 0.2, 0.8)
    albedo = _over(albedo, grille, dark + bright[..., None])
    frame = _band(t, g0 - 0.04, g1 + 0.04, 0.02) * _band(u, -1.0, wide + 0.04, 0.02) * facing
    frame = jnp.maximum(frame - grille, 0) * p["chrome"]
    albedo, mirror = _over(albedo, frame, [0.5, 0.5, 0.52]), jnp.maximum(mirror, 0.5 * frame)
    badge = 0.8 * bell(x / 0.06, (y - low - (g1 - 0.05) * (p["nose"] - low)) / 0.05) * facing
    albedo, mirror = _over(albedo, badge, [0.35, 0.35, 0.37]), jnp.maximum(mirror, 0.3 * badge)
    i0, i1, iw = p["intake"]
    intake = _band(t, i0, i1, 0.03) * _band(u, -1.0, iw, 0.03) * facing
    albedo = _over(albedo, intake, dark * (1 + 0.6 * step(jnp.sin(y * 100), 0, 1)[..., None]))
    fog = bell((u - 0.8) / 0.07, (t - 0.22) / 0.07) * facing * (kind != 1)
    albedo = _over(albedo, fog, [0.4, 0.4, 0.4])
    coat = coat * (1 - jnp.maximum(grille, intake))
    px, py = p["plate"]
    plate = _band(x, px - 0.26, px + 0.26, 0.01) * facing
    plate = plate * _band(y - low - py * (p["nose"] - low), -0.055, 0.055, 0.01)
    text = step(jnp.sin((x - px) * 95 + 2 * jnp.sin((x - px) * 41)), 0.2, 0.6) * _band(jnp.abs(x - px), -1, 0.22, 0.01)
    albedo = _over(albedo, plate, p["plate_colour"] * (1 - 0.5 * text[..., None]))
    coat = coat * (1 - plate)
    # Lamps, in front and, from beside, behind.
    height, tall, inner, slant, along, disc = p["lamp"]
    centre = height + slant * (u - 0.8) * 0.5
    lens = _band(t, centre - tall - 0.06 * (u - inner), centre + tall, 0.03) * _band(u, inner, 2.0, 0.02)
    lens = lens * (ahead < along + 0.12) * body
    spot = jnp.sqrt(((u - (inner + 0.93) / 2) * half) ** 2 + (y - low - height * (p["nose"] - low)) ** 2)
    lens = jnp.where(disc > 0, step(0.125 - spot, -0.01, 0.01) * facing, lens)
    bulbs = bell((u - 0.72) / 0.06, (t - centre) / 0.09) + bell((u - 0.88) / 0.06, (t - centre) / 0.09)
    bulbs = jnp.where(disc > 0, bell(spot / 0.08), jnp.minimum(bulbs, 1))
    strip = _line(t, centre - tall * 0.75, 0.03)
    albedo = _over(albedo, lens, 0.12 + 0.4 * bulbs[..., None] + 0.25 * strip[..., None])
    glow = lens * (0.06 * bulbs + p["lit"] * (1.5 * bulbs + 1.2 * strip))
    mirror = jnp.maximum(mirror, 0.1 * lens)
    tail = body * (z < -p["long"] / 2 + 0.35) * _band(y, 0.62 * p["boot"], 0.9 * p["boot"], 0.03)
    albedo = _over(albedo, tail, [0.3, 0.01, 0.012])
    # Arches and what is below.
    hollow = ((away < p["arch"]) & (side | (part == shape.UNDER))) | (part == shape.UNDER)
    albedo = jnp.where(hollow[..., None], 0.006, albedo)
    coat = jnp.where(hollow, 0, coat)
    wipers = top * _band(z, p["cowl_z"] - 0.2, p["cowl_z"] + 0.06, 0.02)
    albedo, coat = _over(albedo, 0.9 * wipers, dark), coat * (1 - wipers)
    return albedo, mirror, coat, glow


def _glass(p, q, at, part):
    """Returns which points are glass, and which are the black or bright edges around it."""
    v, z, a = at[..., 1], q[..., 2], jnp.abs(at[..., 0])
    front, back = shape.screen(p, v)
    latch, last = p["doors"][1:]
    pane = _band(v, 0.06, 0.87, 0.02)
    window = pane * _band(z, back + p["pillar"], front - 0.1, 0.012)
    rear_post = _line(z, jnp.maximum(last - 0.02, back + p["pillar"]), 0.03)
    post = jnp.maximum(_line(z, latch - 0.02, 0.035), p["four"] * rear_post)
    window = window * (1 - post) * jnp.where(p["blind"] > 0, z > latch, 1)
    edge = _band(v, 0.02, 0.92, 0.01) * _band(z, back + p["pillar"] - 0.05, front - 0.06, 0.012)
    edge = edge * jnp.where(p["blind"] > 0, z > latch - 0.05, 1)
    screen = _band(v, 0.0, 0.92, 0.02) * _band(a, -1.0, 0.9, 0.015) * _any(part, (shape.SCREEN, shape.HATCH))
    aside = part == shape.WINDOW
    return jnp.where(aside, window, screen), aside * jnp.maximum(edge - window, 0)


def _inside(p, s, q, ray, part):
    """Returns what shows through glass: a dark room with seats, and light that falls through from the other side."""
    ahead = part == shape.SCREEN
    seat = p["cowl_z"] - 1.35
    to_seats = q + ((seat - q[..., 2]) / jnp.minimum(ray[..., 2], -1e-2))[..., None] * ray
    heads = bell((jnp.abs(to_seats[..., 0]) - 0.37) / 0.15, (to_seats[..., 1] - p["cowl"] - 0.12) / 0.15)
    backs = _band(jnp.abs(to_seats[..., 0]), 0.14, 0.6, 0.03)
    backs = backs * (1 - step(to_seats[..., 1], p["cowl"] - 0.06, p["cowl"] + 0.02))
    behind = p["base_z"] * 0.6 + p["end_z"] * 0.4
    through = q + ((behind - q[..., 2]) / jnp.minimum(ray[..., 2], -1e-2))[..., None] * ray
    hole = _band(jnp.abs(through[..., 0]), -1, p["roof_wide"] / 2, 0.05)
    hole = hole * _band(through[..., 1], p["boot"] + 0.05, p["high"] - 0.13, 0.03)
    side = jnp.sign(q[..., 0]) * p["wide"] * 0.42
    over = q + ((-side - q[..., 0]) / jnp.where(jnp.abs(ray[..., 0]) < 1e-2, 1e-2, ray[..., 0]))[..., None] * ray
    far = _band(over[..., 1], p["cowl"] + 0.06, p["high"] - 0.15, 0.03)
    far = far * _band(over[..., 2], p["end_z"] + 0.2, p["header_z"] + 0.1, 0.05)
    light = jnp.where(ahead, hole * (1 - jnp.clip(heads + backs, 0, 1)), far * (1 - 0.7 * jnp.clip(heads, 0, 1)))
    dim = 0.014 + 0.02 * jnp.where(ahead, jnp.clip(heads + backs, 0, 1), 0.3)
    clear = 0.25 + 0.5 * (1 - p["tint"])
    return (dim[..., None] + 0.5 * light[..., None] * clear * (part != shape.HATCH)[..., None]) * s["horizon"]


class Surface(typing.NamedTuple):
    """What points of a car (...) are like; colours (..., 3) are linear."""

    albedo: jax.Array
    mirror: jax.Array  # how much it mirrors head-on
    coat: jax.Array  # share that is coated
    glass: jax.Array
    glow: jax.Array  # light of its own
    wheel: jax.Array  # bool
    through: jax.Array  # colour that shows through glass


def painted(p, s, q, at, part, normal, ray) -> Surface:
    """Paints points of a car by formulas: q on the car, at on the cube of its mesh, seen along a ray."""
    albedo, mirror, coat, glow = _body(p, q, at, part, normal)
    wheel, rim = _wheel(p, q)
    is_wheel = part == shape.WHEEL
    albedo = jnp.where(is_wheel[..., None], wheel, albedo)
    glass, edge = _glass(p, q, at, part)
    dark_edge = edge * (1 - 0.8 * p["chrome"] * (at[..., 1] < 0.06))
    albedo = _over(albedo, edge, jnp.where((dark_edge > 0.5)[..., None], 0.012, 0.5))
    albedo = _over(albedo, glass, [0.015, 0.017, 0.018])
    mirror = jnp.where(is_wheel, rim, jnp.maximum(mirror * jnp.maximum(coat, 0.25), 0.06 * glass))
    return Surface(albedo, mirror, coat, glass, glow, is_wheel, _inside(p, s, q, ray, part))


def _draw_one(p, s, size: int, supersample: int):
    camera = Camera(image_size=size, far=photograph.FAR)
    points, normals, places = shape.mesh(p)
    faces, parts = jnp.asarray(shape.FACES), jnp.asarray(shape.PARTS)
    metre = unit_of(p) * s["zoom"]
    middle = jnp.stack([0.0, p["high"] / 2, 0.0])
    # Into the scene; other focal lengths come nearer and are scaled to the camera's.
    tangent = jnp.tan(jnp.radians(s["fov"]) / 2) / np.tan(np.radians(photograph.FOV / 2))
    turn = turn_of(s["view"])
    shift = s["view"][3:] * tangent + jnp.array([0, 0, 1.0])
    scene = ((points - middle) * _AXES * metre * tangent) @ turn.T + shift
    lens = jnp.array([1, 1, tangent]) / tangent
    fragments = rasterize(scene * lens, camera, faces=faces, supersample=supersample)
    values = interpolate(fragments, jnp.concatenate([points, places, normals], -1), faces=faces, supersample=1)
    visible = fragments.triangle >= 0
    part = jnp.where(visible, parts[jnp.maximum(fragments.triangle, 0)], -1)
    q, at, normal = values[..., :3], values[..., 3:6], unit(values[..., 6:])
    # Rays, in the car's frame.
    eye = middle - (turn.T @ shift) * _AXES / (metre * tangent)
    slope = _slopes(camera, supersample)
    ray = jnp.stack(jnp.broadcast_arrays(slope[None, :] * tangent, slope[:, None] * tangent, 1.0), -1)
    ray = unit((ray @ turn) * _AXES)
    normal = jnp.where((normal * ray).sum(-1, keepdims=True) > 0, -normal, normal) * visible[..., None]
    bounce = ray - 2 * (normal * ray).sum(-1, keepdims=True) * normal
    far, on_road, spot = world(s, jnp.where(visible[..., None], q, eye), jnp.where(visible[..., None], bounce, ray))
    key, sun = s["key"], unit(s["key_direction"])
    light = photograph.harmonics(s)
    # The road, as seen and as mirrored: dark below the car, and where the car keeps the sun off.
    ground = jnp.where(visible[..., None], q, spot)
    settled = (ground - middle) * _AXES * metre + jnp.array([0, 0, 1.0])
    outwards = jnp.where(visible[..., None], normal, jnp.array([0.0, 1, 0]))
    rest = (points - middle) * _AXES * metre + jnp.array([0, 0, 1.0])
    lit = photograph.shadow(rest, faces, settled + outwards * _AXES * 0.0012, sun * _AXES, s["soft"], _SPREAD)
    sky_share = _under(p, spot)
    up = photograph.harmonic_light(jnp.array([0.0, 1, 0]), light)
    road = _road(s, spot)
    road_light = up * sky_share[..., None] + key * (sun[1] * jnp.where(visible, sky_share, lit))[..., None]
    road = road * road_light
    wet = s["wet"] * sky_share * (1 - jnp.abs(ray[..., 1])) ** 5
    behind = _over(far, on_road, road + wet[..., None] * s["horizon"])
    # The car.
    albedo, mirror, coat, glass, glow, is_wheel, through = painted(p, s, q, at, part, normal, ray)
    grazing = (1 - jnp.abs((normal * ray).sum(-1))) ** 5
    # Flakes in the paint mirror the surroundings dimly and shine where the eye looks straight at them.
    metal = p["metallic"] * coat * (1 - glass) * ~is_wheel * (mirror < 0.09)
    ambient = jnp.clip(0.35 + 0.65 * (q[..., 1] / (0.55 * p["high"])), 0.25, 1) * jnp.where(is_wheel, 0.6, 1)
    soft_sky = photograph.harmonic_light(unit(normal + 0.6 * bounce), light)
    around = _over(photograph.harmonic_light(normal, light), 0.6 * metal, 1.2 * soft_sky)
    around = around * ambient[..., None]
    cosine = jnp.maximum((normal * sun).sum(-1), 0) * lit
    shine = jnp.maximum((bounce * sun).sum(-1), 0)
    direct = key * cosine[..., None] * (1 - 0.45 * metal[..., None])
    flakes = metal * lit * 0.9 * shine**8
    shading = around + direct
    smooth = jnp.where(is_wheel, 0.05, jnp.maximum(jnp.maximum(coat, glass), 0.1))
    fresnel = (mirror + (1 - mirror) * grazing * smooth)[..., None]
    mirrored = _over(far, on_road, road)
    through = through * glass[..., None]
    radiance = (
        (albedo * (shading + flakes[..., None] * key)) * (1 - fresnel) + through * (1 - fresnel) + fresnel * mirrored
    )
    sharp = jnp.maximum(coat, glass) * lit * (fresnel[..., 0] * 40 * shine**400 + 0.04 * shine**30)
    radiance = radiance + sharp[..., None] * key + glow[..., None] * jnp.array([1.0, 0.97, 0.9])
    # Exposure as a camera would choose it.
    picture = jnp.where(visible[..., None], radiance, behind)
    gain = s["exposure"] * (0.21 / jnp.maximum(jnp.minimum(picture, 2).mean(), 1e-3)) ** 0.85
    shown = photograph.developed(jnp.minimum(picture * gain, 2.5), s, supersample)
    surface = {
        "depth": 1 + (fragments.depth - 1) / tangent,  # the focal length does not change the method's scene
        "visible": visible,
        "albedo": albedo,
        "normal": (normal * _AXES) @ turn.T,
        "shading": shading,
        "key": key,
        "direction": turn @ (sun * _AXES),
    }
    turned = s | {"lobes": (s["lobes"] * _AXES) @ turn.T}
    return photograph.told(shown, surface, turned, gain=gain, supersample=supersample)


@functools.partial(jax.jit, static_argnames=("size", "supersample"))
def draw(shown, scenes, *, size: int, supersample: int):
    """Draws a batch: dictionaries of arrays with a leading axis, see `cars`."""
    return jax.lax.map(lambda row: _draw_one(*row, size, supersample), (shown, scenes))
