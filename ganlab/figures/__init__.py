"""Every figure: takes tables and images, returns matplotlib figures."""

from ganlab.figures.images import animation, directions, images, named_sheet, neighbours, real_and_generated, truncation
from ganlab.figures.latents import by_size, interpolation_strips, prior_grids, prior_shapes, ridges, swap_heatmap
from ganlab.figures.networks import blocks
from ganlab.figures.presets import presets_race
from ganlab.figures.scores import class_histogram, classification, precision_recall, race
from ganlab.figures.study import conditions, latent_size, learning_curves, no_effect, primary, secondary, takeoff
from ganlab.figures.style import COLOURS, new_figure, show
from ganlab.figures.training import curves, draw_curves, score_curves, snapshots

__all__ = [
    "COLOURS", "animation", "blocks", "by_size", "class_histogram", "classification", "conditions", "curves",
    "directions", "draw_curves", "images", "interpolation_strips", "latent_size", "learning_curves", "named_sheet",
    "neighbours", "new_figure", "no_effect", "precision_recall", "presets_race", "primary", "prior_grids",
    "prior_shapes", "race", "real_and_generated", "ridges", "score_curves", "secondary", "show", "snapshots",
    "swap_heatmap", "takeoff", "truncation",
]  # fmt: skip
