"""A face detector of YuNet's size and form: what it computes, what its outputs mean, and its ONNX file.

A picture goes down to strides 8, 16 and 32 by units of a pointwise and a depthwise 3x3 convolution, and what is seen at
32 and 16 is added to what is seen before. At every place of a stride's grid (its number times the stride, pixels) four
outputs say how certainly a face is there (`cls`) and how well its box fits (`obj`), both as logits; where its middle
lies and the logarithms of its width and height (`bbox`, 4), and its five landmarks (`kps`, 10), in strides from there.
The score is the root of the product of both probabilities. So has it YuNet, and OpenCV's `FaceDetectorYN` reads both.

Inputs are BGR from 0 to 255. Parameters are dictionaries by a layer's name. While it is taught, a unit's values are
normalised over the batch; afterwards by what is kept of that (`kept`), which ONNX has in the weights.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.apps.export import web

STRIDES = (8, 16, 32)
OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_EPSILON, _SCALE = 1e-3, 1 / 64  # of a variance; of what the first layer sees
# What halves the sides first, if anything, and the units' channels: before strides 8, then to 8, 16 and 32.
_STEM, _WIDTH = 16, 64
_STAGES = {"a": (16,), "b": (16, 64), "c": (64, 64), "d": (64, 64), "e": (64, 64), "f": (64, 64)}
_POOLED = ("b", "d", "e", "f")
_NAMES = [f"{stage}{k}" for stage, widths in _STAGES.items() for k in range(len(widths))]
_UNITS = [*_NAMES, *(f"{kind}{stride}" for stride in STRIDES for kind in ("neck", "head"))]

Params = dict[str, dict[str, jax.Array]]


def initial(seed: int) -> Params:
    """Returns parameters to begin with."""
    rng, params, width = np.random.default_rng(seed), {}, _STEM
    params["stem"] = {"kernel": rng.normal(0, (2 / 27) ** 0.5, (3, 3, 3, _STEM))} | _normal(_STEM)
    widths = dict(zip(_NAMES, sum(_STAGES.values(), ())))
    for name in _UNITS:
        wide = widths.get(name, _WIDTH)
        params[name] = _drawn(rng, width, wide) | _normal(wide)
        width = wide
    for stride in STRIDES:
        for name, count in OUTPUTS.items():
            params[f"{name}{stride}"] = _drawn(rng, _WIDTH, count) | {"bias": np.zeros(count)}
            if count == 1:  # faces are rare
                params[f"{name}{stride}"]["bias"] -= 4.0
    return jax.tree.map(lambda values: jnp.asarray(values, jnp.float32), params)


def _drawn(rng: np.random.Generator, width: int, wide: int) -> dict[str, np.ndarray]:
    gain = (2 if wide > 10 else 0.1) ** 0.5
    return {"point": rng.normal(0, (gain / width) ** 0.5, (width, wide)), "depth": rng.normal(0, 1 / 3, (3, 3, wide))}


def _normal(wide: int) -> dict[str, np.ndarray]:
    return {"scale": np.ones(wide), "bias": np.zeros(wide)}


def unseen(params: Params) -> Params:
    """Returns what is kept of normalisation before anything was seen."""
    return {
        name: {"mean": jnp.zeros_like(layer["scale"]), "variance": jnp.ones_like(layer["scale"])}
        for name, layer in params.items()
        if "scale" in layer
    }


@jax.custom_vjp
def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns x (b, h, w, c) convolved with each channel's kernel (3, 3, c): as nine sums, fast on CPU."""
    return sum(part * kernel[i, j] for (i, j), part in _shifted(x).items())


def _shifted(x: jax.Array) -> dict[tuple[int, int], jax.Array]:
    padded, (height, width) = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape[1:3]
    return {(i, j): padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)}


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x = jax.lax.optimization_barrier(x)  # or it is computed anew for each of the nine
    return depthwise(x, kernel), (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], by: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    by = jax.lax.optimization_barrier(by)
    taps = jnp.stack([summed(part * by) for part in _shifted(x).values()])
    return depthwise(by, kernel[::-1, ::-1]), taps.reshape(kernel.shape)


depthwise.defvjp(_forward, _backward)


