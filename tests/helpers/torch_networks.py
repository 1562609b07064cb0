"""PyTorch counterparts of the converted networks, with the published names of their tensors.

Written after the published descriptions, to compare with: any width, random weights of all kinds. Below them is what
tests of conversion put beside the networks in a file, and read from the results.
"""

import safetensors
import torch
from torch import nn
from torch.nn import functional


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draws weights that keep signals of about unit size, and statistics that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + 0.3 * noise.abs())
            elif value.ndim > 1:
                value.copy_(noise * (2 / value[0].numel()) ** 0.5)
            elif name.endswith("weight"):
                value.copy_(1 + 0.1 * noise)
            else:
                value.copy_(0.1 * noise)
    return module.eval()


def _normalised(inputs, outputs, size, **options):
    padding = options.pop("padding", size // 2 * options.get("dilation", 1))
    return [nn.Conv2d(inputs, outputs, size, padding=padding, bias=False, **options), nn.BatchNorm2d(outputs)]


class _Named(nn.Module):
    """A convolution and its normalisation as attributes `conv` and `bn`, then ReLU."""

    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.conv, self.bn = _normalised(inputs, outputs, size)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class _Basic(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = _normalised(inputs, outputs, 3, stride=stride)
        self.conv2, self.bn2 = _normalised(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.downsample = None if same else nn.Sequential(*_normalised(inputs, outputs, 1, stride=stride))

    def forward(self, x):
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, dilation, shortcut):
        super().__init__()
        self.conv1, self.bn1 = _normalised(inputs, width, 1)
        self.conv2, self.bn2 = _normalised(width, width, 3, stride=stride, dilation=dilation)
        self.conv3, self.bn3 = _normalised(width, 4 * width, 1)
        self.downsample = nn.Sequential(*_normalised(inputs, 4 * width, 1, stride=stride)) if shortcut else None

    def forward(self, x):
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(inner)))))
        return functional.relu(inner + (x if self.downsample is None else self.downsample(x)))


class _Attention(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = _Named(inputs, outputs, 3)
        self.conv_atten, self.bn_atten = _normalised(outputs, outputs, 1)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))))


class _Head(nn.Module):
    def __init__(self, inputs, width, classes):
        super().__init__()
        self.conv = _Named(inputs, width, 3)
        self.conv_out = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, x):
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """The face parser: its main output alone, at the picture's size."""

    def __init__(self, classes=19, w=64):
        super().__init__()
        self.cp = nn.Module()
        resnet = self.cp.resnet = nn.Module()
        resnet.conv1, resnet.bn1 = _normalised(3, w, 7, stride=2)
        before = w
        for stage in range(1, 5):
            width = w * 2 ** (stage - 1)
            first = _Basic(before, width, 1 if stage == 1 else 2)
            setattr(resnet, f"layer{stage}", nn.Sequential(first, _Basic(width, width, 1)))
            before = width
        self.cp.arm16, self.cp.arm32 = _Attention(4 * w, 2 * w), _Attention(8 * w, 2 * w)
        self.cp.conv_head32, self.cp.conv_head16 = _Named(2 * w, 2 * w, 3), _Named(2 * w, 2 * w, 3)
        self.cp.conv_avg = _Named(8 * w, 2 * w, 1)
        self.ffm = nn.Module()
        self.ffm.convblk = _Named(4 * w, 4 * w, 1)
        self.ffm.conv1, self.ffm.conv2 = nn.Conv2d(4 * w, w, 1, bias=False), nn.Conv2d(w, 4 * w, 1, bias=False)
        self.conv_out = _Head(4 * w, 4 * w, classes)
        self.conv_out16, self.conv_out32 = _Head(2 * w, w, classes), _Head(2 * w, w, classes)

    def forward(self, x):
        size, r = x.shape[2:], self.cp.resnet
        x = functional.max_pool2d(functional.relu(r.bn1(r.conv1(x))), 3, 2, 1)
        eighth = r.layer2(r.layer1(x))
        sixteenth = r.layer3(eighth)
        last = r.layer4(sixteenth)
        x = self.cp.arm32(last) + self.cp.conv_avg(last.mean((2, 3), keepdim=True))
        x = self.cp.conv_head32(functional.interpolate(x, sixteenth.shape[2:]))
        x = self.cp.arm16(sixteenth) + x
        x = self.cp.conv_head16(functional.interpolate(x, eighth.shape[2:]))
        x = self.ffm.convblk(torch.cat([eighth, x], 1))
        weight = self.ffm.conv2(functional.relu(self.ffm.conv1(x.mean((2, 3), keepdim=True))))
        x = self.conv_out(x + x * torch.sigmoid(weight))
        return functional.interpolate(x, size, mode="bilinear", align_corners=True)


class PSPNet(nn.Module):
    """The scene parser, with the head that only training uses."""

    def __init__(self, classes=21, w=64, blocks=(3, 4, 6, 3)):
        super().__init__()
        stem = []
        for inputs, outputs, stride in ((3, w, 2), (w, w, 1), (w, 2 * w, 1)):
            stem += [*_normalised(inputs, outputs, 3, stride=stride), nn.ReLU()]
        self.layer0 = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        before = 2 * w
        for stage, (count, stride, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), 1):
            width = w * 2 ** (stage - 1)
            parts = []
            for block in range(count):
                parts.append(_Bottleneck(before, width, stride if block == 0 else 1, dilation, block == 0))
                before = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*parts))
        self.ppm = nn.Module()
        self.ppm.features = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_normalised(before, before // 4, 1), nn.ReLU())
            for bins in (1, 2, 3, 6)
        )
        self.cls = nn.Sequential(
            *_normalised(2 * before, 8 * w, 3), nn.ReLU(), nn.Dropout2d(), nn.Conv2d(8 * w, classes, 1)
        )
        self.aux = nn.Sequential(
            *_normalised(before // 2, 4 * w, 3), nn.ReLU(), nn.Dropout2d(), nn.Conv2d(4 * w, classes, 1)
        )

    def forward(self, x):
        size = x.shape[2:]
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.layer0(x)))))
        grids = [
            functional.interpolate(f(x), x.shape[2:], mode="bilinear", align_corners=True) for f in self.ppm.features
        ]
        return functional.interpolate(self.cls(torch.cat([x, *grids], 1)), size, mode="bilinear", align_corners=True)


def optimizer_state(net):
    """Adam's state after a step."""
    optimizer = torch.optim.Adam(net.parameters())
    for value in net.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    return optimizer.state_dict()


def header(path):
    """What a converted file says of itself."""
    with safetensors.safe_open(str(path), "np") as file:
        return file.metadata()
