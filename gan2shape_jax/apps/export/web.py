"""`gan2shape-jax export web`: a static page that makes 3D of photos in the visitor's browser, without a server.

index.html, *.js, *.css   the page; `viewer/` and three.min.js draw as a run's page does
model.onnx.gz             the networks
model.json                what else the page has to know of the model: camera, outline, framing, words of trust
yunet.onnx                the detector of people, if that is what the model shows
ort/                      ONNX Runtime Web, with WebGPU and with WebAssembly alone; a visitor fetches one of them
sw.js                     keeps everything, so that the page works offline after the first visit

The networks D, A, V and L are one ONNX file, from a picture to its factors. Its nodes are written one by one, channels
first, as runtimes want them: a converter's translation of the layers' own form (channels last, transposed convolutions
in phases) has several times as many nodes, most of which move numbers. Weights are float16, or int8 with a scale for
every channel, and become float32 in the graph; all else is float32.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epy
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.apps import option_types
from gan2shape_jax.detection import detector, faces, weights
from gan2shape_jax.errors import UserError, install, one_line
from gan2shape_jax.geometry import landmark_pose
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.output_folders import WEB, mark, require_output_folder
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import BORDER_WEIGHT, on_border
from gan2shape_jax.networks.convolution import upsampling
from gan2shape_jax.networks.layers import EPSILON, LEAK, Layer
from gan2shape_jax.photos import explain, judge, texture
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.results import surface
from gan2shape_jax.results.result import metres_of_unit

if TYPE_CHECKING:
    import onnx

with epy.lazy_imports():  # an extra, which --help does without
    import jinja2

# Albedo is only what the photo does not show: its weights have 8 bits, so that a visitor fetches less than 12 MB.
_BITS = {"depth": 16, "albedo": 8, "view": 16, "light": 16}
_PAGE = ("app.js", "framing.js", "scene.js", "start.js", "verdict.js", "web.css")
_VIEWER = (
    *("colours.js", "decode.js", "factors.js", "geometry.js", "handling.js", "light.js", "meshes.js"),
    *("shaders.js", "telling.js", "viewer.js", "words.js"),
)
# The runtime's files: of WebAssembly alone, then with WebGPU, and the licence.
_RUNTIME = (
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm", "ort.webgpu.min.mjs"),
    *("ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
)
OUTPUTS = ("depth", "albedo", "view", "light")  # of the ONNX file
_OPSET, _IR = 17, 8
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
    model = factors_model(predictor, bits=_BITS).SerializeToString(deterministic=True)
    facts = json.dumps(model_facts(config, predictor), separators=(",", ":"), allow_nan=False)
    files |= _page(config) | {"model.onnx.gz": gzip.compress(model, 9, mtime=0), "model.json": facts.encode()}
    files["sw.js"] = _worker(files)
    mark(out, WEB)
    for name, content in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        atomic_bytes(out / name, content)
    size = sum(map(len, files.values())) / 1e6
    fetched = len(files["model.onnx.gz"]) / 1e6
    print(one_line(f"wrote {out}: {len(files)} files, {size:.0f} MB; networks: {fetched:.1f} MB"))
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
    kept = surface.object_mask(grader.mask)
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
    side = None  # the depth error to expect, see `judge.SideModel`, and in what it is told; None if it is unknown
    if grader.record is not None:
        error = grader.record.side
        side = {"weights": error.weights.tolist(), "interval": error.interval.tolist(), "widths": judge.widths(camera)}
        side["mean_depth"] = _listed(grader.record.mean_depth)
    return {
        "size": size,
        "focal": float(camera.focal_length),
        "centre": float(camera.rot_center_depth),
        "symmetric": predictor.settings.mirrored,
        "metres": metres_of_unit(camera, explain.eye_distance(points)),
        "kind": str(category),
        "input_mask": _listed(usual),
        "outline": {name: _listed(values) for name, values in outline.items()},
        "framing": framing and {name: np.asarray(part).tolist() for name, part in framing._asdict().items()},
        "points": None if points is None else points.tolist(),
        "side": side,
        **browser_constants(),
    }


def browser_constants() -> dict[str, Any]:
    """Returns the numbers and words of Python's modules that the page's scripts go by, by what they decide."""
    luma = {"luma": detector.LUMA, "percentile": detector.LIGHTEST}
    looking = "looked_at wide looks near candidate least_score fills grey upright overlap middle steepness"
    return {
        "detector": _named(faces, f"{looking} usual nose mirrored")
        | {"searched": faces.LONGER, "still": _STILL}
        | _named(detector, "apart sure"),
        "exposure": luma | _named(detector, "dim fair light most_gain"),
        "assessment": luma
        | _named(judge, "near far low high around core part eye bands opens dark")
        | {"mouth": {"wide": judge.MOUTH_WIDE, "high": judge.MOUTH_HIGH}},
        "landmarks": _named(landmark_pose, "landmark guess more_of_yaw size outlier largest_turn steps"),
        "surface": _named(surface, "rings wall slope least_front clear fade"),
        "texture": _named(texture, "grazing tolerance other_half wide sure darkest gain other_thing")
        | {"least_shading": texture.BLACK[1]},
        "verdict": _named(judge, "lost odds")
        | {
            "scores": _named(detector, "sure perhaps") | {"unlikely": judge.UNLIKELY},
            "words": dict(judge.WORDS),
            "measures": {name: measure._asdict() for name, measure in judge.MEASURES.items()},
        },
    }


def _named(module: ModuleType, names: str) -> dict[str, Any]:
    """Returns the constants of a module by their names in small letters, arrays as lists."""
    values = {name: getattr(module, name.upper()) for name in names.split()}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


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


class Graph:
    """Nodes and tensors of a graph, each named as it is added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """Adds a tensor; returns its name."""
        from onnx import numpy_helper

        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def weight(self, values: np.ndarray, *, bits: int, axis: int) -> str:
        """Adds a kernel whose output channels are along `axis`; returns its values in float32."""
        if bits == 16:
            return self.add("Cast", self.constant(values, np.float16), to=1)
        others = tuple(k for k in range(values.ndim) if k != axis)
        scale = np.maximum(np.abs(values).max(axis=others), 1e-12) / 127
        shape = [-1 if k == axis else 1 for k in range(values.ndim)]
        steps, zero = self.constant(np.rint(values / scale.reshape(shape)), np.int8), np.zeros_like(scale)
        return self.add("DequantizeLinear", steps, self.constant(scale), self.constant(zero, np.int8), axis=axis)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        from onnx import helper

        name = attributes.pop("name", f"n{len(self.nodes)}")
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def layer(self, x: str, layer: Layer, params: Mapping[str, Any], bits: int) -> str:
        """Adds a network's layer, as `networks.layers` says it, and no residual block; returns what it gives."""
        if layer.kind in ("relu", "tanh"):
            return self.add({"relu": "Relu", "tanh": "Tanh"}[layer.kind], x)
        if layer.kind == "leaky_relu":
            return self.add("LeakyRelu", x, alpha=LEAK)
        if layer.kind == "norm":
            return self.normed(x, layer, *(np.asarray(params[layer.name][key]) for key in ("scale", "bias")))
        kernel = np.asarray(params[layer.name]["kernel"], np.float32)
        if layer.kind == "pointwise":
            return self.add("MatMul", self.add("Flatten", x), self.weight(kernel, bits=16, axis=1))
        if layer.kind == "expand":
            return self.add("ConvTranspose", x, self.weight(kernel.transpose(0, 3, 1, 2), bits=bits, axis=1))
        if layer.kind in ("twice", "upsample"):  # a transposed 4x4 convolution, (4, 4, in, out)
            kernel = np.asarray(upsampling(kernel)) if layer.kind == "upsample" else kernel
            weight = self.weight(kernel.transpose(2, 3, 0, 1), bits=bits, axis=1)
            return self.add("ConvTranspose", x, weight, strides=[2, 2], pads=[1] * 4)
        stride, pad = 2 if layer.kind == "half" else 1, 0 if layer.kind == "collapse" else (layer.side - 1) // 2
        weight = self.weight(kernel.transpose(3, 2, 0, 1), bits=bits, axis=0)
        return self.add("Conv", x, weight, strides=[stride] * 2, pads=[pad] * 4)

    def normed(self, x: str, layer: Layer, scale: np.ndarray, bias: np.ndarray) -> str:
        """Adds a group normalisation; returns what it gives."""
        side = self.add("Shape", x)
        flat = self.add("Reshape", x, self.constant([0, layer.groups, -1], np.int64))
        ones, zeros = self.constant(np.ones(layer.groups)), self.constant(np.zeros(layer.groups))
        flat = self.add("InstanceNormalization", flat, ones, zeros, epsilon=EPSILON)
        x = self.add("Mul", self.add("Reshape", flat, side), self.constant(scale.reshape(1, -1, 1, 1)))
        return self.add("Add", x, self.constant(bias.reshape(1, -1, 1, 1)))


