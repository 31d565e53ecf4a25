"""Fields of a config that are each valid and make no sense together. Each function raises ``ConfigError``."""

import os
from typing import TYPE_CHECKING

from ganlab.errors import ConfigError

if TYPE_CHECKING:
    from ganlab.config import Config


def sizes(config: "Config") -> None:
    if config.batch_size == 1:
        raise ConfigError(
            "batch_size is 1: batch norm and minibatch layers compare the images of a batch, so give at least 2"
        )
    step = config.batch_size * config.d_steps
    if 0 < config.epoch_images < step:
        raise ConfigError(
            f"epoch_images {config.epoch_images} with batch_size {config.batch_size} and d_steps {config.d_steps}: an "
            f"epoch takes at least the {step} images of one step"
        )


def memory(config: "Config") -> None:
    """The order of magnitude of what training needs, against what the machine has."""
    g_top, d_top = (channels * config.resolution // 4 for channels in (config.g_channels, config.d_channels))
    weights = config.latent_dim * 16 * g_top + 6 * g_top**2 + 3 * d_top**2
    values = config.batch_size * config.resolution**2 * (config.g_channels + config.d_channels)
    need, there = 4 * (5 * weights + 2 * values), physical_bytes()  # weights: gradients, Adam's moments, average
    if there and need > there:
        raise ConfigError(
            f"g_channels {config.g_channels}, d_channels {config.d_channels}, latent_dim {config.latent_dim} and "
            f"batch_size {config.batch_size} at {config.resolution} pixels need about {need / 2**30:,.0f} GB, and this "
            f"machine has {there / 2**30:,.0f} GB: make them smaller"
        )


def physical_bytes() -> int:
    """The machine's memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def losses(config: "Config") -> None:
    if config.loss != "bce" and (config.real_label, config.fake_label) != (1.0, 0.0):
        raise ConfigError(
            f"real_label {config.real_label:g} and fake_label {config.fake_label:g} with loss {config.loss}: only bce "
            "has labels to smooth"
        )
    one_by_one = "the gradient penalty asks D of one image at a time"
    if config.d_norm == "batch" and (config.loss == "wasserstein" or config.gradient_penalty):
        raise ConfigError(
            f"d_norm batch in a critic (loss {config.loss}, gradient_penalty {config.gradient_penalty:g}): "
            f"{one_by_one}, and batch norm mixes them; use d_norm none or spectral"
        )
    if config.loss == "wasserstein" and not config.gradient_penalty and config.d_norm != "spectral":
        raise ConfigError(
            "loss wasserstein without a bound on D's gradient: give gradient_penalty 10 or d_norm spectral"
        )
    if config.minibatch != "none" and config.gradient_penalty:
        raise ConfigError(
            f"minibatch {config.minibatch} with gradient_penalty: {one_by_one}, and that layer compares them"
        )
    if config.compile and (config.gradient_penalty or config.r1 or config.r2):
        raise ConfigError(
            "compile with a penalty on D's gradient (gradient_penalty, r1, r2): torch.compile cannot differentiate "
            "twice; switch it off"
        )


def networks(config: "Config") -> None:
    valid = {"residual": ("spectral", "none"), "r3": ("none",), "projected": ("spectral", "none")}.get(
        config.discriminator
    )
    if valid and (config.d_norm not in valid or config.minibatch != "none"):
        raise ConfigError(
            f"discriminator {config.discriminator} with d_norm {config.d_norm}, minibatch {config.minibatch}: it takes "
            f"d_norm {' or '.join(valid)}, and minibatch none"
        )
    if config.discriminator != "projected" and config.feature_network:
        raise ConfigError(
            f"feature_network {config.feature_network!r} with discriminator {config.discriminator}: only discriminator "
            "projected looks through one"
        )
    if config.discriminator == "projected":
        for name in ("feature_matching", "gradient_penalty", "r1", "r2"):
            if getattr(config, name):
                raise ConfigError(
                    f"discriminator projected with {name} {getattr(config, name):g}: its features are frozen, and only "
                    f"its heads learn; switch {name} off"
                )
    if config.minibatch == "discrimination" and config.discriminator == "dcgan" and not config.conditional:
        raise ConfigError(
            "minibatch discrimination with discriminator dcgan, which has no dense layer to put it before: use "
            "minibatch deviation, or discriminator strided"
        )


def judges(config: "Config") -> None:
    if config.judges and not set(config.judges) - KIN.get(config.discriminator, set()):
        raise ConfigError(
            f"judges {', '.join(config.judges)} with discriminator {config.discriminator}: D looks through a near kin "
            "of that network, so it judges nothing; add efficientnet_lite0"
        )


# Extractors that are near kin of what a discriminator looks through: classifiers of the same images and labels.
KIN = {"projected": {"cifar_resnet"}}
COMBINATIONS = (sizes, memory, losses, networks, judges)
