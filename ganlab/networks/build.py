"""The networks of a config, with their initial weights, and a table of their layers.

Nothing here draws from torch's global random state: weights and dropout use the generators handed to them.
"""

import copy

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from ganlab.choices import DISCRIMINATORS, GENERATORS, function
from ganlab.config import Config
from ganlab.networks.convolutions import Conv2d
from ganlab.networks.layers import Dropout, SpectralNorm


def build(config: Config, init: torch.Generator, dropout: torch.Generator | None = None) -> tuple[nn.Module, nn.Module]:
    """(G, D) of the config on the CPU, weights drawn from ``init``, dropout drawing from ``dropout``."""
    with torch.random.fork_rng(devices=[]):  # the layers' own initialisation is overwritten below
        networks = (
            function("generator", GENERATORS, config.generator)(config),
            function("discriminator", DISCRIMINATORS, config.discriminator)(config),
        )
        for network in networks:
            network.initialise(init)
            for module in network.modules():
                if isinstance(module, Dropout):
                    module.stream = dropout
        for module in networks[1].modules():
            if isinstance(module, Conv2d):
                module.twice = bool(config.r1 or config.r2)
        if config.d_norm == "spectral":
            for module in list(networks[1].modules()):
                if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                    register_parametrization(module, "weight", SpectralNorm(module.weight, init))
    return networks


@torch.no_grad()
def summary(network: nn.Module, *example: torch.Tensor) -> list[dict[str, object]]:
    """One row a layer, and one for the total: the layer, the shape of its output, its number of parameters.

    example: a batch of z or images and, for a conditional network, labels.
    """
    rows: list[dict[str, object]] = []

    def note(module: nn.Module, _: tuple, output: torch.Tensor | list[torch.Tensor]) -> None:
        outputs = output if isinstance(output, list) else [output]
        shape = ", ".join(" x ".join(map(str, part.shape[1:])) or "1" for part in outputs)
        count = sum(p.numel() for p in module.parameters())
        name = f"{type(module).__name__.removeprefix('Parametrized')}({module.extra_repr()})"
        name += ", spectral norm" * is_parametrized(module)
        rows.append({"layer": name, "output": shape, "parameters": count})

    network = copy.deepcopy(network).eval()
    for name, module in network.named_modules():
        if "parametrizations" not in name and (is_parametrized(module) or not list(module.children())):
            module.register_forward_hook(note)
    network(*example)
    return [*rows, {"layer": "total", "output": "", "parameters": sum(p.numel() for p in network.parameters())}]
