"""Two families of heads, read from their public sources: ICT-FaceKit (MIT) and MakeHuman (its assets are CC0).

    git clone https://github.com/ICT-VGL/ICT-FaceKit
    git clone https://github.com/makehumancommunity/makehuman
    git lfs install && git clone https://github.com/makehumancommunity/makehuman-assets

A family is a mesh at rest and modes that are added to it. Axes: x to the person's left, y up, z forward; the origin
lies between the eyes, the unit is the height of the eyes above the mouth (about 6.5 cm). Hair, eyes and glasses have
vertices of their own that follow the head's. Nothing of the sources is copied into the repository.
"""

import pathlib
import re

import numpy as np
from PIL import Image

SKIN, MOUTH, TEETH, EYE, HAIR, GLASSES = range(6)
ICT, MAKEHUMAN = "ict", "makehuman"
FAMILIES = (ICT, MAKEHUMAN)

CLONES = ("ICT-FaceKit", "makehuman", "makehuman-assets")
SOLID = ("afro01",)  # the gaps in its texture are finer than its triangles
STYLES = ("short01", "short02", "short03", "short04", "bob02", "long01", "ponytail01", "braid01", "afro01")
_NEIGHBOURS = 8  # of a hair's vertex, whose movement it follows
FORMAT = 1  # of the compiled sources


def _obj(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, list[tuple[str, list[list[tuple[int, int]]]]]]:
    """Returns vertices, texture coordinates and the faces (vertex, texture) of each group or material in order."""
    vertices, texture, groups = [], [], [("", [])]
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append(words[:3])
        elif kind == "vt":
            texture.append(words[:2])
        elif kind in ("g", "usemtl") and words:
            groups.append((words[0], []))
        elif kind == "f":
            corners = [(word.split("/") + [""])[:2] for word in words]
            groups[-1][1].append([(int(v) - 1, int(t) - 1 if t else 0) for v, t in corners])
    return np.array(vertices, np.float32), np.array(texture, np.float32), [group for group in groups if group[1]]


def _triangles(polygons: list[list[tuple[int, int]]]) -> np.ndarray:
    """Returns (F, 3, 2): vertex and texture numbers of the polygons' corners, as fans."""
    fans = [[polygon[0], polygon[k], polygon[k + 1]] for polygon in polygons for k in range(1, len(polygon) - 1)]
    return np.array(fans, np.int32).reshape(-1, 3, 2)


