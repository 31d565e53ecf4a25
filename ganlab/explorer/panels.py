"""The explorer's panels: sliders over trained generators, for JupyterLab and Voila.

Each panel is a function that returns one widget. Only the newest position of a slider is drawn; older ones that still
wait are skipped. A run that is missing or broken is a sentence in the panel.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import numpy as np
import torch

from ganlab import priors
from ganlab.errors import GanlabError
from ganlab.explorer.generators import LoadedGenerator, read
from ganlab.explorer.parts import (
    STYLE,
    Shown,
    Slider,
    captioned,
    file_name,
    framed,
    nothing,
    pixels,
    run_choice,
    seed_control,
)  # fmt: skip
from ganlab.latents import REACH
from ganlab.scoring.evaluate import neighbours, references

SIDE = 224  # of a picture on the screen, in pixels
SMALL = 112  # the same where several stand side by side


def interpolation(folders: Sequence[str]) -> ipywidgets.Widget:
    """Moves between two seeds: t, path, truncation (if the prior allows it), class (if the run is conditional), and on
    demand the nearest training image."""
    if not folders:
        return nothing("interpolation")
    run = run_choice(folders, "interpolation")
    (first, first_row), (second, second_row) = seed_control("from seed", 1), seed_control("to seed", 2)
    t = Slider(description="t")
    path = ipywidgets.Dropdown(options=list(priors.PATHS), description="path", style=STYLE)
    share = Slider(description="truncation", value=1.0, low=0.05, step=0.05)
    name = ipywidgets.Dropdown(options=[], description="class", style=STYLE)
    near = ipywidgets.Checkbox(False, description="nearest training image", indent=False)

    def fit_run(_: object = None) -> None:
        """Offers what the run has: truncation, classes."""
        try:
            trained = read(run.value)
        except GanlabError:
            return  # the panel says it
        share.disabled = not trained.prior.truncatable
        name.options = trained.config.classes if trained.config.conditional else []
        name.layout.display = None if trained.config.conditional else "none"

    def latents(trained: LoadedGenerator) -> torch.Tensor:
        ends = [trained.uniforms(seed.value) for seed in (first, second)]
        if trained.prior.truncatable:
            ends = [trained.prior.truncate(u, share.value) for u in ends]
        return priors.PATHS[path.value](trained.prior, *ends, t.value)

    def show() -> Shown:
        trained = read(run.value)
        z = latents(trained)
        drawn = trained.draw(z, name.value)
        shown = captioned(drawn, f"t = {t.value:.2f}", SIDE)
        if near.value:
            found, distance = neighbours(drawn[None], references(trained.config)[0])
            shown += captioned(found[0], f"nearest training image, {distance[0]:.2f} away", SIDE)
        said = "" if trained.prior.truncatable else f"truncation is not defined for {trained.prior.name}"
        truncated = f"share{share.value:.2f}" if share.value < 1 else ""
        words = (Path(run.value).name, name.value, path.value, first.value, second.value, f"t{t.value:.2f}", truncated)
        arrays = {"latents": z.numpy(), "run": np.array(run.value), "class": np.array(name.value or "")}
        return shown, said, file_name(*words), pixels(drawn), arrays

    run.observe(fit_run, "value")
    fit_run()
    rows = (run, first_row, second_row, t, path, share, name, near)
    return framed(show, (run, first, second, t, path, share, name, near), rows)


def every_prior(folders: dict[str, str]) -> ipywidgets.Widget:
    """One point of uniforms through every prior's inverse CDF into that prior's own generator, side by side.

    folders: prior -> its run, all of one latent size. Sliders: the way from one seed to another, and three fixed
    directions in which the uniforms' Gaussian scores are pushed (and brought back to their length), so that every
    setting is a point that each prior may draw.
    """
    if not folders:
        return nothing("every prior")
    (first, first_row), (second, second_row) = seed_control("from seed", 1), seed_control("to seed", 2)
    t = Slider(description="t")
    pushes = [Slider(description=f"push {place}", low=-1.0, step=0.02) for place in (1, 2, 3)]

    def latents(trained: LoadedGenerator) -> torch.Tensor:
        def scores(seed: int) -> torch.Tensor:
            return priors.scores(trained.uniforms(seed))

        ends = (1 - t.value) * scores(first.value) + t.value * scores(second.value)
        between = ends / math.hypot(1 - t.value, t.value)
        moved = between + sum(push.value * scores(-1 - place) for place, push in enumerate(pushes))
        return trained.prior.icdf(torch.special.ndtr(moved * between.norm() / moved.norm()))

    def show() -> Shown:
        drawn, arrays, errors = {}, {}, []
        for name, folder in folders.items():
            try:
                trained = read(folder)
                z = latents(trained)
                drawn[name], arrays[name] = trained.draw(z), z.numpy()
            except GanlabError as error:
                errors.append(str(error))
        if not drawn:
            raise GanlabError("; ".join(errors))
        if len({image.shape for image in drawn.values()}) > 1:
            raise GanlabError("these runs draw images of different sizes: name runs of one resolution")
        words = ["priors", first.value, second.value, f"t{t.value:.2f}", *(f"{push.value:+.2f}" for push in pushes)]
        shown = "".join(captioned(image, name, SMALL) for name, image in drawn.items())
        sheet = np.concatenate([pixels(image) for image in drawn.values()], 1)
        return shown, "; ".join(errors), file_name(*words), sheet, arrays

    return framed(show, (first, second, t, *pushes), (first_row, second_row, t, *pushes))


def directions(folders: Sequence[str], k: int = 5) -> ipywidgets.Widget:
    """A slider for each of the generator's k leading directions (``latents.directions``), from the latent of a seed."""
    if not folders:
        return nothing("directions")
    run = run_choice(folders, "directions")
    seed, seed_row = seed_control("seed", 1)
    sliders = [Slider(description=f"direction {place + 1}", low=-REACH, high=REACH, step=0.1) for place in range(k)]
    back = ipywidgets.Button(description="back to the seed", tooltip="directions: all sliders to 0")

    def latents(trained: LoadedGenerator) -> torch.Tensor:
        return trained.along(trained.prior.icdf(trained.uniforms(seed.value)), [slider.value for slider in sliders])

    def show() -> Shown:
        trained = read(run.value)
        z = latents(trained)
        drawn = trained.draw(z)
        words = (Path(run.value).name, "directions", seed.value, *(f"{slider.value:+.1f}" for slider in sliders))
        arrays = {"latents": z.numpy(), "run": np.array(run.value)}
        return captioned(drawn, f"seed {seed.value}", SIDE), "", file_name(*words), pixels(drawn), arrays

    def reset(_: object) -> None:
        for slider in sliders:
            slider.value = 0.0

    back.on_click(reset)
    return framed(show, (run, seed, *sliders), (run, seed_row, *sliders, back))
