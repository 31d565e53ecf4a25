"""Initial weights. Each function fills a network in place from the stream that it is given."""

import math

import torch
from torch import nn

from ganlab.networks.layers import Basis, Block, ClassConcat, ConditionalNorm, Projection


@torch.no_grad()
def normal(network: nn.Module, stream: torch.Generator) -> None:
    """Weights N(0, 0.02), batch-norm scales N(1, 0.02), biases 0 (Radford 2016, section 4)."""
    for module in network.modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        own["weight"].normal_(1.0 if is_norm else 0.0, 0.02, generator=stream)
        if own.get("bias") is not None:
            own["bias"].zero_()


@torch.no_grad()
def xavier(network: nn.Module, stream: torch.Generator) -> None:
    """Xavier-uniform weights (Glorot & Bengio 2010) of SNGAN's ResNet, as in the authors' code.

    The gain is sqrt(2) in the branches of blocks and 1 elsewhere. Norms have scale 1 and shift 0; biases are 0.
    """
    inner = {layer for block in network if isinstance(block, Block) for layer in block.branch}
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = math.sqrt(2) if module in inner else 1.0
            nn.init.xavier_uniform_(module.weight, gain, generator=stream)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, Projection):
            nn.init.xavier_uniform_(module.embedding.weight, generator=stream)
        elif isinstance(module, ConditionalNorm):
            module.scale.weight.zero_()
            module.shift.weight.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


@torch.no_grad()
def fixup(network: nn.Module, stream: torch.Generator) -> None:
    """Normal weights of variance gain^2 / fan-in (He 2015), as R3GAN starts.

    In a branch the gain is LeakyReLU's times L^(-1/4) for L blocks, and 0 in its last convolution (Zhang 2019, Fixup,
    with three layers a branch): every block starts as the identity. Elsewhere it is 1. Basis and class coordinates are
    N(0, 1), as the latents. Biases are 0.
    """
    blocks = [layer for layer in network if isinstance(layer, Block)]
    gain = nn.init.calculate_gain("leaky_relu", 0.2) * len(blocks) ** -0.25
    gains: dict[nn.Module, float] = {}
    for block in blocks:
        expand, grouped, back = (layer for layer in block.branch if isinstance(layer, nn.Conv2d))
        gains |= {expand: gain, grouped: gain, back: 0.0}
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_(0, gains.get(module, 1.0) / module.weight[0].numel() ** 0.5, generator=stream)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, Projection):
            module.embedding.weight.normal_(0, module.embedding.embedding_dim**-0.5, generator=stream)
        elif isinstance(module, ClassConcat):
            module.embedding.weight.normal_(generator=stream)
        elif isinstance(module, Basis):
            module.weight.normal_(generator=stream)
