"""Which car a picture shows, how and where: all that is random, as arrays, a function of seed, split and number.

A car comes from one generator of random numbers, the picture from another, so that a car can be seen more than once.
Colours are linear, lengths in metres, angles in radians; axes are those of `shape`.

Measures of the eight kinds are guesses of what is typical on the roads; a car is one kind, more or less towards a
second, and its own deviations from that. Of paints, white, black and grey have their shares of 2021 (Axalta's 69th
Global Automotive Color Popularity Report: 35, 19 and 19%), silver that of 2020 (68th: 9%), blue that of 2018 (66th:
7%); the remaining 11% are divided between red, brown, green, yellow and orange by guess.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import chance
from chance import linear

KINDS = ("saloon", "hatchback", "estate", "coupe", "off-roader", "pick-up", "van", "small")
_SHARES = [0.2, 0.2, 0.1, 0.09, 0.2, 0.07, 0.06, 0.08]
# Metres; cowl to end are distances of base and top of the windscreen and of top and base of the rear screen from the
# front, in lengths; nose to waist are heights of bonnet and boot, in heights.
_MEASURES = {
    #               saloon hatch estate coupe off-r  pick-up van  small
    "long":        [4.70, 4.25, 4.72, 4.50, 4.60, 5.25, 4.95, 3.60],
    "wide":        [1.83, 1.79, 1.83, 1.85, 1.89, 1.88, 1.95, 1.65],
    "high":        [1.45, 1.47, 1.49, 1.34, 1.70, 1.80, 1.96, 1.50],
    "wheelbase":   [.595, .610, .590, .585, .588, .600, .610, .625],
    "overhang":    [.190, .200, .190, .195, .190, .170, .180, .180],
    "clear":       [.155, .160, .155, .135, .230, .260, .180, .160],
    "radius":      [.325, .315, .325, .335, .365, .375, .335, .290],
    "cowl_z":      [.275, .255, .265, .300, .265, .255, .165, .210],
    "header_z":    [.435, .425, .420, .475, .390, .370, .300, .380],
    "end_z":       [.700, .870, .925, .640, .930, .600, .965, .890],
    "base_z":      [.865, .975, .980, .900, .985, .630, .990, .980],
    "nose":        [.500, .510, .495, .495, .590, .600, .500, .510],
    "cowl":        [.675, .665, .660, .680, .660, .650, .610, .650],
    "boot":        [.730, .690, .680, .740, .680, .620, .610, .670],
    "roof_wide":   [.640, .650, .670, .620, .690, .720, .800, .690],
    "nose_lean":   [.140, .130, .140, .150, .070, .050, .100, .090],
}  # fmt: skip
_DEVIATION = {
    "long": 0.035, "wide": 0.018, "high": 0.025, "wheelbase": 0.015, "overhang": 0.05, "clear": 0.12, "radius": 0.035,
    "cowl_z": 0.05, "header_z": 0.04, "end_z": 0.03, "base_z": 0.008, "nose": 0.04, "cowl": 0.025, "boot": 0.03,
    "roof_wide": 0.025, "nose_lean": 0.4,
}  # fmt: skip
_LIMITS = {"long": (3.4, 5.4), "wide": (1.6, 2.05), "high": (1.25, 2.1), "wheelbase": (0.55, 0.63)}
_PAINTS = {
    "white": (0.35, [(236, 237, 235), (228, 229, 226), (240, 238, 230)]),
    "black": (0.19, [(16, 16, 18), (24, 24, 28), (22, 20, 20)]),
    "grey": (0.19, [(92, 95, 99), (66, 69, 74), (118, 120, 122), (80, 82, 82)]),
    "silver": (0.09, [(172, 175, 178), (158, 161, 166), (186, 187, 186)]),
    "blue": (0.07, [(28, 58, 122), (22, 36, 74), (56, 104, 160), (38, 82, 150)]),
    "red": (0.055, [(150, 20, 24), (178, 24, 26), (104, 16, 24)]),
    "brown": (0.025, [(92, 70, 54), (168, 150, 124), (120, 96, 72)]),
    "green": (0.015, [(36, 70, 50), (84, 98, 70), (60, 110, 70)]),
    "yellow": (0.01, [(226, 186, 30), (214, 170, 60)]),
    "orange": (0.005, [(206, 92, 26)]),
}
_WAVES, _BLOCKS = 7, 8
CANONICAL_DEG = -40.0  # the azimuth of the canonical view, three quarters from in front; see `render`
COLOURS = tuple(_PAINTS)


def car(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns a car's measures and what it is painted and trimmed with."""
    kind, second = rng.choice(len(KINDS), p=_SHARES), rng.integers(len(KINDS))
    share = max(rng.uniform(-0.3, 0.35), 0)
    m = {}
    for name, values in _MEASURES.items():
        mean = values[kind] * (1 - share) + values[second] * share
        m[name] = mean * (1 + _DEVIATION[name] * np.clip(rng.normal(), -2, 2))
    for name, limits in _LIMITS.items():
        m[name] = np.clip(m[name], *limits)
    for name in ("wheelbase", "overhang"):
        m[name] *= m["long"]
    for name in ("cowl_z", "header_z", "end_z", "base_z"):
        m[name] = m["long"] * (0.5 - m[name])
    for name in ("nose", "cowl", "boot"):
        m[name] *= m["high"]
    m["roof_wide"] *= m["wide"]
    body = (m["cowl"] - m["clear"]) / 2
    corner = rng.uniform(0.7, 1.3)
    upright = KINDS[kind] in ("off-roader", "pick-up", "van")
    clad = rng.uniform(0.5, 1) * (rng.random() < (0.6 if KINDS[kind] in ("off-roader", "pick-up") else 0.1))
    doors = 2 if KINDS[kind] == "coupe" or rng.random() < 0.12 else 4
    front, rear = m["long"] / 2 - m["overhang"], m["long"] / 2 - m["overhang"] - m["wheelbase"]
    arch = m["radius"] + rng.uniform(0.045, 0.075) + 0.02 * upright
    hinge = min(front - arch - 0.1, m["cowl_z"] - 0.1)
    latch = (hinge + max(rear, m["end_z"]) + (0.1 if doors == 4 else -0.45)) / 2
    colour = rng.choice(len(COLOURS), p=[share for share, _ in _PAINTS.values()])
    shades = _PAINTS[COLOURS[colour]][1]
    paint = (
        linear(*shades[rng.integers(len(shades))])
        * np.exp(rng.normal(0, 0.12))
        * np.exp(rng.normal(0, 0.012 if COLOURS[colour] == "white" else 0.04, 3))
    )
    return m | {
        "kind": np.int32(kind),
        "colour": np.int32(colour),
        "arch": arch,
        "flare": 0.015 + 0.03 * clad * rng.random(),
        "taper": np.array([rng.uniform(0.06, 0.13), rng.uniform(0.04, 0.1)]) * (0.6 if upright else 1),
        "tuck": rng.uniform(0.04, 0.11),
        "lean": rng.uniform(0.03, 0.08),
        "crease": rng.uniform(0, 0.02),
        "crown": rng.uniform(0.03, 0.09),
        "bow": rng.uniform(0.12, 0.34) * (0.7 if upright else 1),
        "bumper": rng.uniform(-0.35, 0.0),
        "rise": rng.uniform(0.03, 0.12),
        "bonnet_bend": rng.uniform(0.35, 0.6) if upright else rng.uniform(0.5, 0.9),
        "roof_drop": rng.uniform(0.03, 0.1) * (0.5 if upright else 1),
        "bed": np.float32(KINDS[kind] == "pick-up"),
        "round_body": corner * np.array([0.1 / m["wide"] * 2, 0.09 / body, 0.16 / m["long"] * 2]),
        "round_cabin": corner * np.array([0.1, 0.2, 0.1]),
        "doors": np.array([hinge, latch, max(rear + (0.12 if doors == 4 else 0.6), latch - 1.0)]),
        "four": np.float32(doors == 4),
        "pillar": rng.uniform(0.08, 0.45 if KINDS[kind] in ("hatchback", "small", "coupe") else 0.2),
        "blind": np.float32(KINDS[kind] == "van" and rng.random() < 0.5),  # without windows behind
        "paint": np.minimum(paint, 0.86),
        "metallic": rng.uniform(0.3, 1) * (COLOURS[colour] in ("black", "grey", "silver", "blue", "brown", "red"))
        * (COLOURS[colour] == "silver" or rng.random() < 0.7),
        "two_tone": np.float32(rng.random() < 0.1),
        "clad": clad,
        "chrome": np.float32(rng.random() < 0.4),
        "black_trim": np.float32(rng.random() < 0.5),
        "tint": rng.uniform(0.25, 0.9),
        "lamp": np.array([
            rng.uniform(0.66, 0.8), rng.uniform(0.045, 0.13), rng.uniform(0.5, 0.66), rng.uniform(-0.15, 0.5),
            rng.uniform(0.25, 0.5), rng.random() < 0.2,
        ]),  # height, half height, inner end, slant, reach along the side, round
        "lit": np.float32(rng.uniform(0.3, 1) * (rng.random() < 0.25)),
        "grille": np.array([rng.uniform(0.3, 0.6), rng.uniform(0.74, 0.9), rng.uniform(0.28, 0.6), rng.integers(4)]),
        "intake": np.array([rng.uniform(0.08, 0.14), rng.uniform(0.2, 0.3), rng.uniform(0.4, 0.85)]),
        "rim": np.array([rng.integers(4), rng.integers(5, 11), rng.uniform(0.3, 0.65), rng.uniform(0, 2 * np.pi)]),
        "rim_colour": np.repeat(rng.choice([0.04, 0.35, 0.5, 0.6], p=[0.22, 0.28, 0.3, 0.2]), 3),
        "plate": np.array([rng.choice([0.0, rng.uniform(-0.35, 0.35)], p=[0.85, 0.15]), rng.uniform(0.3, 0.45)]),
        "plate_colour": linear(*[(235, 235, 230), (235, 200, 40), (40, 60, 120)][rng.choice(3, p=[0.8, 0.13, 0.07])]),
        "filler": np.float32(rng.choice([-1, 1])),
        "dirt": max(rng.normal(0, 0.3), 0) * 0.5,
    }  # fmt: skip


