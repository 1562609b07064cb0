"""Whom a picture shows, how and in which light: all that is random, as arrays, a function of seed, split and number.

Whoever is drawn comes from one generator of random numbers, the picture from another, so that a person can be seen more
than once. Colours are linear, lengths in units of the head (see `sources`), angles in radians.
"""

import pathlib
import sys

import numpy as np
from sources import AGES, ICT, MAKEHUMAN, RACES, SEXES, STYLES, WEIGHTS, macro_names

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import chance
from chance import linear

_WAVES = 24  # plane waves that the skin's noise is made of
_BLOBS = 7  # shapes in a background
_BLOB = ([-1.6, -1.2, -3.0], [0.6, 0.8, 0.8])  # log of their width, height and softness: mean and standard deviation


def _colours(*srgb: tuple[int, int, int]) -> np.ndarray:
    return np.stack([linear(*colour) for colour in srgb])


# From little melanin to much.
_SKINS = _colours(
    (243, 208, 190), (231, 186, 163), (212, 164, 138), (181, 132, 106), (140, 98, 77), (99, 70, 57), (69, 51, 45)
)  # fmt: skip
_HAIRS = _colours(
    (28, 24, 23), (66, 45, 33), (120, 85, 55), (190, 155, 105), (138, 66, 34), (122, 119, 115), (178, 175, 169)
)  # fmt: skip
_BLACK, _BROWN, _GREY, _WHITE = 0, 1, 5, 6
_IRISES = _colours((72, 44, 24), (112, 88, 50), (96, 116, 84), (94, 128, 160), (120, 132, 138))  # the first is brown


def person(rng: np.random.Generator, family: str, names: list[str]) -> dict[str, np.ndarray]:
    """Returns a person's shape and colours."""
    races = rng.dirichlet([0.5, 0.4, 0.4])
    if rng.random() < 0.6:
        races = np.eye(3)[rng.choice(3, p=[0.45, 0.28, 0.27])] * 0.85 + races * 0.15
    male = float(rng.random() < 0.5)
    age = float(np.clip(rng.gamma(6.0, 6.5), 12, 85))
    melanin = np.clip(races @ [1.0, 4.6, 1.8] + rng.normal(0, 0.75), 0, 5.9)
    k = int(melanin)
    skin = (
        _SKINS[k] ** (1 - melanin + k)
        * _SKINS[min(k + 1, 6)] ** (melanin - k)
        * rng.normal(1, 0.04, 3).clip(0.85, 1.15)
    )
    grey = np.clip((age - 48) / 30 + rng.normal(0, 0.25), 0, 1) * (age > 35)
    natural = rng.choice(5, p=[0.12, 0.38, 0.22, 0.2, 0.08]) if rng.random() < races[0] * 1.1 - 0.05 else _BLACK
    natural = _BROWN if natural == _BLACK and rng.random() < 0.25 else natural
    hair = _HAIRS[natural] * np.exp(rng.normal(0, 0.25)) * (1 - grey)
    hair = hair + _HAIRS[_WHITE if rng.random() < 0.4 else _GREY] * grey
    light_eyes = rng.random() < races[0] * 0.65
    iris = _IRISES[1 + rng.choice(4) if light_eyes else 0] * np.exp(rng.normal(0, 0.2))
    makeup = float((1 - male) * (rng.random() < 0.45) * rng.uniform(0.2, 1))
    lip = skin * [0.86, 0.55, 0.55]
    lip = lip * (1 - 0.7 * makeup) + 0.7 * makeup * linear(*rng.uniform([120, 20, 40], [200, 90, 100]))
    if male:
        style = rng.choice(len(STYLES) + 1, p=[0.15, 0.2, 0.24, 0.06, 0.24, 0.0, 0.04, 0.03, 0.0, 0.04])
    else:
        style = rng.choice(len(STYLES) + 1, p=[0.01, 0.08, 0.1, 0.06, 0.06, 0.08, 0.33, 0.18, 0.05, 0.05])
    beards = ([0, 0, 0, 0], [0.35, 0.3, 0.35, 0.3], [0, 0.9, 0, 0], [0, 0.8, 0.9, 0.5], [0.95, 0.9, 0.95, 0.9])
    beard = np.array(beards[rng.choice(5, p=[0.42, 0.26, 0.08, 0.1, 0.14])]) * male * (age > 18) * rng.uniform(0.6, 1)
    return {
        "weights": _shape(rng, family, names, races, male, age),
        "skin": skin,
        "hair": np.minimum(hair, 0.75),
        "iris": iris,
        "lip": lip,
        "brow_colour": np.minimum(hair, 0.16) * rng.uniform(0.45, 0.8),
        "style": np.int32(style),
        "beard": beard,
        "shaved": np.float32(rng.uniform(0, 0.7) if style == 0 else 1.0),
        "mirror": np.float32(rng.choice([-1, 1])),
        "volume": np.float32(rng.normal(1.01, 0.025)),
        "lift": rng.normal([0.03, -0.02], 0.04),
        "hairline": np.float32(rng.normal(0, 0.08) + 0.25 * (male * (age > 40) * rng.random())),
        "brow": np.array(
            [rng.normal(0, 0.035), rng.normal(0, 0.05), np.exp(rng.normal(0.1 * male, 0.25)), rng.uniform(0.55, 1)]
        ),
        "blush": np.float32(rng.uniform(0, 0.5) + 0.5 * makeup),
        "liner": np.float32(rng.uniform(0.25, 0.6) + 0.35 * makeup),
        "age": np.float32(np.clip((age - 30) / 45, 0, 1)),
        "freckles": np.float32(max(rng.normal(-0.5, 0.7), 0) * (melanin < 2)),
        "glasses": np.float32(rng.random() < 0.1 + 0.15 * (age > 45)),
        "frames": linear(*rng.uniform(10, [90, 80, 80])) if rng.random() < 0.75 else linear(150, 140, 120),
        "shirt": linear(*np.clip(rng.uniform(20, 235) + rng.normal(0, 40, 3), 5, 245)),
        "collar": np.float32(rng.normal(-2.45, 0.12)),
        "waves": rng.normal(0, 1, (_WAVES, 3)),
        "phases": rng.uniform(0, 2 * np.pi, _WAVES),
        "gloss": np.float32(rng.uniform(0.15, 1)),
    }


