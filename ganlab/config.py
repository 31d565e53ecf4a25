"""What a run is: one frozen dataclass of scalars, strings and lists.

A papermill parameters cell, a command line and a JSON file all say the same thing with it. A field states its help,
group, choices and bounds once: the command line and the checks read them here. Imports nothing heavy, so a typing
mistake is answered at once.
"""

import dataclasses
import hashlib
import json
import math
import shlex
import types
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from ganlab.choices import AUGMENTATIONS, DISCRIMINATORS, EXTRACTORS, GENERATORS, LOSSES, REAL_AUGMENTATIONS
from ganlab.combinations import COMBINATIONS
from ganlab.errors import ConfigError, unknown
from ganlab.presets import PRESETS
from ganlab.priors import PRIORS, SCALINGS

DATASETS = ("cifar10", "shapes")
# What the parameters cell of the experiment names; every other field goes into its ``settings``.
NOTEBOOK_PARAMETERS = ("preset", "dataset", "classes", "prior", "scaling", "latent_dim", "epochs", "seed")
RENAMED = {"arm": "scaling"}  # what older runs call a field


def _option(
    group: str, default: Any, help: str, *, choices: Collection[Any] = (), same_run: bool = True, **bounds: float
) -> Any:
    """A field with its group in ``--help``, its help text, choices and bounds.

    choices: of the value, or of every item of a list. same_run=False: changing it does not make it another run.
    """
    metadata = {"group": group, "help": help, "choices": choices, "same_run": same_run, **bounds}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. Raises ``ConfigError`` for an unknown name or a value out of range."""

    preset: str = _option("run", "fast", "the recipe that the other fields start from", choices=PRESETS)

    dataset: str = _option("data", "cifar10", "cifar10, shapes, or the path of a folder of images")
    classes: list[str] = _option("data", [], "class names to train on; none means all")
    split: str = _option("data", "train", "part of the data set", choices=("train", "test"))
    resolution: int = _option("data", 32, "image height and width in pixels", choices=(32, 64, 128))
    limit: int = _option("data", 0, "use only the first N images of the selection; 0 means all", low=0)

    prior: str = _option("latent", "gaussian", "distribution of the latent z", choices=PRIORS)
    scaling: str = _option("latent", "standardised", "mean 0 and variance 1, mean 0, or as it comes", choices=SCALINGS)
    latent_dim: int = _option("latent", 100, "number of latent coordinates", low=1, high=100_000)

    conditional: bool = _option("networks", False, "G and D know the class: its norms, its projection")
    generator: str = _option("networks", "upsample", "generator family", choices=GENERATORS)
    discriminator: str = _option("networks", "strided", "discriminator family", choices=DISCRIMINATORS)
    g_channels: int = _option(
        "networks", 32, "channels of G's last layer; doubled at each lower resolution", low=1, high=4_096
    )
    d_channels: int = _option(
        "networks", 32, "channels of D's first layer; doubled at each lower resolution", low=1, high=4_096
    )
    d_norm: str = _option(
        "networks",
        "batch",
        "D normalises over the batch, its weights, or nothing",
        choices=("batch", "spectral", "none"),
    )
    g_dropout: float = _option("networks", 0.0, "share of G's channels dropped while training", low=0, below=1)
    d_dropout: float = _option("networks", 0.0, "share of D's channels dropped while training", low=0, below=1)

    feature_network: str = _option(
        "networks", "", "file of the frozen network that D projected looks through; none means the shipped one"
    )

    minibatch: str = _option(
        "networks",
        "none",
        "D's layer that compares the images of a batch",
        choices=("none", "discrimination", "deviation"),
    )

    loss: str = _option("loss", "bce", "adversarial loss", choices=LOSSES)
    real_label: float = _option("loss", 1.0, "bce's label of real images; under 1 smooths", above=0.5, high=1)
    fake_label: float = _option("loss", 0.0, "bce's label of generated images; above 0 smooths", low=0, below=0.5)
    gradient_penalty: float = _option("loss", 0.0, "weight of (|D's gradient| - 1)^2 between real and fake", low=0)
    r1: float = _option("loss", 0.0, "gamma of the penalty gamma/2 |D's gradient|^2 on real images", low=0)
    r2: float = _option("loss", 0.0, "gamma of the same on generated images", low=0)
    feature_matching: float = _option("loss", 0.0, "weight of the distance between D's mean features", low=0)
    instance_noise: float = _option("augment", 0.0, "deviation of Gaussian noise on all of D's inputs", low=0)
    diffaugment: list[str] = _option("augment", [], "augmentations of all of D's inputs", choices=AUGMENTATIONS)
    real_augment: list[str] = _option(
        "augment", [], "of real images alone: G learns to draw them", choices=REAL_AUGMENTATIONS
    )

    epoch_images: int = _option("data", 0, "images an epoch takes, drawn anew each time; 0 means all", low=0)
    batch_size: int = _option("optimiser", 64, "images in a batch", low=1, high=1_000_000)
    g_lr: float = _option("optimiser", 2e-4, "Adam's learning rate for G", above=0)
    d_lr: float = _option("optimiser", 2e-4, "Adam's learning rate for D", above=0)
    beta1: float = _option("optimiser", 0.5, "Adam's first-moment decay", low=0, below=1)
    beta2: float = _option("optimiser", 0.999, "Adam's second-moment decay", low=0, below=1)
    d_steps: int = _option("optimiser", 1, "D updates per G update", low=1, high=10_000)
    ema_half_life: int = _option("optimiser", 10_000, "half-life in images of G's average; 0 switches it off", low=0)

    epochs: int = _option(
        "run", 75, "passes over the images; more than before continues the run", same_run=False, low=1, high=10**9
    )
    seed: int = _option("run", 0, "seed of initial weights, batch order, augmentation and latents", low=0)
    latent_seed: int = _option("run", -1, "seed of the training latents alone; -1 means the same", low=-1)
    snapshot_epochs: list[int] = _option(
        "run", [], "epochs to draw a grid at; none means 1, 2, 5, 10, ...", same_run=False, low=1
    )
    eval_every: int = _option("scores", 5, "epochs between scores of the average; 0 never", same_run=False, low=0)
    eval_samples: int = _option(
        "scores", 1000, "images drawn for each of these scores", same_run=False, low=40, high=1_000_000
    )
    eval_extractor: str = _option(
        "scores", "cifar_resnet", "what it is scored with", choices=EXTRACTORS, same_run=False
    )
    judges: list[str] = _option(
        "scores",
        [],
        "of the final evaluation; none means both, of shapes the quick one",
        choices=EXTRACTORS,
        same_run=False,
    )
    checkpoint_seconds: float = _option("run", 60.0, "training time between checkpoints", same_run=False, low=0)
    precision: str = _option(
        "machine",
        "auto",
        "bf16 autocast where the hardware has it, or fp32",
        choices=("auto", "bf16", "fp32"),
        same_run=False,
    )
    device: str = _option(
        "machine", "auto", "a GPU where there is one, or the CPU", choices=("auto", "cpu", "cuda"), same_run=False
    )
    compile: bool = _option("machine", False, "torch.compile the networks: the first step waits for it", same_run=False)

    def __post_init__(self) -> None:
        for option in fields(self):
            _check(option, getattr(self, option.name))
            if option.type is float:  # 10 and 10.0 are one run
                object.__setattr__(self, option.name, float(getattr(self, option.name)))
        if self.dataset not in DATASETS and not any(mark in self.dataset for mark in "/\\."):
            raise ConfigError(
                str(unknown("dataset", self.dataset, DATASETS)) + ", or the path of a folder, as ./images"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes {self.classes} name one class twice; name each once")
        if self.conditional and len(self.classes) == 1:
            raise ConfigError(f"conditional with one class, {self.classes}: name two or more, or none for all")
        for refuse in COMBINATIONS:
            refuse(self)

    @classmethod
    def from_preset(cls, preset: str = "fast", **changes: Any) -> "Config":
        """The preset's row with ``changes`` on top. Raises ``ConfigError`` for an unknown preset or field."""
        if not isinstance(preset, str) or preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        return cls.from_dict({"preset": preset, **PRESETS[preset], **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """A config from plain values (JSON, a command line). Raises ``ConfigError`` for an unknown key."""
        values = {RENAMED.get(key, key): value for key, value in values.items()}
        names = [option.name for option in fields(cls)]
        for key in values:
            if key not in names:
                raise unknown("parameter", key, names)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> "Config":
        return self.from_dict({**self.to_dict(), **changes})

    @property
    def label_count(self) -> int:
        """How many classes G and D are told; 0 where they are told none."""
        return len(self.classes) if self.conditional else 0

    def resolved(self, names: list[str], precision: str) -> "Config":
        """This config with what it leaves to the data and the machine: a run has one config.

        names: the data's classes, which a conditional generator must know by name. precision: what ``auto`` means here.
        """
        return self.replace(
            classes=names if self.conditional else self.classes,
            precision=precision if self.precision == "auto" else self.precision,
        )

    def identity(self, data_fingerprint: str) -> str:
        """16 hex digits that two configs share when they are the same run on the same images."""
        decisive = {option.name: getattr(self, option.name) for option in fields(self) if option.metadata["same_run"]}
        decisive["data"] = data_fingerprint
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: "Config") -> list[str]:
        """``field: other's value -> this value`` for every field that makes them different runs.

        A conditional config without classes means all of them, which a resolved one names.
        """
        means_all = self.conditional and not self.classes
        return [
            f"{option.name}: {getattr(other, option.name)!r} -> {getattr(self, option.name)!r}"
            for option in fields(self)
            if option.metadata["same_run"]
            and getattr(self, option.name) != getattr(other, option.name)
            and not (option.name == "classes" and means_all)
        ]

    def final_judges(self) -> list[str]:
        """The extractors of the final evaluation. Two by default, so that no network is the only judge."""
        quick = self.eval_extractor
        return self.judges or ([quick] if self.dataset == "shapes" else list({quick: 0, "efficientnet_lite0": 0}))

    def snapshots(self) -> list[int]:
        """The epochs after which a grid is drawn; the last one always is."""
        chosen = self.snapshot_epochs or [m * 10**e for e in range(6) for m in (1, 2, 5)]
        return sorted({epoch for epoch in chosen if epoch < self.epochs} | {self.epochs})


def command(config: Config, out: object, name: str = "train") -> str:
    """The shell command that makes this run: every option that differs from the preset, quoted."""
    usual = Config.from_preset(config.preset)
    words = ["ganlab", name, "--preset", config.preset]
    for option in fields(config):
        value = getattr(config, option.name)
        if option.name == "preset" or value == getattr(usual, option.name):
            continue
        flag = f"--{option.name.replace('_', '-')}"
        if option.type is bool:
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([*words, "--out", str(out)])


# --- what is refused ------------------------------------------------------------------------------------------------


def item_type(option: dataclasses.Field) -> type:
    """The type of a field's value, or of the items of its list."""
    return get_args(option.type)[0] if isinstance(option.type, types.GenericAlias) else option.type


def option_default(option: dataclasses.Field) -> Any:
    """The default of a config field, lists included."""
    return option.default if option.default is not dataclasses.MISSING else option.default_factory()


def _check(option: dataclasses.Field, value: Any) -> None:
    """Raises ``ConfigError`` unless ``value`` has the field's type, is one of its choices and inside its bounds."""
    name, kind, choices = option.name, item_type(option), option.metadata["choices"]
    items = value if kind is not option.type else [value]
    if not isinstance(items, list):
        raise ConfigError(f"{name} is {value!r}, not a list: write {name}=[{value!r}]")
    for item in items:
        if isinstance(item, bool) != (kind is bool) or not isinstance(item, (int, float) if kind is float else kind):
            raise ConfigError(f"{name} is {item!r}, a {type(item).__name__}: it takes {ARTICLES[kind]}")
        if choices and item not in choices:
            raise unknown(name, item, choices)
        if kind in (int, float):
            _check_bounds(name, item, option.metadata)
        if kind is str and not (len(item) <= 4096 and item.isprintable()):
            raise ConfigError(f"{name} is {item[:100]!r}: a name has at most 4,096 characters, all of them printable")
        if name == "classes" and (set(item) & set("/\\") or item in ("", ".", "..")):
            raise ConfigError(f"the class {item!r} is no plain name: classes become folders, give it without / and \\")


LARGEST = 2**63 - 1  # what a counter, and torch's generators, hold
ARTICLES = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def _check_bounds(name: str, item: float, bounds: Any) -> None:
    inside = (
        (abs(item) <= LARGEST if isinstance(item, int) else math.isfinite(item))
        and item >= bounds.get("low", -math.inf)
        and item > bounds.get("above", -math.inf)
        and item < bounds.get("below", math.inf)
        and item <= bounds.get("high", math.inf)
    )
    if not inside:
        ranges = {"low": "at least", "above": "above", "below": "below", "high": "at most"}
        valid = " and ".join(f"{ranges[key]} {bounds[key]:g}" for key in ranges if key in bounds)
        said = str(item) if isinstance(item, float) or abs(item) < 10**30 else "a number of more than 30 digits"
        raise ConfigError(f"{name} is {said}: it must be {valid or 'finite and below 2^63'}")