def _ball(center: np.ndarray, radius: float, rings: int = 9, around: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Returns the front of an eyeball: rings about the gaze (z), to 100 degrees from it."""
    angle = np.linspace(0.05, np.radians(100), rings)[:, None]
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    points = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn], -1)
    return center + radius * points.reshape(-1, 3), np.concatenate([_tube_faces(rings, around), _fan(around)])


def _tube_faces(along: int, around: int, closed: bool = False) -> np.ndarray:
    """Returns the faces of `along` rings of `around` vertices; closed joins the last ring to the first."""
    ring = np.arange(along if closed else along - 1)[:, None]
    a = ring * around + np.arange(around)
    b = ring * around + (np.arange(around) + 1) % around
    c, d = (a + around) % (along * around), (b + around) % (along * around)
    return np.stack([a, b, c, b, d, c], -1).reshape(-1, 3).astype(np.int32)


def _fan(around: int) -> np.ndarray:
    k = np.arange(1, around - 1)
    return np.stack([0 * k, k, k + 1], -1).astype(np.int32)


def _tube(path: np.ndarray, radius: float, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns a tube with four sides along a path (P, 3)."""
    ahead = np.roll(path, -1, 0) - path if closed else np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, [0.3, 0.2, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(ahead, side)
    corners = np.stack([side, other, -side, -other], 1) * radius
    return (path[:, None] + corners).reshape(-1, 3), _tube_faces(len(path), 4, closed)


def _glasses(eyes: np.ndarray, ears: np.ndarray, front: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns two rims, a bridge and two temples; eyes and ears (2, 3) left and right, front the plane of the rims."""
    vertices, faces, count = [], [], 0
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    width, height = 0.40 * abs(eyes[0, 0] - eyes[1, 0]), 0.30 * abs(eyes[0, 0] - eyes[1, 0])
    square = (np.abs(np.cos(turn)) ** 3 + np.abs(np.sin(turn)) ** 3) ** (-1 / 3)  # between a circle and a rectangle
    parts = []
    for (x, y, _), ear in zip(eyes, ears, strict=True):
        x = x * 1.03
        rim = np.stack([x + width * square * np.cos(turn), y - 0.05 + height * square * np.sin(turn)], -1)
        parts.append((np.concatenate([rim, front - 0.14 * np.abs(rim[:, :1] / eyes[0, 0]) ** 2], 1), True))
        outer = np.array([x + np.sign(x) * width, y + 0.06, front - 0.3])
        parts.append((outer + (ear - outer) * np.linspace(0, 1, 6)[:, None], False))
    inner = abs(eyes[0, 0]) * 1.03 - width
    bridge = np.linspace(-inner, inner, 5)
    parts.append((np.stack([bridge, eyes[:, 1].mean() + 0.06 - 0.5 * bridge**2, front + 0 * bridge], -1), False))
    for path, closed in parts:
        points, triangles = _tube(path, 0.028, closed)
        vertices.append(points)
        faces.append(triangles + count)
        count += len(points)
    return np.concatenate(vertices), np.concatenate(faces)


def _nearest(points: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Returns the numbers of the nearest of some points, (P, count)."""
    rows = []
    for start in range(0, len(points), 500):
        distance = ((points[start : start + 500, None] - among) ** 2).sum(-1)
        rows.append(np.argpartition(distance, count, axis=1)[:, :count])
    return np.concatenate(rows)


def _assemble(
    head: np.ndarray,
    modes: np.ndarray,
    names: list[str],
    faces: np.ndarray,
    parts: np.ndarray,
    lips: np.ndarray,
    balls: list[tuple[np.ndarray, float, np.ndarray]],
) -> dict[str, np.ndarray | list[str]]:
    """Normalises a head, adds eyeballs (centre, radius, movement by mode) and glasses, and drops unused vertices."""
    middle = np.mean([center for center, _, _ in balls], axis=0)
    mouth = (head * lips[:, None]).sum(0) / lips.sum()
    unit = middle[1] - mouth[1]
    used = np.unique(faces)
    number = np.zeros(len(head), np.int32)
    number[used] = np.arange(len(used))
    rest, modes, lips, faces = (head[used] - middle) / unit, modes[:, used] / unit, lips[used], number[faces]
    eyes = []
    for center, radius, movement in balls:
        points, triangles = _ball((center - middle) / unit, radius / unit)
        eyes.append(len(rest) + np.arange(len(points)))
        faces = np.concatenate([faces, triangles + len(rest)])
        parts = np.concatenate([parts, np.full(len(triangles), EYE)])
        rest = np.concatenate([rest, points])
        modes = np.concatenate([modes, np.repeat(movement[:, None] / unit, len(points), 1)], 1)
    skin = np.arange(len(used))
    centers = rest[eyes].mean(1)
    side = [
        skin[np.argmax(rest[skin, 0] * sign * (np.abs(rest[skin, 1]) < 0.6) * (rest[skin, 2] > -2.5))]
        for sign in (1, -1)
    ]
    bridge = skin[(np.abs(rest[skin, 0]) < 0.1) & (np.abs(rest[skin, 1] - 0.1) < 0.15)]
    ears = rest[side] * [1, 0, 1] + [0, 0.1, 0]
    points, triangles = _glasses(centers, ears, float(rest[bridge, 2].max()) + 0.06)
    face = skin[rest[skin, 2] > -0.9]
    near = _nearest(points, rest[face], 30)
    faces = np.concatenate([faces, triangles + len(rest)])
    parts = np.concatenate([parts, np.full(len(triangles), GLASSES)])
    rest = np.concatenate([rest, points])
    modes = np.concatenate([modes, modes[:, face[near]].mean(2)], 1)
    return {
        "rest": rest.astype(np.float32), "modes": modes.astype(np.float32), "names": names, "faces": faces,
        "parts": parts.astype(np.int32), "lips": np.pad(lips, (0, len(rest) - len(lips))).astype(np.float32),
        "eyes": np.stack(eyes),
    }  # fmt: skip


# Of the model's table of geometries: numbers of polygons. Teeth: the twelve in front.
_ICT_POLYGONS = {SKIN: [(0, 11144), (13226, 14034)], MOUTH: [(11144, 13226)], TEETH: [(17886, 18370), (20104, 20642)]}
_ICT_EYES = ((21451, 22221), (23021, 23791))
_OUTER_LIPS = (5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841)


def _ict_vertices(path: pathlib.Path) -> np.ndarray:
    lines = [line[2:] for line in path.read_bytes().splitlines() if line.startswith(b"v ")]
    vertices = np.array(b" ".join(lines).split(), np.float32)
    return vertices.reshape(-1, 3)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Returns which points (P, 2) lie in a polygon (Q, 2)."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        inside ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0 + 1e-12) + x0)
    return inside


def _read_ict(folder: pathlib.Path) -> dict:
    folder = folder / "FaceXModel"
    neutral_path = folder / "generic_neutral_mesh.obj"
    neutral = _ict_vertices(neutral_path)
    _, _, groups = _obj(neutral_path)
    polygons = [polygon for _, group in groups for polygon in group]
    shapes = [f"identity{k:03d}" for k in range(100)]
    listed = {path.stem for path in folder.glob("*.obj")}
    expressions = sorted(name for name in listed if not name.startswith(("identity", "generic", "Pupil", "eyeLook")))
    names = shapes + expressions
    modes = np.stack([_ict_vertices(folder / f"{name}.obj") - neutral for name in names])
    faces, parts = [], []
    for part, ranges in _ICT_POLYGONS.items():
        for first, last in ranges:
            triangles = _triangles(polygons[first:last])[..., 0]
            faces.append(triangles)
            parts.append(np.full(len(triangles), part))
    lips = np.zeros(len(neutral))
    front = np.arange(9409)
    lips[front] = _inside(neutral[front, :2], neutral[list(_OUTER_LIPS), :2])
    lips[: len(front)] *= neutral[front, 2] > neutral[list(_OUTER_LIPS), 2].min() - 1
    balls = []
    for first, last in _ICT_EYES:
        ball = neutral[first:last]
        center = (ball.min(0) + ball.max(0)) / 2
        movement = modes[:, first:last].mean(1)
        balls.append((center, float(np.median(np.linalg.norm(ball - center, axis=1))), movement))
    return _assemble(neutral, modes, names, np.concatenate(faces), np.concatenate(parts), lips, balls)


RACES, SEXES = ("caucasian", "african", "asian"), ("female", "male")
AGES, WEIGHTS = ("child", "young", "old"), ("min", "average", "max")
_MAKEHUMAN_VERTICES = 19158
_DETAILS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "chin", "cheek", "ears", "neck", "asym")
_LEFT_OUT = re.compile(
    "head-trans|head-angle|head-scale|ear-shape|ear-trans|ear-flap|breast|trunk|neck-trans|eye-push|head-back|-rot-|nose-trans|bag-"
)


def macro_names() -> list[str]:
    """Returns the names of MakeHuman's modes of race, sex, age and weight."""
    whole = [f"{race}-{sex}-{age}" for race in RACES for sex in SEXES for age in AGES]
    return whole + [f"universal-{sex}-{age}-averagemuscle-{w}weight" for sex in SEXES for age in AGES for w in WEIGHTS]


def _target(path: pathlib.Path) -> np.ndarray:
    values = [line.split() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
    moved = np.zeros((_MAKEHUMAN_VERTICES, 3), np.float32)
    if values:
        table = np.array(values, np.float32)
        moved[table[:, 0].astype(int)] = table[:, 1:4]
    return moved


def _read_makehuman(folder: pathlib.Path) -> tuple[dict, np.ndarray, np.ndarray]:
    """Returns the family, and MakeHuman's whole mesh at rest with its normalisation for what is worn."""
    data = folder / "makehuman" / "data"
    base, _, groups = _obj(data / "3dobjs/base.obj")
    targets = data / "targets"
    modes = {name: _target(targets / f"macrodetails/{name}.target") for name in macro_names()}
    for group in _DETAILS:
        for path in sorted((targets / group).glob("*.target")):
            if _LEFT_OUT.search(path.stem):
                continue
            name = re.sub("^[lr]-", "", path.stem)  # both sides together; asymmetry has targets of its own
            modes[name] = modes.get(name, 0) + _target(path)
    for path in sorted((targets / "expression" / "units" / "caucasian").glob("*.target")):
        modes["expression-" + path.stem] = _target(path)
    mean = sum(_mean_weight(name) * mode for name, mode in modes.items())
    rest = base + mean
    body = _triangles([polygon for name, group in groups if name == "body" for polygon in group])[..., 0]
    teeth = _triangles(
        [polygon for name, group in groups if name in ("helper-upper-teeth", "helper-lower-teeth") for polygon in group]
    )[..., 0]
    inside = (base[:, 1] > 5.35) & (np.abs(base[:, 0]) < 1.9)
    body = body[inside[body].all(1)]
    faces = np.concatenate([body, teeth])
    parts = np.concatenate([np.full(len(body), SKIN), np.full(len(teeth), TEETH)])
    volume = sum(np.linalg.norm(modes[f"mouth-{lip}lip-volume-incr"], axis=1) for lip in ("upper", "lower"))
    lips = np.clip(volume / volume.max() * 3, 0, 1)
    lips[base[:, 2] < 1.25] = 0
    balls = []
    for name in ("helper-l-eye", "helper-r-eye"):
        own = np.unique([corner[0] for n, group in groups if n == name for polygon in group for corner in polygon])
        ball = rest[own]
        center = (ball.min(0) + ball.max(0)) / 2
        radius = float(np.median(np.linalg.norm(ball - center, axis=1)))
        balls.append((center, radius, np.stack([mode[own].mean(0) for mode in modes.values()])))
    family = _assemble(rest, np.stack(list(modes.values())), list(modes), faces, parts, lips, balls)
    middle = np.mean([center for center, _, _ in balls], axis=0)
    mouth = (rest * lips[:, None]).sum(0) / lips.sum()
    return family, rest, np.array([*middle, middle[1] - mouth[1]])


def _mean_weight(name: str) -> float:
    """Returns the weight of a mode in the head at rest: young, between the sexes and the races, of average weight."""
    if name in macro_names():
        if name.startswith("universal"):
            return 0.5 * ("-young-" in name) * name.endswith("averageweight")
        return name.endswith("young") / 6
    return 0.0


def _worn(path: pathlib.Path, body: np.ndarray) -> np.ndarray:
    """Returns the vertices of something worn, `.mhclo`: a point of a triangle of the body, and an offset."""
    scale, points, reading = np.ones(3), [], False
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) == 4 and words[0] in ("x_scale", "y_scale", "z_scale"):
            axis = "xyz".index(words[0][0])
            scale[axis] = abs(body[int(words[1]), axis] - body[int(words[2]), axis]) / float(words[3])
        elif words[:1] == ["verts"]:
            reading = True
        elif reading and len(words) in (1, 9) and words[0].isdigit():
            if len(words) == 1:
                points.append(body[int(words[0])])
            else:
                corners, numbers = [int(word) for word in words[:3]], np.array(words[3:], float)
                points.append(numbers[:3] @ body[corners] + numbers[3:] * scale)
    return np.array(points)


def _texture(folder: pathlib.Path) -> np.ndarray | None:
    """Returns the hair's texture (S, S, 4) in [0, 1]; None where it is not there or a pointer of git-lfs."""
    for path in sorted(folder.glob("*_diffuse.png")) if folder.name not in SOLID else []:
        if path.stat().st_size > 1000:
            return (
                np.asarray(Image.open(path).convert("RGBA").resize((512, 512), Image.Resampling.BOX), np.float32) / 255
            )
    return None


def _style(folder: pathlib.Path, body: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns vertices, faces without transparent ones, and the brightness of the strands at the vertices."""
    name = folder.name
    _, uv, groups = _obj(folder / f"{name}.obj")
    vertices = _worn(folder / f"{name}.mhclo", body)
    corners = _triangles([polygon for _, group in groups for polygon in group])
    faces, texture = corners[..., 0], _texture(folder)
    shade = np.ones(len(vertices))
    if texture is None:
        return vertices, faces, shade
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], 24)
    at = weights @ uv[corners[..., 1]] % 1  # (F, 24, 2)
    pixel = np.clip((at * [1, -1] + [0, 1]) * 512, 0, 511).astype(int)
    texels = texture[pixel[..., 1], pixel[..., 0]]
    opaque = texels[..., 3].mean(1)
    light = (texels[..., :3].mean(-1) * texels[..., 3]).sum(1) / np.maximum(texels[..., 3].sum(1), 1e-3)
    faces, light = faces[opaque > 0.42], light[opaque > 0.42]
    total, count = np.zeros(len(vertices)), np.zeros(len(vertices))
    np.add.at(total, faces, light[:, None])
    np.add.at(count, faces, 1)
    mean = light.mean()
    return vertices, faces, np.clip(np.where(count > 0, total / np.maximum(count, 1), mean) / mean, 0.35, 2.2)


def _hair(
    folder: pathlib.Path, body: np.ndarray, frame: np.ndarray, rest: np.ndarray, skin: np.ndarray, other: np.ndarray
) -> dict:
    """Fits every style to a head: along rays from its middle, by how much larger it is than MakeHuman's, `other`."""
    center = np.array([0, 0.25, -1.2])

    def polar(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = points - center
        radius = np.linalg.norm(away, axis=1, keepdims=True)
        return away / radius, radius[:, 0]

    (here, radius), (there, radius_other) = polar(rest[skin]), polar(other)
    styles = []
    for name in STYLES:
        if not (folder / "base" / "hair" / name).is_dir():
            styles.append((np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros(0), np.zeros((0, _NEIGHBOURS), int)))
            continue
        vertices, faces, shade = _style(folder / "base" / "hair" / name, body)
        vertices = (vertices - frame[:3]) / frame[3]
        direction, distance = polar(vertices)
        ratio = radius[_nearest(direction, here, 40)].mean(1) / radius_other[_nearest(direction, there, 40)].mean(1)
        ratio = np.where(direction[:, 1] < -0.45, 1, ratio)
        points = center + direction * (distance * ratio)[:, None]
        styles.append((points, faces, shade, skin[_nearest(points, rest[skin], _NEIGHBOURS)]))
    most, most_faces = (max(1, *(len(style[k]) for style in styles)) for k in (0, 1))
    kinds = {"hair": np.float32, "hair_faces": np.int32, "hair_shade": np.float32, "hair_near": np.int32}
    result: dict[str, list] = {name: [] for name in kinds}
    for points, faces, shade, near in [tuple(array[:0] for array in styles[0]), *styles]:
        room = most - len(points)
        result["hair"].append(np.pad(points, ((0, room), (0, 0))))
        result["hair_faces"].append(np.pad(faces, ((0, most_faces - len(faces)), (0, 0))))
        result["hair_shade"].append(np.pad(shade, (0, room), constant_values=1))
        result["hair_near"].append(np.pad(near, ((0, room), (0, 0))))
    return {name: np.stack(values).astype(kinds[name]) for name, values in result.items()}


def lacking(assets: pathlib.Path) -> str:
    """Returns what of the hair is not there, and what that changes; '' if it is complete."""
    folders = {name: assets / "base" / "hair" / name for name in STYLES}
    missing = [name for name, folder in folders.items() if not folder.is_dir()]
    solid = [name for name, folder in folders.items() if name not in (*missing, *SOLID) and _texture(folder) is None]
    said = f"no {', '.join(missing)}, so heads have less hair" if missing else ""
    if solid:
        said += f"{'; ' if said else ''}no textures of {', '.join(solid)} (`git lfs pull` gets them): hair without gaps"
    return f"{assets} has {said}" if said else ""


def read(ict: pathlib.Path, makehuman: pathlib.Path, assets: pathlib.Path) -> dict[str, dict]:
    """Reads both families; raises `OSError`.

    A family has N vertices of head, eyes and glasses, in this order, and H of hair for each of S styles, the first of
    them bald: rest (N, 3); modes (M, N, 3), their names and mean (M,), their weights at rest; faces (F, 3); parts (F,),
    SKIN to GLASSES; lips (N,), 0 to 1; eyes (2, E), the eyeballs' vertices, left and right; hair (S, H, 3), at rest;
    hair_near (S, H, 8), the vertices of the head that each follows; hair_faces (S, G, 3); hair_shade (S, H), the
    strands' relative brightness.
    """
    human, body, frame = _read_makehuman(makehuman)
    families = {ICT: _read_ict(ict), MAKEHUMAN: human}
    skins = {name: np.unique(family["faces"][family["parts"] == SKIN]) for name, family in families.items()}
    other = human["rest"][skins[MAKEHUMAN]]
    for name, family in families.items():
        family |= _hair(assets, body, frame, family["rest"], skins[name], other)
        family["mean"] = np.array([_mean_weight(mode) for mode in family["names"]], np.float32)
    return families
