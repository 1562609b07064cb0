"""StyleGAN2 in PyTorch, after its definition: independent of the package, for comparison."""

import math


class TorchForm:
    """StyleGAN2 by its definition: kernels modulated for each image, filters as convolutions.

    Works on state dictionaries with the names of rosinality/stylegan2-pytorch.
    """

    def __init__(self, torch):
        self.torch, self.f = torch, torch.nn.functional
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
        self.filter = taps[:, None] * taps

    def random_states(self, arch, seed):
        generator = self.torch.Generator().manual_seed(seed)

        def draw(*shape):
            return self.torch.randn(*shape, generator=generator)

        g, d, w = {}, {}, arch.style_dim
        for i in range(1, arch.mapping_layers + 1):
            g |= {f"style.{i}.weight": 100 * draw(w, w), f"style.{i}.bias": draw(w)}
        ch = arch.channels
        g["input.input"] = draw(1, ch[0], 4, 4)

        def styled(name, i, o, k):
            g[f"{name}.conv.weight"] = draw(1, o, i, k, k)
            g[f"{name}.conv.modulation.weight"] = draw(i, w)
            g[f"{name}.conv.modulation.bias"] = 1 + 0.1 * draw(i)
            if k == 3:
                g[f"{name}.noise.weight"], g[f"{name}.activate.bias"] = 0.1 * draw(1), 0.1 * draw(o)
            else:
                g[f"{name}.bias"] = draw(1, 3, 1, 1)

        styled("conv1", ch[0], ch[0], 3)
        styled("to_rgb1", ch[0], 3, 1)
        for i, (a, b) in enumerate(zip(ch[:-1], ch[1:])):
            styled(f"convs.{2 * i}", a, b, 3)
            styled(f"convs.{2 * i + 1}", b, b, 3)
            styled(f"to_rgbs.{i}", b, 3, 1)
            kernel = (4 * self.filter).float()
            g[f"convs.{2 * i}.conv.blur.kernel"] = g[f"to_rgbs.{i}.upsample.kernel"] = kernel
        for i in range(2 * len(ch) - 1):
            side = 4 * 2 ** ((i + 1) // 2)
            g[f"noises.noise_{i}"] = draw(1, 1, side, side)
        wd = arch.discriminator_channels[::-1]
        d["convs.0.0.weight"], d["convs.0.1.bias"] = draw(wd[0], 3, 1, 1), 0.1 * draw(wd[0])
        for i, (a, b) in enumerate(zip(wd[:-1], wd[1:]), 1):
            d |= {
                f"convs.{i}.conv1.0.weight": draw(a, a, 3, 3),
                f"convs.{i}.conv1.1.bias": draw(a),
                f"convs.{i}.conv2.1.weight": draw(b, a, 3, 3),
                f"convs.{i}.conv2.2.bias": draw(b),
                f"convs.{i}.skip.1.weight": draw(b, a, 1, 1),
                f"convs.{i}.conv2.0.kernel": self.filter.float(),
                f"convs.{i}.skip.0.kernel": self.filter.float(),
            }
        last = wd[-1]
        d |= {
            "final_conv.0.weight": draw(last, last + 1, 3, 3),
            "final_conv.1.bias": draw(last),
            "final_linear.0.weight": draw(last, last * 16),
            "final_linear.0.bias": draw(last),
            "final_linear.1.weight": draw(1, last),
            "final_linear.1.bias": draw(1),
        }
        return g, d

    def lrelu(self, x):
        return self.f.leaky_relu(x, 0.2) * math.sqrt(2)

    def depthwise(self, x, pads, gain=1.0, stride=1):
        kernel = (gain * self.filter)[None, None].repeat(x.shape[1], 1, 1, 1)
        return self.f.conv2d(self.f.pad(x, pads * 2), kernel, stride=stride, groups=x.shape[1])

    def linear(self, x, weight, bias, scale=1.0):
        return x @ weight.T * (scale / math.sqrt(weight.shape[1])) + bias * scale

    def styled(self, g, name, x, w, noise=None, grow=False, demodulate=True):
        torch, f = self.torch, self.f
        weight = g[f"{name}.conv.weight"]
        _, o, i, k, _ = weight.shape
        at = f"{name}.conv.modulation"
        style = self.linear(w, g[f"{at}.weight"], g[f"{at}.bias"])
        outs = []
        for item, s in zip(x, style):
            kernel = weight[0] * s[None, :, None, None] / math.sqrt(i * k * k)
            if demodulate:
                kernel = kernel / torch.sqrt((kernel**2).sum((1, 2, 3), keepdim=True) + 1e-8)
            if grow:
                y = f.conv_transpose2d(item[None], kernel.transpose(0, 1), stride=2)
                outs.append(self.depthwise(y, (1, 1), 4.0))
            else:
                outs.append(f.conv2d(item[None], kernel, padding=k // 2))
        y = torch.cat(outs)
        if noise is None:
            return y + g[f"{name}.bias"]
        y = y + g[f"{name}.noise.weight"] * noise
        return self.lrelu(y + g[f"{name}.activate.bias"][:, None, None])

    def map(self, g, z, count):
        x = z / self.torch.sqrt((z**2).mean(1, keepdim=True) + 1e-8)
        for i in range(1, count + 1):
            x = self.lrelu(self.linear(x, g[f"style.{i}.weight"], g[f"style.{i}.bias"], 0.01))
        return x

    def generate(self, g, w, levels):
        """Draws images of w (B, W), or of w (B, L, W) with a style for each input."""
        if w.ndim == 2:
            w = w[:, None].expand(-1, 2 * levels, -1)
        x = g["input.input"].repeat(len(w), 1, 1, 1)
        x = self.styled(g, "conv1", x, w[:, 0], g["noises.noise_0"])
        image = self.styled(g, "to_rgb1", x, w[:, 1], demodulate=False)
        for i in range(levels - 1):
            at = 2 * i + 1
            x = self.styled(g, f"convs.{2 * i}", x, w[:, at], g[f"noises.noise_{at}"], grow=True)
            x = self.styled(g, f"convs.{2 * i + 1}", x, w[:, at + 1], g[f"noises.noise_{at + 1}"])
            b, c, h, _ = image.shape
            grown = self.torch.zeros(b, c, 2 * h, 2 * h, dtype=image.dtype)
            grown[:, :, ::2, ::2] = image
            image = self.styled(g, f"to_rgbs.{i}", x, w[:, at + 2], demodulate=False) + self.depthwise(
                grown, (2, 1), 4.0
            )
        return image

    def judge(self, d, x, blocks, group=4):
        torch, f = self.torch, self.f

        def conv(x, name, **kwargs):
            weight = d[name]
            return f.conv2d(x, weight / math.sqrt(weight[0].numel()), **kwargs)

        def activate(x, name):
            return self.lrelu(x + d[name][:, None, None])

        x = activate(conv(x, "convs.0.0.weight"), "convs.0.1.bias")
        for i in range(1, blocks + 1):
            at = f"convs.{i}"
            y = activate(conv(x, f"{at}.conv1.0.weight", padding=1), f"{at}.conv1.1.bias")
            y = conv(self.depthwise(y, (2, 2)), f"{at}.conv2.1.weight", stride=2)
            skip = conv(self.depthwise(x, (1, 1)), f"{at}.skip.1.weight", stride=2)
            x = (activate(y, f"{at}.conv2.2.bias") + skip) / math.sqrt(2)
        b, size = len(x), min(len(x), group)
        extra = torch.zeros(b, 1, 4, 4, dtype=x.dtype)
        for first in range(b // size):
            members = list(range(first, b, b // size))
            extra[members] = torch.sqrt(x[members].var(0, unbiased=False) + 1e-8).mean()
        x = conv(torch.cat([x, extra], 1), "final_conv.0.weight", padding=1)
        x = activate(x, "final_conv.1.bias").flatten(1)
        x = self.lrelu(self.linear(x, d["final_linear.0.weight"], d["final_linear.0.bias"]))
        return self.linear(x, d["final_linear.1.weight"], d["final_linear.1.bias"])
