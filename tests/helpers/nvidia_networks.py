"""NVIDIA's StyleGAN2 in PyTorch by its definition, with the real names, settings and file layout.

Written from reading stylegan2-ada-pytorch (training/networks.py) and stylegan3 (networks_stylegan2.py): filters are
convolutions, kernels are modulated for each image, everything is float32; modules pickle as records of NVIDIA's
persistent classes. Import only where torch is there.
"""

import math
import pickle

import numpy as np
import torch
from torch.nn import functional as F

from helpers.pickles import EasyDict, modules_named

BINOMIAL = (1, 3, 3, 1)
SOURCE = "raise RuntimeError('the source code of a record has run')\n"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("only written")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


_MODULES = {"torch_utils": {}, "dnnlib": {}, "dnnlib.util": {"EasyDict": EasyDict}}
_MODULES["torch_utils.persistence"] = {"_reconstruct_persistent_obj": _reconstruct_persistent_obj}


def save(path, protocol=None, **networks):
    """Writes a network pickle as NVIDIA's training does."""
    content = {"training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset"}, **networks}
    with modules_named(_MODULES), open(path, "wb") as file:
        pickle.dump(content, file, protocol)


class Module(torch.nn.Module):
    """Pickles as a record; constructor's arguments are kept, as the real ones are."""

    def __init__(self, **settings):
        super().__init__()
        self._init_args, self._init_kwargs = (), EasyDict(settings)
        for name, value in settings.items():
            setattr(self, name, value)

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE}
        return _reconstruct_persistent_obj, (meta | {"class_name": type(self).__name__, "state": self.__dict__},)

    def draw(self, name, *shape, mean=0.0, scale=1.0):
        value = mean + scale * torch.randn(shape)
        self.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))

    def filtered(self, taps):
        taps = torch.tensor(taps, dtype=torch.float32)
        self.register_buffer("resample_filter", torch.outer(taps, taps) / taps.sum() ** 2)


def resample(x, kernel, *, up=1, down=1, pads=(0, 0)):
    """Zeros between pixels, padding, convolution with the filter at gain up^2, every down-th pixel."""
    b, c, h, w = x.shape
    grown = x.new_zeros(b, c, h * up, w * up)
    grown[:, :, ::up, ::up] = x
    grown = F.pad(grown, (*pads, *pads))
    weight = (kernel * up**2).flip(0, 1).expand(c, 1, *kernel.shape)
    return F.conv2d(grown, weight, groups=c)[:, :, ::down, ::down]