def _shape(
    rng: np.random.Generator, family: str, names: list[str], races: np.ndarray, male: float, age: float
) -> np.ndarray:
    """Returns the weights of the modes of identity; those of expression are 0."""
    weights = np.zeros(len(names))
    if family == ICT:
        count = sum(name.startswith("identity") for name in names)
        weights[:count] = rng.normal(0, 0.85, count).clip(-2.2, 2.2)
        return weights
    place = {name: k for k, name in enumerate(names)}
    sex = np.clip([1 - male + rng.normal(0, 0.12) * (2 * male - 1), 0], 0, 1)
    sex[1] = 1 - sex[0]
    old = np.clip((age - 25) / 60, 0, 1)
    child = np.clip((20 - age) / 12, 0, 1)
    ages = np.array([child, 1 - old - child, old])
    heavy = rng.normal(0, 0.45)
    weight = np.array([max(-heavy, 0), 1 - min(abs(heavy), 1), max(heavy, 0)]).clip(0, 1)
    for i, s in enumerate(SEXES):
        for j, a in enumerate(AGES):
            for k, race in enumerate(RACES):
                weights[place[f"{race}-{s}-{a}"]] = races[k] * sex[i] * ages[j]
            for k, w in enumerate(WEIGHTS):
                weights[place[f"universal-{s}-{a}-averagemuscle-{w}weight"]] = sex[i] * ages[j] * weight[k]
    macro = set(macro_names())
    opposite = {"decr": "incr", "in": "out", "down": "up", "backward": "forward", "concave": "convex"}
    opposite["compress"] = "uncompress"
    for name, k in place.items():
        if name in macro or name.startswith("expression"):
            continue
        stem, _, last = name.rpartition("-")
        if last in opposite:
            value = rng.normal(0, 0.2)
            weights[k], weights[place.get(f"{stem}-{opposite[last]}", k)] = max(-value, 0), max(value, 0)
        elif last not in opposite.values():
            weights[k] = max(rng.normal(-0.1, 0.2), 0)
    return weights.clip(0, 1)