def summed(x: jax.Array) -> jax.Array:
    """Returns the sums over all axes but the last, as products of matrices, which XLA computes faster on CPU."""
    rows = x.reshape(-1, np.gcd(x.size // x.shape[-1], 256), x.shape[-1])
    return jnp.einsum("bn,bnc->bc", jnp.ones(rows.shape[:2]), rows).sum(0)


def apply(params: Params, kept: Params, picture: jax.Array, *, taught: bool) -> tuple[dict[str, jax.Array], Params]:
    """Returns the outputs (b, places, k) by name and stride, such as `kps16`, and what is seen of normalisation."""
    seen: Params = {}

    def unit(name: str, x: jax.Array, *, stem: bool = False) -> jax.Array:
        layer = params[name]
        if stem:
            numbers = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                x, layer["kernel"] * _SCALE, (2, 2), [(1, 1)] * 2, dimension_numbers=numbers
            )
        else:
            x = depthwise(x @ layer["point"], layer["depth"])
        if "scale" not in layer:
            return x + layer["bias"]
        if taught:
            count = x.size // x.shape[-1]
            mean = summed(x) / count
            variance = jnp.maximum(summed(x * x) / count - mean**2, 0)
        else:
            mean, variance = kept[name]["mean"], kept[name]["variance"]
        seen[name] = {"mean": mean, "variance": variance}
        factor = layer["scale"] * jax.lax.rsqrt(variance + _EPSILON)
        return jax.nn.relu(x * factor + (layer["bias"] - mean * factor))

    levels = _levels(lambda name, x: unit(name, x, stem=name == "stem"), _pooled, _doubled, jnp.add, picture)
    outputs = {}
    for stride, x in levels.items():
        for name in OUTPUTS:
            values = unit(f"{name}{stride}", x)
            outputs[f"{name}{stride}"] = values.reshape(len(values), -1, values.shape[-1])
    return outputs, seen


def _levels(unit, pooled, doubled, added, x):
    """Returns what the network sees at each stride, in whichever terms its operations are given."""
    x, features = unit("stem", x), []
    for stage, widths in _STAGES.items():
        x = pooled(x) if stage in _POOLED else x
        for k in range(len(widths)):
            x = unit(f"{stage}{k}", x)
        features.append(x)
    levels, above = {}, None
    for stride, x in zip(STRIDES[::-1], features[::-1]):
        above = unit(f"neck{stride}", x if above is None else added(x, doubled(above)))
        levels[stride] = unit(f"head{stride}", above)
    return levels


def _pooled(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return jnp.maximum(jnp.maximum(x[:, :, 0, :, 0], x[:, :, 0, :, 1]), jnp.maximum(x[:, :, 1, :, 0], x[:, :, 1, :, 1]))


def _doubled(x: jax.Array) -> jax.Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def places(size: int, stride: int) -> np.ndarray:
    """Returns the places of a stride's grid (n, 2) in a square picture, row by row."""
    steps = np.arange(size // stride) * stride
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2).astype(np.float32)


def onnx_bytes(params: Params, kept: Params) -> bytes:
    """Returns the network as an ONNX file, for pictures (1, 3, h, w) whose sides are multiples of 32."""
    from onnx import TensorProto, checker, helper

    graph = web.Graph()
    add, constant = graph.add, graph.constant
    twice = constant([1, 1, 2, 2])

    def unit(name: str, x: str) -> str:
        layer = {key: np.asarray(values) for key, values in params[name].items()}
        factor, bias = np.float32(1), layer["bias"]
        if "scale" in layer:
            mean, variance = (np.asarray(kept[name][key]) for key in ("mean", "variance"))
            factor = layer["scale"] / np.sqrt(variance + _EPSILON)
            bias = bias - mean * factor
        if name == "stem":
            kernel = constant((layer["kernel"] * _SCALE * factor).transpose(3, 2, 0, 1))
            x = add("Conv", x, kernel, constant(bias), strides=[2, 2], pads=[1] * 4)
        else:
            x = add("Conv", x, constant(layer["point"].T[..., None, None]))
            depth = constant((layer["depth"] * factor).transpose(2, 0, 1)[:, None])
            x = add("Conv", x, depth, constant(bias), pads=[1] * 4, group=len(bias))
        return add("Relu", x) if "scale" in layer else x

    levels = _levels(
        unit,
        lambda x: add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]),
        lambda x: add("Resize", x, "", twice, mode="nearest", coordinate_transformation_mode="asymmetric",
                      nearest_mode="floor"),
        lambda x, y: add("Add", x, y),
        "input",
    )  # fmt: skip
    ends = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])]
    for name, count in OUTPUTS.items():
        for stride in STRIDES:
            values = add("Transpose", unit(f"{name}{stride}", levels[stride]), perm=[0, 2, 3, 1])
            rows, end = constant([0, -1, count], np.int64), f"{name}_{stride}"
            if count == 1:
                add("Sigmoid", add("Reshape", values, rows), name=end)
            else:
                add("Reshape", values, rows, name=end)
            ends.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", "places", count]))
    made = helper.make_graph(graph.nodes, "faces", ends[:1], ends[1:], graph.tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString(deterministic=True)
