"""Cars that others made: fifteen low-poly vehicles by Quaternius (CC0), read from their FBX files; to judge by only.

    git clone https://github.com/beep2bleep/FreeAssetsByKenneyNLandQuaternius models && pip install assimp-py
    python benchmarks/cars/render.py --models models --split test --count 120 --out lowpoly

They are painted as their materials, or the squares of their textures, say, and drawn on the same roads, under the same
lights and in the same views as ours. Axes and lengths are those of `shape`, as the files already have them. Race cars,
buses and the oldest pack, whose files do not say what is glass, are left out.
"""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from cars import KINDS
from chance import linear
from drawing import Surface
from PIL import Image

_FOLDER = "FreeModels by Quaternius[Patreon]/Vehicles"
_BASIC, _PUBLIC, _REALISTIC = (
    "Basic Car Pack - Jan 2017",
    "Public Transport Pack - Feb 2017",
    "Realistic Car Pack - Nov 2018",
)
MODELS = {
    f"{_REALISTIC}/FBX/NormalCar1.fbx": ("saloon", None),
    f"{_REALISTIC}/FBX/NormalCar2.fbx": ("hatchback", None),
    f"{_REALISTIC}/FBX/SUV.fbx": ("off-roader", None),
    f"{_REALISTIC}/FBX/SportsCar.fbx": ("coupe", None),
    f"{_REALISTIC}/FBX/SportsCar2.fbx": ("coupe", None),
    f"{_REALISTIC}/FBX/Taxi.fbx": ("saloon", None),
    f"{_REALISTIC}/FBX/Cop.fbx": ("saloon", None),
    f"{_REALISTIC}/FBX/Cop_SUV.fbx": ("off-roader", None),
    f"{_BASIC}/FBX/BasicCar.fbx": ("coupe", f"{_BASIC}/Blends/CarTexture.png"),
    f"{_BASIC}/FBX/CopCar.fbx": ("saloon", f"{_BASIC}/Blends/CopTexture.png"),
    f"{_BASIC}/FBX/SimpleCarHigh.fbx": ("off-roader", f"{_BASIC}/Blends/CarTexture.png"),
    f"{_BASIC}/FBX/SimpleCarShort.fbx": ("hatchback", f"{_BASIC}/Blends/CarTexture.png"),
    f"{_BASIC}/FBX/Taxi.fbx": ("saloon", f"{_BASIC}/Blends/TaxiTexture.png"),
    f"{_PUBLIC}/FBX/Taxi.fbx": ("saloon", f"{_PUBLIC}/Blends/TaxiTexture.png"),
    f"{_PUBLIC}/FBX/Ambulance.fbx": ("van", None),
}
_PAINT, _TRIM, _GLASS, _WHEEL, _LAMP = range(5)
# What a material's name says; all others are paint.
_NAMED = {"Windows": _GLASS, "Grey": _TRIM, "Bumper": _TRIM, "Lights": _LAMP, "Headlights": _LAMP, "TailLights": _LAMP}
# The ambulance's file has names in place of colours.
_COLOURS = {"White": (235, 235, 230), "Red": (200, 40, 36), "Grey": (90, 90, 92), "Bumper": (60, 60, 60)}


@functools.cache
def read(folder: pathlib.Path) -> list[dict[str, np.ndarray]]:
    """Returns the cars of `MODELS` from a clone, each with as many triangles; raises `OSError` if one is missing."""
    cars = [_car(folder / _FOLDER, name, *facts) for name, facts in MODELS.items()]
    most = max(len(car["part"]) for car in cars)
    for car in cars:
        for key in ("corners", "normals", "colours", "part"):
            car[key] = np.concatenate([car[key], np.zeros((most - len(car[key]), *car[key].shape[1:]), car[key].dtype)])
    return cars


