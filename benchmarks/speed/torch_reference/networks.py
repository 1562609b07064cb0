"""The five networks as PyTorch modules, with the published names of their tensors (GAN2Shape, appendix)."""

import torch
from torch import nn
from torch.nn import functional


class _Network(nn.Module):
    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.network = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2 if padding is None else padding, bias=False)


def decoder(size: int, nf: int, zdim: int, outputs: int, groups: int, final: str | None = None) -> nn.Module:
    """Depth or albedo network (netD, netA)."""
    deepest = size.bit_length() - 4
    layers: list[nn.Module] = []
    before = 3
    for level in range(deepest):
        layers += [_conv(before, nf << level, 4, 2, 1), nn.GroupNorm(groups << level, nf << level), nn.LeakyReLU(0.2)]
        before = nf << level
    top = nf << deepest
    layers += [
        _conv(before, top, 4, 2, 1),
        nn.LeakyReLU(0.2),
        _conv(top, zdim, 4, 1, 0),
        nn.ReLU(),
        nn.ConvTranspose2d(zdim, top, 4, bias=False),
        nn.ReLU(),
        _conv(top, top, 3),
        nn.ReLU(),
    ]
    for level in reversed(range(deepest)):
        width, norm = nf << level, groups << level
        layers += [
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            nn.GroupNorm(norm, width),
            nn.ReLU(),
            _conv(width, width, 3),
            nn.GroupNorm(norm, width),
            nn.ReLU(),
        ]
    layers += [
        nn.Upsample(scale_factor=2),
        _conv(nf, nf, 3),
        nn.GroupNorm(groups, nf),
        nn.ReLU(),
        _conv(nf, nf, 5),
        nn.GroupNorm(groups, nf),
        nn.ReLU(),
        _conv(nf, outputs, 5),
    ]
    return _Network(layers + ([nn.Tanh()] if final else []))


def encoder(size: int, nf: int, outputs: int) -> nn.Module:
    """View or light network (netV, netL)."""
    layers: list[nn.Module] = []
    before = 3
    for level in range(size.bit_length() - 3):
        layers += [_conv(before, nf << level, 4, 2, 1), nn.ReLU()]
        before = nf << level
    return _Network([*layers, _conv(before, before, 4, 1, 0), nn.ReLU(), _conv(before, outputs, 1), nn.Tanh()])


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(inputs, outputs, 3, 2), _conv(outputs, outputs, 3)
        self.conv_sc = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(x)  # the published one works in place: the shortcut sees it too
        return self.conv_sc(functional.avg_pool2d(x, 2)) + self.conv2(functional.relu(self.conv1(x)))


def residual_encoder(size: int, nf: int, outputs: int) -> nn.Module:
    """The encoder onto the GAN (netEnc)."""
    count = size.bit_length() - 3
    layers: list[nn.Module] = [_conv(3, nf, 4, 2, 1), *(_Down(nf << i, nf << (i + 1)) for i in range(count - 1))]
    top = nf << (count - 1)
    return _Network([*layers, nn.ReLU(), _conv(top, 2 * top, 4, 1, 0), nn.ReLU(), _conv(2 * top, outputs, 1)])