def double(x, kernel):
    return resample(x, kernel, up=2, pads=((len(kernel) + 1) // 2, (len(kernel) - 2) // 2))


def halve(x, kernel):
    return resample(x, kernel, down=2, pads=((len(kernel) - 1) // 2, (len(kernel) - 2) // 2))


def activated(x, bias, gain=1.0, clamp=None):
    x = F.leaky_relu(x + bias[:, None, None], 0.2) * math.sqrt(2) * gain
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def _normalised(x):
    return x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-8)


class FullyConnectedLayer(Module):
    def __init__(self, inputs, outputs, activation="linear", scale=1.0, mean=0.0):
        super().__init__(activation=activation)
        self.draw("weight", outputs, inputs, scale=1 / scale)
        self.draw("bias", outputs, mean=mean, scale=0.1 / scale)
        self.weight_gain, self.bias_gain = scale / np.sqrt(inputs), scale  # a NumPy number, as there

    def forward(self, x):
        x = x @ self.weight.T * float(self.weight_gain) + self.bias * self.bias_gain
        return x if self.activation == "linear" else F.leaky_relu(x, 0.2) * math.sqrt(2)


class Conv2dLayer(Module):
    def __init__(self, inputs, outputs, side, *, up=1, down=1, clamp=None, taps=BINOMIAL, linear=False):
        activation = "linear" if linear else "lrelu"
        super().__init__(activation=activation, up=up, down=down, conv_clamp=clamp, padding=side // 2)
        self.draw("weight", outputs, inputs, side, side)
        self.bias = None
        if not linear:
            del self.bias
            self.draw("bias", outputs, scale=0.1)
        self.weight_gain = 1 / np.sqrt(inputs * side**2)
        self.act_gain = 1 if linear else np.sqrt(2)
        self.filtered(taps)

    def forward(self, x, gain=1.0):
        weight, n = self.weight * float(self.weight_gain), len(self.resample_filter)
        if weight.shape[-1] == 1:
            x = halve(x, self.resample_filter) if self.down == 2 else x
            x = F.conv2d(x, weight)
            x = double(x, self.resample_filter) if self.up == 2 else x
        elif self.down == 2:
            x = resample(x, self.resample_filter, pads=((n - 1) // 2 + 1, (n - 2) // 2 + 1))
            x = F.conv2d(x, weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=1)
        return x * gain if self.bias is None else activated(x, self.bias, gain, self.conv_clamp)


class MappingNetwork(Module):
    def __init__(self, z_dim, c_dim, w_dim, num_layers, *, embed=None, scale=0.01, mean=True):
        super().__init__(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_layers=num_layers)
        width = z_dim
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embed or w_dim)
            width += embed or w_dim
        for i in range(num_layers):
            setattr(self, f"fc{i}", FullyConnectedLayer(width, w_dim, "lrelu", scale))
            width = w_dim
        if mean:
            self.register_buffer("w_avg", torch.randn(w_dim))

    def forward(self, z, c):
        parts = [_normalised(z)] if self.z_dim else []
        parts += [_normalised(self.embed(c))] if self.c_dim else []
        x = torch.cat(parts, 1)
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        return x


class _Styled(Module):
    def start(self, inputs, outputs, w_dim, side):
        self.affine = FullyConnectedLayer(w_dim, inputs, mean=1.0)
        self.draw("weight", outputs, inputs, side, side)
        self.draw("bias", outputs, scale=0.1)


class SynthesisLayer(_Styled):
    def __init__(self, inputs, outputs, w_dim, resolution, *, up=1, clamp=None, taps=BINOMIAL, use_noise=True):
        fixed = {"activation": "lrelu", "padding": 1, "act_gain": np.sqrt(2)}
        super().__init__(resolution=resolution, up=up, use_noise=use_noise, conv_clamp=clamp, **fixed)
        self.start(inputs, outputs, w_dim, 3)
        self.filtered(taps)
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.draw("noise_strength", scale=0.2)

    def forward(self, x, w, gain=1.0):
        images = []
        for item, style in zip(x, self.affine(w)):
            weight = self.weight * style[:, None, None]
            weight = weight / torch.sqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
            if self.up == 2:
                n = len(self.resample_filter)
                item = F.conv_transpose2d(item[None], weight.transpose(0, 1), stride=2)
                item = resample(item, self.resample_filter * 4, pads=((n + 1) // 2 - 1, (n - 2) // 2))
            else:
                item = F.conv2d(item[None], weight, padding=1)
            images.append(item)
        x = torch.cat(images)
        if self.use_noise:
            x = x + self.noise_const * self.noise_strength
        return activated(x, self.bias, gain, self.conv_clamp)


class ToRGBLayer(_Styled):
    def __init__(self, inputs, w_dim, *, clamp=None):
        super().__init__(conv_clamp=clamp)
        self.start(inputs, 3, w_dim, 1)
        self.weight_gain = 1 / np.sqrt(inputs)

    def forward(self, x, w):
        style = self.affine(w) * float(self.weight_gain)
        x = torch.einsum("oi,bi,bihw->bohw", self.weight[:, :, 0, 0], style, x) + self.bias[:, None, None]
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisBlock(Module):
    def __init__(self, inputs, outputs, w_dim, resolution, *, last, kind, clamp, taps, half, use_noise):
        super().__init__(in_channels=inputs, resolution=resolution, is_last=last, architecture=kind, use_fp16=half)
        self.filtered(taps)
        common = {"clamp": clamp, "use_noise": use_noise}
        if inputs:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution, up=2, taps=taps, **common)
        else:
            self.draw("const", outputs, 4, 4)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution, **common)
        if last or kind == "skip":
            self.torgb = ToRGBLayer(outputs, w_dim, clamp=clamp)
        if inputs and kind == "resnet":
            self.skip = Conv2dLayer(inputs, outputs, 1, up=2, taps=taps, linear=True)

    def forward(self, x, image, ws):
        if x is None:
            x = self.conv1(self.const.expand(len(ws), -1, -1, -1), ws[:, 0])
        else:
            gain = math.sqrt(0.5) if self.architecture == "resnet" else 1.0
            y = self.skip(x, gain=gain) if self.architecture == "resnet" else 0
            x = y + self.conv1(self.conv0(x, ws[:, 0]), ws[:, 1], gain=gain)
        image = None if image is None else double(image, self.resample_filter)
        if hasattr(self, "torgb"):
            colour = self.torgb(x, ws[:, 2 if self.in_channels else 1])
            image = colour if image is None else image + colour
        return x, image


class SynthesisNetwork(Module):
    def __init__(self, w_dim, channels, *, kind="skip", clamp=None, taps=BINOMIAL, half=0, use_noise=True):
        super().__init__(w_dim=w_dim, num_ws=2 * len(channels))
        for i, width in enumerate(channels):
            last = i == len(channels) - 1
            common = {"kind": kind, "clamp": clamp, "taps": taps, "use_noise": use_noise, "last": last}
            inputs, of_half = channels[i - 1] if i else 0, i >= max(len(channels) - half, 1)
            setattr(self, f"b{4 * 2**i}", SynthesisBlock(inputs, width, w_dim, 4 * 2**i, half=of_half, **common))

    def forward(self, ws):
        x = image = None
        for i, block in enumerate(self.children()):
            x, image = block(x, image, ws[:, 2 * i - 1 : 2 * i + 2] if i else ws[:, :2])
        return image


class Generator(Module):
    def __init__(self, w_dim, channels, *, c_dim=0, layers=2, embed=None, **options):
        sizes = {"img_resolution": 2 ** (len(channels) + 1), "img_channels": 3, "num_ws": 2 * len(channels)}
        super().__init__(z_dim=w_dim, c_dim=c_dim, w_dim=w_dim, **sizes)
        self.synthesis = SynthesisNetwork(w_dim, channels, **options)
        self.mapping = MappingNetwork(w_dim, c_dim, w_dim, layers, embed=embed)


class DiscriminatorBlock(Module):
    def __init__(self, inputs, width, outputs, resolution, *, kind, clamp, taps, half):
        super().__init__(in_channels=inputs, resolution=resolution, architecture=kind, use_fp16=half)
        self.filtered(taps)
        if not inputs or kind == "skip":
            self.fromrgb = Conv2dLayer(3, width, 1, clamp=clamp)
        self.conv0 = Conv2dLayer(width, width, 3, clamp=clamp)
        self.conv1 = Conv2dLayer(width, outputs, 3, down=2, clamp=clamp, taps=taps)
        if kind == "resnet":
            self.skip = Conv2dLayer(width, outputs, 1, down=2, taps=taps, linear=True)

    def forward(self, x, image):
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(image)
            x = y if x is None else x + y
            image = halve(image, self.resample_filter) if self.architecture == "skip" else None
        if self.architecture == "resnet":
            y = self.skip(x, gain=math.sqrt(0.5))
            return y + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), image
        return self.conv1(self.conv0(x)), image


class MinibatchStdLayer(Module):
    def forward(self, x):
        b, c, h, w = x.shape
        size = min(self.group_size or b, b)
        actual = x.new_zeros(b, self.num_channels)
        for first in range(b // size):
            members = list(range(first, b, b // size))
            deviation = torch.sqrt(x[members].var(0, unbiased=False) + 1e-8)
            actual[members] = deviation.reshape(self.num_channels, -1).mean(1)
        return torch.cat([x, actual[:, :, None, None].expand(-1, -1, h, w)], 1)


class DiscriminatorEpilogue(Module):
    def __init__(self, width, cmap_dim, *, kind, clamp, group, extra):
        super().__init__(in_channels=width, cmap_dim=cmap_dim, resolution=4, architecture=kind)
        if kind == "skip":
            self.fromrgb = Conv2dLayer(3, width, 1)
        self.mbstd = MinibatchStdLayer(group_size=group, num_channels=extra) if extra else None
        self.conv = Conv2dLayer(width + extra, width, 3, clamp=clamp)
        self.fc = FullyConnectedLayer(width * 16, width, "lrelu")
        self.out = FullyConnectedLayer(width, cmap_dim or 1)

    def forward(self, x, image, cmap):
        if self.architecture == "skip":
            x = x + self.fromrgb(image)
        x = x if self.mbstd is None else self.mbstd(x)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        return x if cmap is None else (x * cmap).sum(1, keepdim=True) / math.sqrt(self.cmap_dim)


class Discriminator(Module):
    def __init__(
        self, channels, *, c_dim=0, cmap_dim=None, layers=2, taps=BINOMIAL, half=0, group=4, extra=1, **common
    ):
        """Channels from 4 pixels on, as for the generator."""
        common = {"kind": "resnet", "clamp": None} | common
        count, cmap_dim = len(channels), (cmap_dim or channels[0]) if c_dim else 0
        super().__init__(c_dim=c_dim, img_resolution=2 ** (count + 1), img_channels=3)
        for i in range(count - 1, 0, -1):
            widths = channels[i] if i < count - 1 else 0, channels[i], channels[i - 1]
            of_half = i >= max(count - half, 1)
            setattr(self, f"b{4 * 2**i}", DiscriminatorBlock(*widths, 4 * 2**i, half=of_half, taps=taps, **common))
        if c_dim:
            self.mapping = MappingNetwork(0, c_dim, cmap_dim, layers, mean=False)
        self.b4 = DiscriminatorEpilogue(channels[0], cmap_dim, group=group, extra=extra, **common)

    def forward(self, image, c=None):
        """Logits, and the outputs of every block."""
        x, features = None, []
        for block in self.children():
            if isinstance(block, DiscriminatorBlock):
                x, image = block(x, image)
                features.append(x)
        return self.b4(x, image, self.mapping(None, c) if self.c_dim else None), features
