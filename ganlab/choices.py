"""The tables of names: what a run can be made of, and where the function behind each name stands.

A row is ``name: "module.function"``. Config, the command line and the networks all read these tables, and nothing
else lists the names. Reading a table loads no function, so a wrong name is answered at once. Priors have a table of
their own, in ``priors``.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ganlab.errors import unknown

GENERATORS = {  # config -> G
    "upsample": "networks.generators.upsample_generator",
    "transposed": "networks.generators.transposed_generator",
    "dense_transposed": "networks.generators.dense_transposed_generator",
    "residual": "networks.residual.residual_generator",
    "r3": "networks.residual.r3_generator",
}
DISCRIMINATORS = {  # config -> D
    "strided": "networks.discriminators.strided_discriminator",
    "dcgan": "networks.discriminators.dcgan_discriminator",
    "sngan": "networks.discriminators.sngan_discriminator",
    "residual": "networks.residual.residual_discriminator",
    "r3": "networks.residual.r3_discriminator",
    "projected": "networks.projected.projected_discriminator",
}
LOSSES = {  # config -> Loss
    "bce": "training.losses.bce",
    "least_squares": "training.losses.least_squares",
    "hinge": "training.losses.hinge",
    "wasserstein": "training.losses.wasserstein",
    "relativistic": "training.losses.relativistic",
}
AUGMENTATIONS = {  # (images, generator) -> images, differentiable
    "color": "training.augment.color",
    "translation": "training.augment.translation",
    "cutout": "training.augment.cutout",
    "flip": "training.augment.flip",
}
REAL_AUGMENTATIONS = {  # (images, generator) -> images
    "flip": "training.augment.flip",
    "crop": "training.augment.crop",
    "rotation": "training.augment.rotation",
}
EXTRACTORS = {  # () -> Extractor; quick and offline first
    "cifar_resnet": "scoring.features.cifar_resnet",
    "efficientnet_lite0": "scoring.features.efficientnet_lite0",
    "inception": "scoring.inception.inception",
}


def function(what: str, table: Mapping[str, str], name: str) -> Callable[..., Any]:
    """The function of a table's row; what: the table in words. Raises ``ConfigError`` for a name without a row."""
    if name not in table:
        raise unknown(what, name, table)
    module, _, attribute = table[name].rpartition(".")
    return getattr(import_module(f"ganlab.{module}"), attribute)
