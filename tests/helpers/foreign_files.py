"""Checkpoints of the other networks for the tests of conversion, and what is read from the results."""

import numpy as np
import safetensors
import torch

from gan2shape_jax.config import load_config
from gan2shape_jax.method.settings import from_config
from gan2shape_jax.stylegan2 import Architecture
from helpers import torch_networks

SIZE, WIDTH, ZDIM, STYLE, GROUPS = 32, 8, 16, 16, 4


def relative(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def header(path):
    with safetensors.safe_open(str(path), "np") as file:
        return file.metadata()


def shape_networks():
    """netD, netA, netV, netL, netEnc; view and light of another width, as Unsup3d has them."""
    nets = {
        "netD": torch_networks.decoder(SIZE, WIDTH, ZDIM, 1, GROUPS),
        "netA": torch_networks.decoder(SIZE, WIDTH, ZDIM, 3, GROUPS, final="tanh"),
        "netV": torch_networks.encoder(SIZE, WIDTH // 2, 6),
        "netL": torch_networks.encoder(SIZE, WIDTH // 2, 4),
        "netEnc": torch_networks.residual_encoder(SIZE, 4, STYLE),
    }
    return {name: torch_networks.randomise(net, seed) for seed, (name, net) in enumerate(nets.items())}


def settings(**fields):
    config = load_config("ictface:scratch").unlock()
    config.image_size = SIZE
    config.networks.width, config.networks.view_light_width = WIDTH, WIDTH // 2
    config.networks.group_base, config.networks.zdim, config.networks.encoder_width = GROUPS, ZDIM, 4
    config.update(fields)
    channels = (16, 16, 16, 16, 16)
    architecture = Architecture(
        size=64, style_dim=STYLE, mapping_layers=8, channels=channels, discriminator_channels=channels
    )
    return from_config(config, architecture, original_size=SIZE)


def optimizer_state(net):
    optimizer = torch.optim.Adam(net.parameters())
    for value in net.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    for value in net.parameters():
        value.grad = None
    return optimizer.state_dict()
