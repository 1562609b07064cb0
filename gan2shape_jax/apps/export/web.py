"""`gan2shape-jax export web`: a static page that makes 3D of photos in the visitor's browser, without a server.

index.html, *.js, *.css   the page; `viewer/` and three.min.js draw as a run's page does
model.onnx.gz             the networks (`networks`)
model.json                what else the page has to know of the model: camera, outline, framing, words of trust
yunet.onnx                the detector of people, if that is what the model shows
ort/                      ONNX Runtime Web, with WebGPU and with WebAssembly alone; a visitor fetches one of them
sw.js                     keeps everything, so that the page works offline after the first visit
"""

from __future__ import annotations

import gzip
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epy
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.export import networks
from gan2shape_jax.detection import detector, faces, weights
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry import landmark_pose
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.output_folders import WEB, mark, require_output_folder
from gan2shape_jax.photos import explain, judge, texture
from gan2shape_jax.results import surface
from gan2shape_jax.run.recipe import resolve

with epy.lazy_imports():  # an extra, which --help does without
    import jinja2

# Albedo is only what the photo does not show: its weights have 8 bits, so that a visitor fetches less than 12 MB.
_BITS = {"depth": 16, "albedo": 8, "view": 16, "light": 16}
_PAGE = ("app.js", "framing.js", "scene.js", "start.js", "verdict.js", "web.css")
_VIEWER = ("colours.js", "decode.js", "factors.js", "geometry.js", "handling.js", "light.js", "meshes.js") + (
    "shaders.js",
    "telling.js",
    "viewer.js",
    "words.js",
)
# The runtime's files: of WebAssembly alone, then with WebGPU, and the licence.
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm") + (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_DIGITS = 5
_STILL = 0.005  # sides of its crop: a face that has moved less is not looked at again, which saves a visitor time
_EPILOG = """\
example:
  gan2shape-jax export web people --out site      # then serve the folder, by any static web server
"""


def run(words: Sequence[str]) -> None:
    """Writes the page that the words ask for and says where; raises `UserError`."""
    about = (
        "Writes a page that reconstructs photos in the visitor's browser: a folder for any static host. Nothing is "
        "sent anywhere, and it works offline after the first visit."
    )
    parser = option_types.parser("export web", about, _EPILOG)
    parser.add_argument("model", metavar="MODEL", help="a lifted model's name or file, or a configuration with one")
    option_types.add_path(parser, "--out", "FOLDER", "folder of the page (default: site)")
    about = "folder of the npm package onnxruntime-web, where it is installed; without it npm fetches the package"
    option_types.add_path(parser, "--runtime", "FOLDER", about)
    options = parser.parse_args(words)
    out = options.out or pathlib.Path("site")
    require_output_folder(out, WEB)
    config = explain.load_kind(options.model)
    predictor = explain.load_predictor(resolve(config), None)
    if config.data.crop or predictor.grader.mask is None:
        raise UserError(f"{options.model}: a page needs a lifted model of uncropped pictures, with its mean mask")
    with tempfile.TemporaryDirectory() as folder:
        files = _runtime(options.runtime or _fetch_runtime(pathlib.Path(folder)))
    model = networks.factors_model(predictor, bits=_BITS).SerializeToString(deterministic=True)
    facts = json.dumps(model_facts(config, predictor), separators=(",", ":"), allow_nan=False)
    files |= _page(config) | {"model.onnx.gz": gzip.compress(model, 9, mtime=0), "model.json": facts.encode()}
    files["sw.js"] = _worker(files)
    mark(out, WEB)
    for name, content in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        atomic_bytes(out / name, content)
    size = sum(map(len, files.values())) / 1e6
    print(
        one_line(
            f"wrote {out}: {len(files)} files, {size:.0f} MB; networks: {len(files['model.onnx.gz']) / 1e6:.1f} MB"
        )
    )
    print(one_line(f"to try it: python -m http.server --directory {out}, and open http://localhost:8000"))


