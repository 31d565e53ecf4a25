"""Every figure: takes tables and images, returns matplotlib figures."""

from ganlab.figures.images import animation, directions, images, named_sheet, neighbours, real_and_generated, truncation
from ganlab.figures.presets import presets_accuracies, presets_games, presets_race
from ganlab.figures.scores import class_histogram, classification, precision_recall, race
from ganlab.figures.study import (
    arrows,
    collapse,
    duplicates,
    forest,
    forest_cells,
    interpolation_strips,
    latent_distributions,
    learning_curves,
    precision_recall_plane,
    prior_grids,
    swap_heatmap,
    verdict,
)
from ganlab.figures.style import COLOURS, new_figure, show
from ganlab.figures.training import curves, draw_curves, score_curves, snapshots

__all__ = [
    "COLOURS", "animation", "arrows", "class_histogram", "classification", "collapse", "curves", "directions",
    "draw_curves", "duplicates", "forest", "forest_cells", "images", "interpolation_strips", "latent_distributions",
    "learning_curves", "named_sheet", "neighbours", "new_figure", "precision_recall", "precision_recall_plane",
    "presets_accuracies", "presets_games", "presets_race", "prior_grids", "race", "real_and_generated",
    "score_curves", "show", "snapshots", "swap_heatmap", "truncation", "verdict",
]  # fmt: skip