def factors_model(predictor: explain.Predictor, *, bits: Mapping[str, int]) -> onnx.ModelProto:
    """Returns the networks as an ONNX model: `picture` (1, 3, S, S) in [-1, 1] to the factors of `OUTPUTS`.

    Depth (S, S) has its border blended; albedo is (3, S, S); views and lights are averaged with what the networks see
    in the mirror image, where the method does so. `bits` of weights, 8 or 16, are by network. `UserError` without the
    package onnx.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise UserError(f"networks are written by onnx, which is not installed: {install('export-web')}") from None
    settings, params, camera = predictor.settings, predictor.params, predictor.settings.camera
    size, modules = settings.image_size, models.modules(settings)
    graph = Graph()
    add, constant = graph.add, graph.constant

    def network(name: str, x: str) -> str:
        for layer in modules[name].layers():
            x = graph.layer(x, layer, params[name], bits[name])
        return x

    raw = network("depth", "picture")
    unit = add("Tanh", add("Sub", raw, add("ReduceMean", raw, axes=[2, 3], keepdims=1)))
    middle, half = (camera.max_depth + camera.min_depth) / 2, (camera.max_depth - camera.min_depth) / 2
    share = np.where(np.asarray(on_border(size)), BORDER_WEIGHT, 0.0)
    own = add("Add", add("Mul", unit, constant(half * (1 - share))), constant(middle * (1 - share)))
    far = 0.7 * camera.max_depth + 0.3 * camera.min_depth
    depth = add("Add", own, constant(share * far))
    add("Reshape", depth, constant([size, size], np.int64), name="depth")
    add("Reshape", network("albedo", "picture"), constant([3, size, size], np.int64), name="albedo")
    pictures = "picture"
    if settings.mirrored:
        back = [constant([one], np.int64) for one in (-1, -(1 << 31), 3, -1)]
        pictures = add("Concat", "picture", add("Slice", "picture", *back), axis=0)
    added = {
        "view": predictor.frozen.view_mean if settings.add_mean_V else np.zeros(6),
        "light": predictor.frozen.light_mean if settings.add_mean_L else np.zeros(4),
    }
    scales = {"view": (settings.view_range.units(), np.zeros(6)), "light": ([0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0])}
    for name, (factor, offset) in scales.items():
        output = add("Add", network(name, pictures), constant(added[name]))
        output = add("Add", add("Mul", output, constant(factor)), constant(offset))
        if settings.mirrored:
            output = add(
                "Mul", output, constant(np.stack([np.ones(len(models.MIRRORED[name])), models.MIRRORED[name]]))
            )
        add("ReduceMean", output, axes=[0], keepdims=0, name=name)
    shapes = {"depth": [size, size], "albedo": [3, size, size], "view": [6], "light": [4]}
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"picture": [1, 3, size, size], **shapes}.items()
    ]
    made = helper.make_graph(graph.nodes, "gan2shape_jax", ends[:1], ends[1:], graph.tensors)
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(made, opset_imports=opset, ir_version=_IR, producer_name="gan2shape_jax")
    checker.check_model(model)
    return model
