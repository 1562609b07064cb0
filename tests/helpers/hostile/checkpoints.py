"""Checkpoints that look like a family's and lie about its sizes, in each of the forms."""

from collections.abc import Iterator

from helpers.hostile.forms import Form, Zip
from helpers.hostile.opcodes import get, named, put

__all__ = ["cases"]

_HUGE = (40, 9999, 999_999_999, 10**30)


def cases(form: type[Form]) -> Iterator[tuple[str, bytes]]:
    for make in (_numbers_in_names, _widths, _many_names, _one_tensor):
        for name, build_body in make(form):
            holder = form()
            yield name, holder.file(build_body(holder))


def _rosinality(holder, generator=(), discriminator=()):
    g = {
        "input.input": (1, 4, 4, 4),
        "conv1.conv.weight": (1, 4, 4, 3, 3),
        "style.1.weight": (6, 6),
        "to_rgbs.0.conv.weight": (1, 3, 4, 1, 1),
    }
    g |= dict(generator)
    d = {"convs.0.0.weight": (4, 3, 1, 1), "convs.1.conv2.1.weight": (4, 4, 3, 3), **dict(discriminator)}
    parts = {"g_ema": g, "d": d}
    return named({key: named({n: holder.tensor(s) for n, s in part.items()}) for key, part in parts.items()})


def _numbers_in_names(form):
    """Numbers in names from which loops would be as long."""
    for number in _HUGE:
        for name in (f"to_rgbs.{number}.conv.weight", f"convs.{number}.conv.weight", f"style.{number}.weight"):
            yield f"generator-{name}", lambda holder, name=name: _rosinality(holder, {name: (1, 1)})
        name = f"convs.{number}.conv2.1.weight"
        yield f"discriminator-{name}", lambda holder, name=name: _rosinality(holder, (), {name: (1, 1)})
        for stage in (1, 4):
            for first, last, layer in (
                ("cp.resnet.conv1.weight", "conv_out.conv_out.weight", f"cp.resnet.layer{stage}.{number}.conv1.weight"),
                ("layer0.0.weight", "cls.4.weight", f"layer{stage}.{number}.conv1.weight"),
            ):
                names = {first: (4, 3, 3, 3), last: (19, 4, 1, 1), layer: (1,)}
                if first.startswith("cp"):
                    names |= {f"cp.resnet.layer{other}.0.x": (1,) for other in range(1, 5)}
                else:
                    names |= {f"layer{other}.0.x": (1,) for other in range(1, 5)}
                yield (
                    f"parser-{layer}",
                    lambda holder, names=names: named({n: holder.tensor(s) for n, s in names.items()}),
                )
        names = {"features.0.weight": (1,), "features.28.weight": (1,), f"features.{number}.weight": (1,)}
        yield f"vgg-{number}", lambda holder, names=names: named({n: holder.tensor(s) for n, s in names.items()})


def _widths(form):
    """Tensors without numbers, whose axes are long."""
    for width in (10**6, 2**62):
        yield (
            f"rosinality-width-{width}",
            lambda holder, width=width: _rosinality(
                holder, {"input.input": (0, width, 0, 0), "style.1.weight": (0, width)}
            ),
        )
        parser = {"cp.resnet.conv1.weight": (width, 0), "conv_out.conv_out.weight": (width, 0)}
        parser |= {f"cp.resnet.layer{stage}.0.x": (0,) for stage in range(1, 5)}
        yield (
            f"parser-width-{width}",
            lambda holder, names=parser: named({n: holder.tensor(s, (1,) * len(s)) for n, s in names.items()}),
        )
    for levels, width in ((8, 4096), (8, 64), (2, 10**6), (13, 1), (40, 1), (400, 1)):

        def networks(holder, levels=levels, width=width):
            shape = (1, 0, width, 1) if width == 1 else (width, 0, 1, 1)
            depth = {f"network.{n}.weight": holder.tensor(shape) for n in range(3 * levels + 4)}
            small = named({"network.0.weight": holder.tensor((1, 1, 1, 1))})
            return named({"netD": named(depth), "netA": small, "netV": small, "netL": small})

        yield f"networks-{levels}-{width}", networks


def _many_names(form):
    """Names in tens of thousands, all of which a message could list."""
    if form is not Zip:
        return
    filler = {f"module.{n}": (1,) for n in range(3)}
    for first in (
        {"cp.resnet.conv1.weight": (4, 3, 3, 3), "conv_out.conv_out.weight": (19, 4, 1, 1)},
        {"layer0.0.weight": (4, 3, 3, 3), "cls.4.weight": (19, 4, 1, 1), "ppm.x": (1,)},
        {"lin0.model.1.weight": (1, 64, 1, 1), "net.slice1.0.weight": (1,)},
    ):

        def body(holder, first=first):
            tensors = {name: holder.tensor(size) for name, size in {**first, **filler}.items()}
            one = holder.tensor((1,)) + put(3) + b"0"
            many = {f"{'a' * 100}.{n}": get(3) for n in range(5000)}
            return one + named({**tensors, **many})

        yield f"names-{next(iter(first))}", body

    def wrapped(holder):
        one = holder.tensor((1,)) + put(3) + b"0"
        names = ["features.0.weight", "features.28.weight", *map(str, range(20_000))]
        return one + named({f"module.{name}": get(3) for name in names})

    yield "names-wrapped", wrapped

    def strange(holder):
        return named({"g_ema": named({f"{'b' * 900}{n}": b"N" for n in range(1000)}), "d": b"}"})

    yield "names-strange", strange


def _one_tensor(form):
    """A StyleGAN2 of 1024 pixels and 512 channels, all of whose tensors are one of a few."""

    def body(holder):
        generator, discriminator = {}, {}
        big = holder.tensor((1, 512, 512, 3, 3), (0, 0, 0, 0, 0)) + put(0) + b"0"
        flat = holder.tensor((512, 512, 3, 3), (0, 0, 0, 0)) + put(1) + b"0"
        for n in range(17):
            name = "conv1" if not n else f"convs.{n - 1}"
            generator[f"{name}.conv.weight"] = get(0)
        for n in range(1, 9):
            discriminator |= {f"convs.{n}.conv1.0.weight": get(1), f"convs.{n}.conv2.1.weight": get(1)}
        return big + flat + named({"g_ema": named(generator), "d": named(discriminator)})

    yield "one-tensor", body