def model_facts(config: ConfigDict, predictor: explain.Predictor) -> dict[str, Any]:
    """Returns what the page knows of a model besides its networks, as JSON's types; maps are lists, row by row."""
    grader, camera, size = predictor.grader, predictor.settings.camera, predictor.settings.image_size
    category = category_of(config.category)
    assert grader.mask is not None
    detection = weights.stored_weights(pathlib.Path(config.gan.checkpoint), category.detector)
    if config.lift.mean_mask:
        usual = load_mask(pathlib.Path(config.lift.mean_mask), size)
    elif detection is not None:
        usual = np.asarray(Image.fromarray(detection.mean_mask).resize((size, size), Image.Resampling.BILINEAR))
    else:
        usual = grader.mask
    kept = grader.mask >= surface.MASK_THRESHOLD
    kept = surface.one_piece(kept) if kept.any() else np.ones_like(kept)
    core, there, weight = surface.border_weights(kept)
    outline = {
        "share": surface.mask_field(grader.mask, kept),
        "kept": kept,
        "core": core,
        "there": there,
        "weight": weight,
        "inner": texture.inner_share(usual >= 0.5, *texture.RIM),
        "clean": texture.inner_share(kept, *texture.ALBEDO_RIM),
    }
    framing, points = None if detection is None else detection.framing, predictor.plan.landmarks
    return {
        "size": size,
        "focal": float(camera.focal_length),
        "centre": float(camera.rot_center_depth),
        "symmetric": predictor.settings.mirrored,
        "metres": float(surface.metres(camera)),
        "kind": str(category),
        "input_mask": _listed(usual),
        "outline": {name: _listed(values) for name, values in outline.items()},
        "framing": None
        if framing is None
        else {name: np.asarray(part).tolist() for name, part in framing._asdict().items()},
        "points": None if points is None else points.tolist(),
        "side": _side(grader, camera),
        **browser_constants(),
    }


def browser_constants() -> dict[str, Any]:
    """Returns the numbers and words of Python's modules that the page's scripts go by, by what they decide."""
    luma = {"luma": detector.LUMA, "percentile": detector.LIGHTEST}
    scores = {"sure": detector.SURE, "perhaps": detector.PERHAPS, "unlikely": judge.UNLIKELY}
    return {
        "detector": {
            "searched": faces.LONGER,
            "looked_at": faces.LOOKED_AT,
            "wide": faces.WIDE,
            "looks": faces.LOOKS,
            "near": faces.NEAR,
            "candidate": faces.CANDIDATE,
            "least_score": faces.LEAST_SCORE,
            "overlap": faces.OVERLAP,
            "apart": detector.APART,
            "middle": faces.MIDDLE,
            "steepness": faces.STEEPNESS,
            "usual": faces.USUAL.tolist(),
            "nose": faces.NOSE,
            "mirrored": faces.MIRRORED,
            "still": _STILL,
        },
        "exposure": {
            **luma,
            "dim": detector.DIM,
            "fair": detector.FAIR,
            "light": detector.LIGHT,
            "most_gain": detector.MOST_GAIN,
        },
        "assessment": {
            **luma,
            "mouth": {"wide": judge.MOUTH_WIDE, "high": judge.MOUTH_HIGH},
            "near": judge.NEAR,
            "far": judge.FAR,
            "low": judge.LOW,
            "high": judge.HIGH,
            "around": judge.AROUND,
        },
        "landmarks": {
            "landmark": landmark_pose.LANDMARK,
            "guess": landmark_pose.GUESS,
            "more_of_yaw": landmark_pose.MORE_OF_YAW,
            "size": landmark_pose.SIZE,
            "outlier": landmark_pose.OUTLIER,
            "largest_turn": landmark_pose.LARGEST_TURN,
            "steps": landmark_pose.STEPS,
        },
        "surface": {
            "rings": surface.RINGS,
            "wall": surface.WALL,
            "slope": surface.SLOPE,
            "least_front": surface.LEAST_FRONT,
            "clear": surface.CLEAR,
            "fade": surface.FADE,
        },
        "texture": {
            "grazing": texture.GRAZING,
            "tolerance": texture.TOLERANCE,
            "other_half": texture.OTHER_HALF,
            "wide": texture.WIDE,
            "sure": texture.SURE,
            "darkest": texture.DARKEST,
            "gain": texture.GAIN,
            "least_shading": texture.BLACK[1],
        },
        "verdict": {
            "scores": scores,
            "lost": judge.LOST,
            "odds": judge.ODDS,
            "words": dict(judge.WORDS),
            "measures": {name: measure._asdict() for name, measure in judge.MEASURES.items()},
        },
    }


