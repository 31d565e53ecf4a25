"""What a run is: one frozen dataclass of scalars, strings and lists, and the table of presets.

A papermill parameters cell, a command line and a JSON file all say the same thing with it. This module holds
the vocabulary (every valid name) and imports nothing heavy, so that a typing mistake is answered at once.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

from ganlab.errors import ConfigError, unknown
from ganlab.presets import PRESETS

CHOICES = {
    "prior": (
        "gaussian",
        "uniform",
        "poisson",
        "exponential",
        "laplacian",
        "bernoulli",
        "multiplicative",
        "rademacher",
        "student_t",
        "truncated_normal",
        "censored_normal",
        "spherical",
        "gaussian_mixture",
        "one_hot",
    ),
    "arm": ("standardised", "centred", "raw"),
    "generator": ("upsample", "transposed", "dense_transposed", "residual", "r3"),
    "discriminator": ("strided", "dcgan", "sngan", "residual", "r3"),
    "d_norm": ("batch", "spectral", "none"),
    "minibatch": ("none", "discrimination", "deviation"),
    "loss": ("bce", "least_squares", "hinge", "wasserstein", "relativistic"),
    "split": ("train", "test"),
    "resolution": (32, 64, 128),
    "eval_extractor": ("cifar_resnet", "efficientnet_lite0", "inception"),
    "precision": ("auto", "bf16", "fp32"),
    "device": ("auto", "cpu", "cuda"),
}


NULL = "gaussian-null"  # in a study: Gaussian once more, with other training latents
DIFFAUGMENT = ("color", "translation", "cutout")
REAL_AUGMENT = ("flip", "crop", "rotation")
DATASETS = ("cifar10", "shapes")


def _option(default: Any, help: str, *, same_run: bool = True, **bounds: float) -> Any:
    """A field with its help text and bounds. ``same_run=False``: changing it does not make it another run."""
    metadata = {"help": help, "same_run": same_run, **bounds}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. Raises ``ConfigError`` for an unknown name or a value out of range."""

    preset: str = _option("fast", "the row of the preset table that the other fields started from")

    dataset: str = _option("cifar10", "cifar10, shapes, or the path of a folder of images")
    classes: list[str] = _option([], "class names to train on; none means all")
    split: str = _option("train", "part of the data set")
    resolution: int = _option(32, "image height and width in pixels")
    limit: int = _option(0, "use only the first N images of the selection; 0 means all", low=0)

    prior: str = _option("gaussian", "distribution of the latent z")
    arm: str = _option("standardised", "z with mean 0 and variance 1, z with mean 0, or z as it comes")
    latent_dim: int = _option(100, "number of latent coordinates", low=1)

    conditional: bool = _option(False, "G and D know the class: conditional batch norm, projection discriminator")
    generator: str = _option("upsample", "generator family")
    discriminator: str = _option("strided", "discriminator family")
    g_channels: int = _option(32, "channels of G's last hidden layer; doubled at each lower resolution", low=1)
    d_channels: int = _option(32, "channels of D's first layer; doubled at each lower resolution", low=1)
    d_norm: str = _option("batch", "normalisation in D: of activations over the batch, of weights, or none")
    g_dropout: float = _option(0.0, "share of G's channels dropped while training", low=0, below=1)
    d_dropout: float = _option(0.0, "share of D's channels dropped while training", low=0, below=1)

    minibatch: str = _option("none", "layer of D that compares the images of a batch with each other")

    loss: str = _option("bce", "adversarial loss")
    real_label: float = _option(1.0, "what bce's D is told of real images; under 1 smooths", above=0.5, high=1)
    fake_label: float = _option(0.0, "what bce's D is told of generated images; above 0 smooths", low=0, below=0.5)
    gradient_penalty: float = _option(0.0, "weight of (|D's gradient| - 1)^2 between real and generated images", low=0)
    r1: float = _option(0.0, "gamma of the penalty gamma/2 |D's gradient|^2 on real images", low=0)
    r2: float = _option(0.0, "gamma of the same on generated images", low=0)
    feature_matching: float = _option(0.0, "weight in G's loss of the distance between D's mean features", low=0)
    instance_noise: float = _option(0.0, "standard deviation of Gaussian noise on all of D's inputs", low=0)
    diffaugment: list[str] = _option([], "differentiable augmentations of all of D's inputs")
    real_augment: list[str] = _option([], "augmentations of the real images alone, which G then learns to draw")

    epoch_images: int = _option(0, "images an epoch takes, drawn anew each time; 0 means all that are selected", low=0)
    batch_size: int = _option(64, "images in a batch", low=1)
    g_lr: float = _option(2e-4, "Adam's learning rate for G", above=0)
    d_lr: float = _option(2e-4, "Adam's learning rate for D", above=0)
    beta1: float = _option(0.5, "Adam's first-moment decay", low=0, below=1)
    beta2: float = _option(0.999, "Adam's second-moment decay", low=0, below=1)
    d_steps: int = _option(1, "D updates per G update", low=1)
    ema_half_life: int = _option(
        10_000, "half-life, in images, of the average of G's weights; 0 switches it off", low=0
    )

    epochs: int = _option(
        75, "passes over the selected images; more than before continues the run", same_run=False, low=1
    )
    seed: int = _option(0, "seed of initial weights, batch order, augmentation and latents", low=0)
    latent_seed: int = _option(-1, "another seed for the training latents alone; -1 means the same as seed", low=-1)
    snapshot_epochs: list[int] = _option(
        [], "epochs to draw a grid at; none means 1, 2, 5, 10, 20, 50, ...", same_run=False, low=1
    )
    eval_every: int = _option(5, "epochs between scores of the averaged generator; 0 never", same_run=False, low=0)
    eval_samples: int = _option(1000, "images drawn for each of these scores", same_run=False, low=40)
    eval_extractor: str = _option("cifar_resnet", "what it is scored with", same_run=False)
    judges: list[str] = _option(
        [], "extractors of the final evaluation; none means both that are shipped, of shapes the quick one",
        same_run=False,
    )  # fmt: skip
    checkpoint_seconds: float = _option(60.0, "training time between checkpoints", same_run=False, low=0)
    precision: str = _option("auto", "bf16 autocast where the hardware multiplies bf16, or fp32", same_run=False)
    device: str = _option("auto", "a GPU where there is one, or the CPU", same_run=False)
    compile: bool = _option(False, "torch.compile the networks: the first step waits for it", same_run=False)

    def __post_init__(self) -> None:
        for option in fields(self):
            _check(option, getattr(self, option.name))
            if option.type is float:  # 10 and 10.0 are one run
                object.__setattr__(self, option.name, float(getattr(self, option.name)))
        if self.preset not in PRESETS:
            raise unknown("preset", self.preset, PRESETS)
        lists = {"diffaugment": DIFFAUGMENT, "real_augment": REAL_AUGMENT, "judges": CHOICES["eval_extractor"]}
        for option, valid in lists.items():
            for name in getattr(self, option):
                if name not in valid:
                    raise unknown(option, name, valid)
        if self.dataset not in DATASETS and not any(mark in self.dataset for mark in "/\\."):
            raise ConfigError(
                str(unknown("dataset", self.dataset, DATASETS)) + ", or the path of a folder, as ./images"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes {self.classes} name one class twice; name each once")
        if self.conditional and len(self.classes) == 1:
            raise ConfigError(f"conditional with one class, {self.classes}: name two or more, or none for all")
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Raises ``ConfigError`` for values that are each valid and make no sense together, with the reason."""
        if self.batch_size == 1:
            raise ConfigError(
                "batch_size is 1: batch norm and minibatch layers compare the images of a batch, so give at least 2"
            )
        if self.loss != "bce" and (self.real_label, self.fake_label) != (1.0, 0.0):
            raise ConfigError(
                f"real_label {self.real_label:g} and fake_label {self.fake_label:g} with loss {self.loss}: only bce "
                "has labels to smooth"
            )
        if 0 < self.epoch_images < self.batch_size * self.d_steps:
            raise ConfigError(
                f"epoch_images {self.epoch_images} with batch_size {self.batch_size} and d_steps {self.d_steps}: an "
                f"epoch takes at least the {self.batch_size * self.d_steps} images of one step"
            )
        one_by_one = "the gradient penalty asks D of one image at a time"
        if self.d_norm == "batch" and (self.loss == "wasserstein" or self.gradient_penalty):
            raise ConfigError(
                f"d_norm batch in a critic (loss {self.loss}, gradient_penalty {self.gradient_penalty:g}): "
                f"{one_by_one}, and batch norm mixes them; use d_norm none or spectral"
            )
        if self.loss == "wasserstein" and not self.gradient_penalty and self.d_norm != "spectral":
            raise ConfigError(
                "loss wasserstein without a bound on D's gradient: give gradient_penalty 10 or d_norm spectral"
            )
        if self.minibatch != "none" and self.gradient_penalty:
            raise ConfigError(
                f"minibatch {self.minibatch} with gradient_penalty: {one_by_one}, and that layer compares them"
            )
        if self.compile and (self.gradient_penalty or self.r1 or self.r2):
            raise ConfigError(
                "compile with a penalty on D's gradient (gradient_penalty, r1, r2): torch.compile cannot differentiate "
                "twice; switch it off"
            )
        valid = {"residual": ("spectral", "none"), "r3": ("none",)}.get(self.discriminator)
        if valid and (self.d_norm not in valid or self.minibatch != "none"):
            raise ConfigError(
                f"discriminator {self.discriminator} with d_norm {self.d_norm}, minibatch {self.minibatch}: it takes "
                f"d_norm {' or '.join(valid)}, and minibatch none"
            )
        if self.minibatch == "discrimination" and self.discriminator == "dcgan" and not self.conditional:
            raise ConfigError(
                "minibatch discrimination with discriminator dcgan, which has no dense layer to put it before: use "
                "minibatch deviation, or discriminator strided"
            )

    @classmethod
    def from_preset(cls, preset: str = "fast", **changes: Any) -> "Config":
        """The preset's row with ``changes`` on top. Raises ``ConfigError`` for an unknown preset or field."""
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        return cls.from_dict({"preset": preset, **PRESETS[preset], **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """A config from plain values (JSON, a command line). Raises ``ConfigError`` for an unknown key."""
        names = [option.name for option in fields(cls)]
        for key in values:
            if key not in names:
                raise unknown("parameter", key, names)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> "Config":
        return self.from_dict({**self.to_dict(), **changes})

    def identity(self, data_fingerprint: str) -> str:
        """16 hex digits that two configs share when they are the same run on the same images."""
        decisive = {option.name: getattr(self, option.name) for option in fields(self) if option.metadata["same_run"]}
        decisive["data"] = data_fingerprint
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: "Config") -> list[str]:
        """``field: other's value -> this value`` for every field that makes them different runs."""
        return [
            f"{option.name}: {getattr(other, option.name)!r} -> {getattr(self, option.name)!r}"
            for option in fields(self)
            if option.metadata["same_run"] and getattr(self, option.name) != getattr(other, option.name)
        ]

    def final_judges(self) -> list[str]:
        """The extractors of the final evaluation. Two by default, so that no network is the only judge."""
        quick = self.eval_extractor
        return self.judges or ([quick] if self.dataset == "shapes" else list({quick: 0, "efficientnet_lite0": 0}))

    def snapshots(self) -> list[int]:
        """The epochs after which a grid is drawn; the last one always is."""
        chosen = self.snapshot_epochs or [m * 10**e for e in range(6) for m in (1, 2, 5)]
        return sorted({epoch for epoch in chosen if epoch < self.epochs} | {self.epochs})


def _check(option: dataclasses.Field, value: Any) -> None:
    """Raises ``ConfigError`` unless ``value`` has the field's type, is one of its choices and inside its bounds."""
    name, bounds = option.name, option.metadata
    items = value if isinstance(option_default(option), list) else [value]
    if not isinstance(items, list):
        raise ConfigError(f"{name} is {value!r}, not a list: write {name}=[{value!r}]")
    kind = {"classes": str, "diffaugment": str, "real_augment": str, "judges": str, "snapshot_epochs": int}.get(
        name, option.type
    )
    for item in items:
        if isinstance(item, bool) != (kind is bool) or not isinstance(item, (int, float) if kind is float else kind):
            raise ConfigError(f"{name} is {item!r}, a {type(item).__name__}: it takes {_article(kind)}")
        if name in CHOICES and item not in CHOICES[name]:
            raise unknown(name, item, CHOICES[name])
        if kind in (int, float) and not (
            math.isfinite(item)
            and item >= bounds.get("low", -math.inf)
            and item > bounds.get("above", -math.inf)
            and item < bounds.get("below", math.inf)
            and item <= bounds.get("high", math.inf)
        ):
            ranges = {"low": "at least", "above": "above", "below": "below", "high": "at most"}
            valid = " and ".join(f"{ranges[key]} {bounds[key]:g}" for key in ranges if key in bounds)
            raise ConfigError(f"{name} is {item}: it must be {valid or 'finite'}")


def option_default(option: dataclasses.Field) -> Any:
    """The default of a config field, lists included."""
    return option.default if option.default is not dataclasses.MISSING else option.default_factory()


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[kind]