def _car(folder: pathlib.Path, name: str, kind: str, texture: str | None) -> dict[str, np.ndarray]:
    try:
        import assimp_py
    except ImportError as error:
        raise OSError("FBX files are read by assimp-py, which is not installed: pip install assimp-py") from error
    if not (folder / name).is_file():
        raise OSError(f"{folder / name} is missing: clone the models as benchmarks/cars/lowpoly.py says")
    how = assimp_py.Process_Triangulate | assimp_py.Process_PreTransformVertices
    scene = assimp_py.import_file(str(folder / name), how)
    squares = None if texture is None else np.asarray(Image.open(folder / texture).convert("RGB"))
    points = np.concatenate([np.asarray(mesh.vertices).reshape(-1, 3) for mesh in scene.meshes])  # centimetres
    low, high = points.min(0), points.max(0)
    pieces = [_piece(mesh, scene.materials[mesh.material_index], squares, low[1], high[1]) for mesh in scene.meshes]
    car = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    car["corners"] = (car["corners"] - [(low + high)[0] / 2, low[1], (low + high)[2] / 2]) / 100
    wide, tall, long = (high - low) / 100
    tyres = car["corners"][car["part"] == _WHEEL]
    along = tyres[..., 2]
    ahead = along > (along.max() + along.min()) / 2
    front, rear = ((ends.max() + ends.min()) / 2 for ends in (along[ahead], along[~ahead]))
    sizes = {"long": long, "wide": wide, "high": tall, "radius": tyres[..., 1].max() / 2, "metallic": 0.0}
    sizes |= {"overhang": long / 2 - front, "wheelbase": front - rear}
    return car | sizes | {"kind": KINDS.index(kind), "colour": -1}


def _piece(mesh, material: dict, squares: np.ndarray | None, low: float, high: float) -> dict[str, np.ndarray]:
    """Returns a mesh's triangles: corners and normals (F, 3, 3), colours (F, 3) and part (F,)."""
    corner = np.asarray(mesh.indices).reshape(-1, 3)
    corners, normals = (np.asarray(values).reshape(-1, 3)[corner] for values in (mesh.vertices, mesh.normals))
    name, height = material["NAME"], corners[..., 1]
    if height.min() < low + 15 and height.max() < (low + high) / 2:  # tyres, and rims in grey
        part, colour = np.full(len(corner), _WHEEL), linear(*((150, 150, 152) if name == "Grey" else (30, 30, 30)))
    elif squares is not None:
        places = np.asarray(mesh.texcoords[0]).reshape(-1, 2)[corner].mean(1)
        rows, columns = ((1 - places[:, 1]) * 32).astype(int) % 32, (places[:, 0] * 32).astype(int) % 32
        colour = squares[rows, columns].astype(float)
        part = np.where((colour[:, 0] < 165) & (colour[:, 1:] > 205).all(-1), _GLASS, _PAINT)
        part = np.where(colour.max(-1) < 60, _TRIM, part)
        colour = linear(*colour.T).T
    else:
        part = np.full(len(corner), _NAMED.get(name, _LAMP if name.endswith("Lights") else _PAINT))
        unsaid = material["COLOR_DIFFUSE"][0] == np.float32(0.8)  # what the exporter writes where nothing was chosen
        colour = linear(*_COLOURS[name]) if unsaid and name in _COLOURS else material["COLOR_DIFFUSE"]
    colours = np.broadcast_to(np.asarray(colour, np.float32), (len(corner), 3))
    return {"corners": corners, "normals": normals, "colours": colours, "part": part.astype(np.int32)}


def mesh(p):
    """Returns a car's mesh: vertices, normals and, in place of places, colours; its faces and their parts."""
    vertices, normals = (p[name].reshape(-1, 3) for name in ("corners", "normals"))
    return vertices, normals, jnp.repeat(p["colours"], 3, 0), jnp.arange(len(vertices)).reshape(-1, 3), p["part"]


def painted(p, s, q, at, part, normal, ray) -> Surface:
    """Paints points as their triangles' colours and parts say; behind glass it is dark."""
    glass, wheel, lamp, paint = ((part == number) for number in (_GLASS, _WHEEL, _LAMP, _PAINT))
    albedo = jnp.where(glass[..., None], 0.016, at)
    mirror = jnp.where(glass, 0.06, jnp.where(lamp, 0.1, jnp.where(paint, 0.045, 0.01)))
    dim = jnp.broadcast_to(0.014 * s["horizon"], q.shape)
    return Surface(albedo, mirror, jnp.where(paint | lamp, 1.0, 0.1), glass * 1.0, 0.02 * lamp, wheel, dim)