def _side(grader: judge.Grader, camera: Camera) -> dict[str, Any] | None:
    """Returns the depth error to expect, see `judge.SideModel`, and in what it is told; None if it is unknown."""
    if grader.record is None:
        return None
    side = grader.record.side
    known = {"weights": side.weights.tolist(), "interval": side.interval.tolist()}
    return known | {"widths": judge.widths(camera)}


def _listed(values: np.ndarray) -> list[float]:
    """Returns a map's values; those of masks as whole numbers."""
    flat = np.round(np.asarray(values, np.float64), _DIGITS).ravel()
    return [int(value) if value == int(value) else value for value in flat.tolist()]


def _page(config: ConfigDict) -> dict[str, bytes]:
    """Returns the page's own files and the viewer's."""
    web, viewer = (pathlib.Path(asset(f"{name}/page.html")).parent for name in ("web", "viewer"))
    files = {name: (web / name).read_bytes() for name in _PAGE}
    files |= {f"viewer/{name}": (viewer / name).read_bytes() for name in _VIEWER}
    files |= {name: (viewer / name).read_bytes() for name in ("page.css", "three.min.js", "LICENSE-three")}
    category = category_of(config.category)
    kind, one = str(category), f"a {category}"
    if category.detector == "face":
        files |= {"yunet.onnx": pathlib.Path(asset("yunet/yunet_n_dynamic.onnx")).read_bytes()}
        files |= {"LICENSE-yunet": pathlib.Path(asset("yunet/LICENSE")).read_bytes()}
        one = "a person"
    template = jinja2.Template((web / "page.html").read_text(encoding="utf-8"), autoescape=True)
    page = template.render(title=f"{kind.capitalize()} in 3D, from one photo", one=one)
    return files | {"index.html": page.encode()}


def _fetch_runtime(folder: pathlib.Path) -> pathlib.Path:
    """Has npm fetch the runtime, by the lock file's hashes, into a folder; returns where it is."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            "the page needs the npm package onnxruntime-web, and there is no npm here to fetch it: install Node.js, or "
            "name the package's folder with --runtime"
        )
    for name in ("package.json", "package-lock.json"):
        shutil.copy(asset(f"web/{name}"), folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or "no message").splitlines()[0]
        raise UserError(f"npm could not fetch onnxruntime-web ({why}): name the package's folder with --runtime")
    return folder / "node_modules" / "onnxruntime-web"


def _runtime(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the runtime's files from its npm package."""
    wanted = {f"ort/{name}": folder / "dist" / name for name in _RUNTIME}
    if missing := [path for path in wanted.values() if not path.is_file()]:
        raise UserError(f"--runtime {folder} is not the npm package onnxruntime-web: {missing[0]} is missing")
    pinned = json.loads(pathlib.Path(asset("web/package.json")).read_text(encoding="utf-8"))["dependencies"]
    version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    if version != pinned["onnxruntime-web"]:
        raise UserError(f"{folder} is onnxruntime-web {version}: the page needs {pinned['onnxruntime-web']}")
    return {name: path.read_bytes() for name, path in wanted.items()}


def _worker(files: dict[str, bytes]) -> bytes:
    """Returns the service worker: it fetches the page at once, and of the runtime what the page asks for."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + hashlib.sha256(files[name]).digest())
    shown = ["./", *(name for name in files if not name.startswith(("ort/", "LICENSE")))]
    source = pathlib.Path(asset("web/sw.js")).read_text(encoding="utf-8")
    return jinja2.Template(source).render(version=digest.hexdigest()[:16], files=shown).encode()