def view_of(azimuth: float, elevation: float, roll: float) -> np.ndarray:
    """Returns the angles (rx, ry, rz) of the method's view, Rz Ry Rx, for a car on a road that is seen from there.

    The car turns about its upright axis first, and then the road with it about the picture's two axes.
    """
    (ca, ce, cr), (sa, se, sr) = (function([azimuth, elevation, roll]) for function in (np.cos, np.sin))
    about_y = np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
    about_x = np.array([[1, 0, 0], [0, ce, -se], [0, se, ce]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turn = about_z @ about_x @ about_y
    return np.array([np.arctan2(turn[2, 1], turn[2, 2]), -np.arcsin(turn[2, 0]), np.arctan2(turn[1, 0], turn[0, 0])])


def scene(rng: np.random.Generator, *, yaw: float) -> dict[str, np.ndarray]:
    """Returns a picture's view, lens, lights and surroundings; yaw (the greatest) in degrees.

    Views are relative to the canonical one. With a yaw of 0, cars are seen from exactly there, level and unzoomed.
    """
    free = yaw > 0
    azimuth, elevation, roll = rng.uniform(-yaw, yaw), 15 * rng.beta(1.6, 2.6) * free, rng.normal(0, 0.6) * free
    view = np.zeros(6)
    view[:3] = view_of(*np.radians([azimuth, elevation, roll]))
    view[3:5] = rng.normal(0, 0.0015, 2) * free
    varied = np.exp(rng.uniform(*np.log([50, 150])))
    fov = 2 * np.degrees(np.arctan(12 / varied))
    weather = rng.choice(4, p=[0.45, 0.33, 0.12, 0.1])  # sun, clouds, a low sun, a hall
    high = np.radians(rng.uniform(*[(25, 65), (30, 80), (8, 20), (40, 80)][weather]))
    around = rng.normal(0, 1.1)  # mostly from the side of the camera
    towards = np.radians(azimuth + CANONICAL_DEG)
    side = around + towards
    sun = np.array([np.cos(high) * np.sin(side), np.sin(high), np.cos(high) * np.cos(side)])
    warm = np.array([1.05, 1.0, 0.92]) if weather != 2 else np.array([1.25, 0.95, 0.62])
    key = warm * rng.uniform(*[(1.2, 2.4), (0.02, 0.35), (0.7, 1.5), (0.2, 0.6)][weather])
    cloud = rng.uniform(0, 0.5) if weather == 0 else 1.0
    zenith = np.array([0.22, 0.4, 0.85]) * (1 - cloud) + np.array([0.7, 0.75, 0.82]) * cloud
    horizon = np.array([0.75, 0.88, 1.05]) * (1 - cloud) + np.array([0.95, 0.98, 1.0]) * cloud
    if weather == 2:
        zenith, horizon = np.array([0.3, 0.4, 0.6]), np.array([1.1, 0.85, 0.62])
    if weather == 3:
        zenith, horizon = np.full((2, 3), rng.uniform(0.5, 1.1))
    zenith, horizon = (sky * rng.uniform(0.8, 1.2) for sky in (zenith, horizon))
    road = _road(rng)
    blocks, block_colours = _surroundings(rng, towards, weather == 3)
    return {
        "view": view,
        "fov": np.float32(fov),
        "zoom": np.float32(np.exp(rng.normal(0, 0.02) * free)),
        "key": key,
        "key_direction": sun,
        "soft": np.float32(rng.uniform(0.4, 1.2) if weather in (0, 2) else 3.0),
        "zenith": zenith,
        "horizon": horizon,
        "cloud_waves": rng.normal(0, [3, 6, 3], (4, 3)),
        "cloud_phases": rng.uniform(0, 2 * np.pi, 4),
        "clouds": np.float32(rng.uniform(0, 0.35) * (weather != 3)),
        "lobes": np.array([[0, 1, 0], [0, -1, 0], [np.sin(towards), 0.2, np.cos(towards)]]),
        "lobe_colour": np.stack(
            [zenith * 0.75 + horizon * 0.25, road[0] * (0.5 * zenith + 0.4 * key * sun[1]), horizon * 0.35]
        ),
        "ambient": horizon * rng.uniform(0.08, 0.2),
        "road": road[0],
        "road_rough": np.float32(road[1]),
        "wet": np.float32(road[2]),
        "road_waves": rng.normal(0, 1, (_WAVES, 2)) * np.geomspace(0.2, 9, _WAVES)[:, None],
        "road_phases": rng.uniform(0, 2 * np.pi, _WAVES),
        "marking": np.array(
            [rng.normal(0, 3), rng.uniform(-0.4, 0.4) + (rng.random() < 0.4) * np.pi / 2, rng.random() < 0.4]
        ),
        "distance": np.float32(np.exp(rng.uniform(*np.log([5, 45])))),
        "leaf_waves": (np.geomspace(15, 120, 6) * [np.cos(leaf := rng.uniform(0, 2 * np.pi, 6)), np.sin(leaf)]).T,
        "leaf_phases": rng.uniform(0, 2 * np.pi, 6),
        "blocks": blocks,
        "block_colours": block_colours,
        "exposure": np.float32(np.exp(rng.normal(0, 0.18))),
    } | {key: value for key, value in chance.film(rng).items() if key != "exposure"}  # fmt: skip


def _road(rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Returns a road's colour, how rough it looks, and how much it mirrors."""
    kind = rng.choice(6, p=[0.55, 0.22, 0.08, 0.06, 0.06, 0.03])
    colour = [(105, 105, 107), (165, 162, 156), (142, 128, 108), (84, 92, 58), (128, 120, 114), (228, 232, 238)][kind]
    wet = rng.uniform(0.2, 0.6) * (kind < 2 and rng.random() < 0.15)
    return linear(*colour) * np.exp(rng.normal(0, 0.3)), [0.05, 0.04, 0.1, 0.14, 0.1, 0.05][kind], wet


def _surroundings(rng: np.random.Generator, ahead: float, hall: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns blocks on a wall around the car: middle (radians), half width, height (of the distance), softness, form.

    The first half stands behind the car as the camera sees it, the others anywhere: only the car mirrors those. Forms:
    0 to 0.5 walls, with windows above 0.25, above 0.5 trees.
    """
    kind = rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])  # a town, trees, open land, a car park
    blocks, colours = [], []
    for number in range(_BLOCKS):
        middle = ahead + rng.normal(0, 0.35) if number < _BLOCKS // 2 else rng.uniform(-np.pi, np.pi)
        tree = rng.random() < [0.25, 0.9, 0.8, 0.3][kind]
        height = [rng.uniform(0.15, 0.9), rng.uniform(0.15, 0.7), rng.uniform(0.02, 0.1), rng.uniform(0.05, 0.25)][kind]
        width = np.exp(rng.normal(-1.6, 0.7)) * (1 + 2 * (kind == 2))
        softness = 0.012 * np.exp(rng.normal(0.6, 0.5))
        blocks.append([middle, width, height * (0.4 if hall else 1), softness, rng.uniform(0, 0.5) + 0.5 * tree])
        if tree:
            colour = linear(*(np.array([46, 56, 36]) + rng.random() * 56 + rng.normal(0, 6, 3)))
        else:
            base = rng.uniform(60, 215)
            colour = linear(*np.clip(base + rng.normal(0, 6, 3) + [10, 0, -10], 8, 250))
        colours.append(colour * rng.uniform(0.5, 1.3))
    return np.array(blocks), np.array(colours)
