"""What all figures of priors share: one colour and one place a prior, and rows."""

from collections.abc import Iterable

import matplotlib.pyplot as plt

from ganlab import priors
from ganlab.figures.style import COLOURS

# Gaussian is black. The core priors have the colours of Okabe & Ito less yellow, the extended ones darker colours and
# squares: 14 hues alone cannot be told apart. A prior that is added is grey until it gets a colour here.
CORE_COLOURS = ("#1a1a1a", *(COLOURS[place] for place in (1, 2, 3, 4, 9, 0)))
EXTENDED_COLOURS = ("#006374", "#001c7f", "#ca9161", "#8c0800", "#591e71", "#12711c", "#b8850a")
PALETTE = dict(zip(priors.PRIORS, CORE_COLOURS + EXTENDED_COLOURS, strict=False))


def colour(prior: str) -> str:
    """The prior's colour, the same in every figure; ``exponential-raw`` has that of exponential."""
    return PALETTE.get(prior.split("-")[0], "0.4")


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of ``priors.PRIORS``."""
    known = list(priors.PRIORS)
    return sorted(dict.fromkeys(names), key=lambda name: (known.index(name.split("-")[0]), name))


def marker(prior: str) -> str:
    return "s" if prior.split("-")[0] in priors.EXTENDED else "o"


def prior_rows(axis: plt.Axes, names: list[str]) -> None:
    """A row for each name, the first on top."""
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(visible=False, axis="y")
