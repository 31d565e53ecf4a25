"""A run's recipe as a table for reading: each part, what it does, the paper it follows, and its code."""

import os
from pathlib import Path

from ganlab.choices import AUGMENTATIONS, DISCRIMINATORS, GENERATORS, LOSSES, REAL_AUGMENTATIONS
from ganlab.config import Config

ROOT = Path(__file__).parent.parent
DCGAN = ("Radford 2016", "1511.06434")
MIYATO = ("Miyato 2018", "1802.05957")
ZHAO = ("Zhao 2020", "2006.10738")
SALIMANS = ("Salimans 2016", "1606.03498")
# (field, value) -> what it does, and the paper as (author and year, arXiv number)
PARTS = {
    ("generator", "upsample"): ("doubles the image, then convolves; repeats", ("Karras 2018", "1710.10196")),
    ("generator", "transposed"): ("transposed convolutions, no dense layer", DCGAN),
    ("generator", "dense_transposed"): ("a dense layer, then transposed convolutions", DCGAN),
    ("generator", "residual"): ("residual blocks", MIYATO),
    ("generator", "r3"): ("residual blocks without norm", ("Huang 2024", "2501.05441")),
    ("discriminator", "strided"): ("convolutions with stride 2", DCGAN),
    ("discriminator", "dcgan"): ("DCGAN's, no dense layer", DCGAN),
    ("discriminator", "sngan"): ("SNGAN's plain network", MIYATO),
    ("discriminator", "residual"): ("residual blocks", MIYATO),
    ("discriminator", "r3"): ("residual blocks without norm", ("Huang 2024", "2501.05441")),
    ("discriminator", "projected"): ("small heads on a frozen classifier's features", ("Sauer 2021", "2111.01007")),
    ("loss", "bce"): ("cross-entropy; G maximises log D", ("Goodfellow 2014", "1406.2661")),
    ("loss", "least_squares"): ("squared distance from the label", ("Mao 2017", "1611.04076")),
    ("loss", "hinge"): ("D stops learning from what it is sure of", ("Lim and Ye 2017", "1705.02894")),
    ("loss", "wasserstein"): ("difference of D's means", ("Arjovsky 2017", "1701.07875")),
    ("loss", "relativistic"): ("compares a real with a generated image", ("Jolicoeur-Martineau 2018", "1807.00734")),
    ("d_norm", "spectral"): ("bounds how steep D is", MIYATO),
    ("d_norm", "batch"): ("normalises D's layers over the batch", ("Ioffe 2015", "1502.03167")),
    ("minibatch", "discrimination"): ("D compares the images of a batch", SALIMANS),
    ("minibatch", "deviation"): ("D sees how varied a batch is", ("Karras 2018", "1710.10196")),
    ("diffaugment", "color"): ("D sees all images in other colours", ZHAO),
    ("diffaugment", "translation"): ("D sees all images shifted", ZHAO),
    ("diffaugment", "cutout"): ("D sees all images with a hole", ZHAO),
    ("diffaugment", "flip"): ("D sees every second image mirrored", ZHAO),
    ("real_augment", "flip"): ("every second real image mirrored", None),
    ("real_augment", "crop"): ("real images shifted; G learns the margin too", None),
    ("real_augment", "rotation"): ("real images turned; G learns the turn too", None),
}
# a number that is not 0 -> the same, and the code
WEIGHTS = {
    "gradient_penalty": ("keeps D's gradient near 1", ("Gulrajani 2017", "1704.00028"), "training/losses.py"),
    "r1": ("penalises D's gradient on real images", ("Mescheder 2018", "1801.04406"), "training/losses.py"),
    "r2": ("the same on generated images", ("Mescheder 2018", "1801.04406"), "training/losses.py"),
    "feature_matching": ("G matches the means of D's features", SALIMANS, "training/losses.py"),
    "instance_noise": ("noise on all of D's inputs", ("Sonderby 2017", "1610.04490"), "training/augment.py"),
    "ema_half_life": ("G's weights, averaged over the last images", ("Karras 2018", "1710.10196"), "networks/ema.py"),
    "g_lr": ("Adam's step for G", ("Kingma 2015", "1412.6980"), "training/step.py"),
    "d_lr": ("Adam's step for D", ("Kingma 2015", "1412.6980"), "training/step.py"),
}
TABLES = {
    "generator": GENERATORS, "discriminator": DISCRIMINATORS, "loss": LOSSES,
    "diffaugment": AUGMENTATIONS, "real_augment": REAL_AUGMENTATIONS,
}  # fmt: skip


def recipe(config: Config, page: Path) -> str:
    """A Markdown table, a row a part that the config switches on. page: the folder of the page that shows it, from
    which the links to the code lead."""
    lines = ["| part | value | what it does | paper | code |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(field for field, _ in PARTS):
        chosen = getattr(config, name)
        for value in chosen if isinstance(chosen, list) else [chosen]:
            words, paper = PARTS.get((name, value), ("", None))  # a part that was added has no words yet
            if words or name in TABLES:
                lines.append(_line(name, value, words, paper, _code(name, value), page))
    for name, (words, paper, code) in WEIGHTS.items():
        if number := getattr(config, name):
            lines.append(_line(name, f"{number:g}", words, paper, code, page))
    return "\n".join(lines)


def _code(name: str, value: str) -> str:
    row = TABLES.get(name, {}).get(value)
    return f"{row.rpartition('.')[0].replace('.', '/')}.py" if isinstance(row, str) else "networks/layers.py"


def _line(name: str, value: str, words: str, paper: tuple[str, str] | None, code: str, page: Path) -> str:
    source = f"[{paper[0]}](https://arxiv.org/abs/{paper[1]})" if paper else ""
    place = os.path.relpath(ROOT / "ganlab" / code, page)
    return f"| {name} | {value} | {words} | {source} | [{code}]({place}) |"