def _both(*modes: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple((f"{name}_{side}", weight) for name, weight in modes for side in "LR")


_SMILE = {
    ICT: _both(("mouthSmile", 0.7), ("cheekSquint", 0.5), ("mouthUpperUp", 0.25)),
    MAKEHUMAN: (
        ("expression-mouth-corner-puller", 0.8),
        ("expression-eye-left-slit", 0.3),
        ("expression-eye-right-slit", 0.3),
    ),
}
_TEETH = {
    ICT: (*_both(("mouthUpperUp", 0.55), ("mouthLowerDown", 0.5)), ("jawOpen", 0.06)),
    MAKEHUMAN: (("expression-mouth-upward-retraction", 0.65),),
}
OPEN = {ICT: "jawOpen", MAKEHUMAN: "expression-mouth-open"}
_BLINK = {
    ICT: ("eyeBlink_L", "eyeBlink_R"),
    MAKEHUMAN: ("expression-eye-left-closure", "expression-eye-right-closure"),
}


def expression(rng: np.random.Generator, family: str, names: list[str]) -> np.ndarray:
    """Returns weights of the modes of expression: often a smile, an open mouth, half closed lids; traces of others."""
    weights = np.zeros(len(names))
    place = {name: k for k, name in enumerate(names)}
    first = 100 if family == ICT else next(k for k, name in enumerate(names) if name.startswith("expression"))
    others = rng.choice(np.arange(first, len(names)), 4, replace=False)
    weights[others] = rng.uniform(0, 0.25 if family == ICT else 0.18, 4)
    for name in (OPEN[family], *_BLINK[family]):
        weights[place[name]] = 0
    if rng.random() < 0.55:
        strength, teeth = rng.uniform(0.2, 1.1), rng.uniform(0.5, 1) * (rng.random() < 0.5)
        for name, part in _SMILE[family] + tuple((name, teeth * part) for name, part in _TEETH[family]):
            weights[place[name]] = max(weights[place[name]], strength * part)
    if rng.random() < 0.22:
        weights[place[OPEN[family]]] = rng.uniform(0.05, 0.35)
    lids = rng.uniform(0, 0.16 if family == ICT else 0.05) if rng.random() < 0.97 else rng.uniform(0.6, 1)
    for name in _BLINK[family]:
        weights[place[name]] += lids
    return weights


def scene(
    rng: np.random.Generator, *, yaw: float, fov: float | None, turned: tuple[float, float] | None = None
) -> dict[str, np.ndarray]:
    """Returns a picture's view, lights, background and camera; yaw (a standard deviation) and fov in degrees.

    With a yaw of 0, heads are seen from exactly in front, in the middle and unzoomed. Where `turned` is said, yaws and
    pitches are uniform up to these degrees to either side instead.
    """
    view = np.zeros(6)
    view[:3] = np.radians([rng.normal(0, 8), np.clip(rng.normal(0, yaw), -60, 60), rng.normal(0, 4)])
    if turned:
        view[:2] = np.radians(rng.uniform(-1, 1, 2) * turned[::-1])
    view[3:5] = rng.normal(0, 0.0022, 2)
    view *= yaw > 0
    varied = float(np.clip(10 * np.exp(rng.normal(0.05, 0.28)), 5, 24))
    fov = varied if fov is None else fov
    kelvin = rng.normal(0, 0.09)
    key = np.array([1 + kelvin, 1.0, 1 - kelvin]) * rng.uniform(0.25, 2.2)
    azimuth, height = rng.normal(0, 0.9), rng.normal(0.45, 0.4)
    direction = np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), -np.cos(azimuth) * np.cos(height)])
    lobes = rng.normal(0, 1, (3, 3)) + [[0, -2.5, 0], [0, 0, -0.8], [0, 0, -0.8]]  # the first one is the sky or ceiling
    lobes /= np.linalg.norm(lobes, axis=1, keepdims=True)
    tint = 1 + rng.normal(0, 0.1, (3, 1)) * [1, 0, -1] + rng.normal(0, 0.03, (3, 3))
    colour = tint * rng.uniform(0.1, 1, (3, 1))
    base = rng.uniform(25, 225)
    palette = np.stack(
        [linear(*np.clip(base + rng.normal(0, 45) + rng.normal(0, 13, 3), 3, 250)) for _ in range(_BLOBS + 2)]
    )
    if rng.random() < 0.25:  # leaves or sky
        palette *= [[0.7, 0.95, 0.5], [0.75, 0.92, 1.2]][rng.choice(2)]
    return {
        "view": view,
        "fov": np.float32(fov),
        "zoom": np.float32(np.exp(rng.normal(-0.01, 0.05) * (yaw > 0))),
        "key": key,
        "key_direction": direction,
        "lobes": lobes,
        "lobe_colour": colour,
        "ambient": tint[0] * rng.uniform(0.05, 0.35),
        "soft": np.float32(rng.uniform(0.5, 2.5)),
        "gaze": rng.normal(0, [0.1, 0.05]) - [view[1] * 0.35, 0],
        "palette": palette,
        "gradient": rng.normal(0, 0.35, 2),
        "blobs": np.concatenate(
            [rng.uniform([-0.2, -0.2, 0], [1.2, 1.2, 1], (_BLOBS, 3)), np.exp(rng.normal(*_BLOB, (_BLOBS, 3)))], 1
        ),
        "busy": np.float32(rng.choice([0, 0.5, 1.0], p=[0.3, 0.2, 0.5])),
        "texture": rng.normal(0, 1, (12, 12)) * max(rng.normal(0.03, 0.09), 0),
    } | chance.film(rng)
