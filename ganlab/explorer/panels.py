"""The explorer's panels: sliders over trained generators, for JupyterLab and Voila.

Each panel is a function that returns one widget. What a move changes is drawn once its messages are read: moves that
were overtaken are dropped. A run that is missing or broken is a sentence in the panel.
"""

import asyncio
import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from PIL import Image
from torch import nn

from ganlab import latents as latent_space
from ganlab import priors
from ganlab.config import Config
from ganlab.errors import GanlabError
from ganlab.files import write_atomic, write_npz, write_png
from ganlab.latents import REACH
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.scoring.evaluate import neighbours, references

SIDE = 224  # of a picture on the screen, in pixels
SMALL = 112  # the same where several stand side by side
SAVED = Path("results/saved")  # what the save button writes


@dataclass(frozen=True)
class Trained:
    """A generator that was read, with what it takes to feed it."""

    generator: nn.Module
    config: Config
    prior: priors.Prior

    def uniforms(self, seed: int) -> torch.Tensor:
        """(1, d): the point of latent space that a seed names, the same for every prior."""
        return priors.uniforms(1, self.config.latent_dim, torch.Generator().manual_seed(seed))

    def draw(self, latents: torch.Tensor, name: str | None = None) -> torch.Tensor:
        """uint8 (3, R, R) of latents (1, d); name: the class, of a conditional run, by default its first."""
        labels = torch.tensor([self.config.classes.index(name) if name else 0]) if self.config.conditional else None
        return generate(self.generator, latents, labels)[0]

    @cached_property
    def directions(self) -> torch.Tensor:
        """(d, d) unit vectors, the one that changes most first."""
        return latent_space.directions(self.generator, self.config.latent_dim)[0]

    def along(self, latents: torch.Tensor, steps: Sequence[float]) -> torch.Tensor:
        """Latents (n, d) moved along the leading directions, ``steps`` in standard deviations of a coordinate."""
        ways = self.directions[: len(steps)]
        return latents + self.prior.at(latents.shape[1]).std * torch.tensor(steps[: len(ways)]) @ ways


def available(root: str | Path = "results") -> list[str]:
    """The folders under ``root`` that hold a trained generator, in order of their names."""
    return sorted(str(path.parent) for path in Path(root).rglob("generator.safetensors"))


@lru_cache(maxsize=32)
def _read(folder: str, changed: int) -> Trained:
    generator, config = Run(folder).read_generator()
    return Trained(generator, config, priors.get(config.prior, config.arm))


def read(folder: str | Path) -> Trained:
    """The generator of a run's folder, read once while its file stays the same. Raises ``RunError``."""
    path = Path(folder) / "generator.safetensors"
    return _read(str(folder), path.stat().st_mtime_ns if path.exists() else 0)


# --- parts ----------------------------------------------------------------------------------------------------------


class Latest:
    """Calls ``draw`` once for any number of requests that come before its turn."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self.draw, self.waiting = draw, False

    def __call__(self, _: object = None) -> None:
        if self.waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: a test, or a script
            self.draw()
            return
        self.waiting = True
        loop.call_soon(self._run)

    def _run(self) -> None:
        self.waiting = False
        self.draw()


def _captioned(image: torch.Tensor, caption: str, side: int) -> str:
    """HTML of an image uint8 (3, R, R), enlarged without smoothing, with words that are read aloud as well."""
    file = io.BytesIO()
    Image.fromarray(_pixels(image)).save(file, format="PNG", compress_level=1)
    data = base64.b64encode(file.getvalue()).decode()
    words = html.escape(caption)
    return (
        '<figure style="display: inline-block; margin: 4px; text-align: center">'
        f'<img alt="{words}" width="{side}" height="{side}" style="image-rendering: pixelated" '
        f'src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'
    )


STYLE = {"description_width": "130px"}


class Slider(anywidget.AnyWidget):
    """The browser's own slider with its label: by mouse, touch and keyboard, and with a name that is read aloud, which
    the handle of ``ipywidgets.FloatSlider`` has not. A value that is overtaken while the kernel is busy is not sent."""

    value = traitlets.Float(0.0).tag(sync=True)
    low = traitlets.Float(0.0).tag(sync=True)
    high = traitlets.Float(1.0).tag(sync=True)
    step = traitlets.Float(0.01).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    _esm = """
    function render({ model, el }) {
      const label = document.createElement("label"), name = document.createElement("span");
      const slider = document.createElement("input"), reading = document.createElement("span");
      slider.type = "range";
      for (const [attribute, trait] of [["min", "low"], ["max", "high"], ["step", "step"]])
        slider.setAttribute(attribute, model.get(trait));
      slider.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
      name.textContent = model.get("description");
      slider.setAttribute("aria-label", model.get("description"));
      const follow = () => {
        slider.value = model.get("value");
        slider.disabled = model.get("disabled");
        reading.textContent = model.get("value").toFixed(2);
      };
      slider.addEventListener("input", () => {
        model.set("value", Number(slider.value));
        model.save_changes();
      });
      model.on("change:value", follow);
      model.on("change:disabled", follow);
      follow();
      label.append(name, slider, reading);
      el.append(label);
    }
    export default { render };
    """
    _css = """
    .ganlab-slider label { display: flex; align-items: center; gap: 8px; font-size: 13px; line-height: 28px; }
    .ganlab-slider span:first-child { width: 130px; text-align: right; }
    .ganlab-slider input { width: 220px; }
    """


def _slider(words: str, value: float, low: float, high: float, step: float) -> Slider:
    slider = Slider(value=value, low=low, high=high, step=step, description=words)
    slider.add_class("ganlab-slider")
    return slider


def _seed(words: str, value: int) -> tuple[ipywidgets.BoundedIntText, ipywidgets.HBox]:
    """A seed and its row: the number, the one before, the one after, another at random."""
    number = ipywidgets.BoundedIntText(value, min=0, max=2**31 - 1, description=words, style=STYLE,
                                       layout={"width": "240px"})  # fmt: skip

    def button(label: str, change: Callable[[int], int]) -> ipywidgets.Button:
        made = ipywidgets.Button(description=label, tooltip=f"{words}: {label}", layout={"width": "76px"})
        made.on_click(lambda _: setattr(number, "value", change(number.value)))
        return made

    stream = np.random.default_rng()
    steps = (
        button("previous", lambda seed: max(seed - 1, 0)),
        button("next", lambda seed: seed + 1),
        button("random", lambda _: int(stream.integers(0, 100_000))),
    )
    return number, ipywidgets.HBox([number, *steps])


def _run_choice(folders: Sequence[str], panel: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=[str(folder) for folder in folders], description="run", style=STYLE,
                               tooltip=f"{panel}: the run", layout={"width": "560px"})  # fmt: skip


def _panel(
    show: Callable[[], tuple[str, str]],
    keep: Callable[[], tuple[str, np.ndarray, dict[str, np.ndarray]]],
    controls: Sequence[ipywidgets.Widget],
    rows: Sequence[ipywidgets.Widget],
) -> ipywidgets.Widget:
    """The rows, below them the pictures, a save button and a line for what there is to say.

    show: () -> (HTML of the pictures, what to say); keep: () -> (name, picture uint8 (H, W, 3), arrays) to save. Both
    are for the values of the moment. controls: those whose change draws anew. What is expected to go wrong (a missing
    run, a damaged file, a full disk) is said, not raised.
    """
    pictures, line = ipywidgets.HTML(), ipywidgets.HTML()
    button = ipywidgets.Button(description="save", tooltip=f"save the picture and its latents in {SAVED}")

    def say(words: str) -> None:
        line.value = f'<span role="status">{html.escape(words)}</span>'

    def draw() -> None:
        try:
            pictures.value, words = show()
        except GanlabError as error:
            words = str(error)
        say(words)

    def save(_: object) -> None:
        try:
            name, pixels, arrays = keep()
            write_atomic(SAVED / f"{name}.npz", lambda path: write_npz(path, **arrays))
            say(f"saved {write_atomic(SAVED / f'{name}.png', lambda path: write_png(path, pixels))} and {name}.npz")
        except GanlabError as error:
            say(str(error))

    redraw = Latest(draw)
    for control in controls:
        control.observe(redraw, "value")
    button.on_click(save)
    draw()
    return ipywidgets.VBox([*rows, pictures, button, line])


def _pixels(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def _file_name(*words: object) -> str:
    return "-".join(str(word) for word in words if word not in ("", None))


def _nothing(panel: str) -> ipywidgets.Widget:
    return ipywidgets.HTML(
        f'<span role="status">{panel}: no trained generator here; make one with make experiment</span>'
    )


# --- panels ---------------------------------------------------------------------------------------------------------


def interpolation(folders: Sequence[str]) -> ipywidgets.Widget:
    """From one seed to another: the slider t, three paths, truncation where the prior has it, a class where the run has
    some, and the nearest training image on demand."""
    if not folders:
        return _nothing("interpolation")
    run = _run_choice(folders, "interpolation")
    (first, first_row), (second, second_row) = _seed("from seed", 1), _seed("to seed", 2)
    t = _slider("t", 0.0, 0.0, 1.0, 0.01)
    path = ipywidgets.Dropdown(options=list(priors.PATHS), description="path", style=STYLE)
    share = _slider("truncation", 1.0, 0.05, 1.0, 0.05)
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

    def latents(trained: Trained) -> torch.Tensor:
        ends = [trained.uniforms(seed.value) for seed in (first, second)]
        if trained.prior.truncatable:
            ends = [trained.prior.truncate(u, share.value) for u in ends]
        return priors.PATHS[path.value](trained.prior, *ends, t.value)

    def show() -> tuple[str, str]:
        trained = read(run.value)
        drawn = trained.draw(latents(trained), name.value)
        shown = _captioned(drawn, f"t = {t.value:.2f}", SIDE)
        if near.value:
            found, distance = neighbours(drawn[None], references(trained.config)[0])
            shown += _captioned(found[0], f"nearest training image, {distance[0]:.2f} away", SIDE)
        return shown, "" if trained.prior.truncatable else f"truncation is not defined for {trained.prior.name}"

    def keep() -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
        trained = read(run.value)
        z, truncated = latents(trained), f"share{share.value:.2f}" if share.value < 1 else ""
        words = (Path(run.value).name, name.value, path.value, first.value, second.value, f"t{t.value:.2f}", truncated)
        arrays = {"latents": z.numpy(), "run": np.array(run.value), "class": np.array(name.value or "")}
        return _file_name(*words), _pixels(trained.draw(z, name.value)), arrays

    run.observe(fit_run, "value")
    fit_run()
    rows = (run, first_row, second_row, t, path, share, name, near)
    return _panel(show, keep, (run, first, second, t, path, share, name, near), rows)


def every_prior(folders: dict[str, str]) -> ipywidgets.Widget:
    """One point of uniforms through every prior's inverse CDF into that prior's own generator, side by side.

    folders: prior -> its run, all of one latent size. Sliders: the way from one seed to another, and three fixed
    directions in which the uniforms' Gaussian scores are pushed (and brought back to their length), so that every
    setting is a point that each prior may draw.
    """
    if not folders:
        return _nothing("every prior")
    (first, first_row), (second, second_row) = _seed("from seed", 1), _seed("to seed", 2)
    t = _slider("t", 0.0, 0.0, 1.0, 0.01)
    pushes = [_slider(f"push {place}", 0.0, -1.0, 1.0, 0.02) for place in (1, 2, 3)]

    def latents(trained: Trained) -> torch.Tensor:
        def scores(seed: int) -> torch.Tensor:
            return torch.special.ndtri(trained.uniforms(seed).clamp(priors.TINY, 1 - priors.TINY))

        ends = (1 - t.value) * scores(first.value) + t.value * scores(second.value)
        between = ends / math.hypot(1 - t.value, t.value)
        moved = between + sum(push.value * scores(-1 - place) for place, push in enumerate(pushes))
        return trained.prior.icdf(torch.special.ndtr(moved * between.norm() / moved.norm()))

    def drawn() -> dict[str, tuple[torch.Tensor, torch.Tensor] | GanlabError]:
        found: dict[str, tuple[torch.Tensor, torch.Tensor] | GanlabError] = {}
        for name, folder in folders.items():
            try:
                trained = read(folder)
                z = latents(trained)
                found[name] = z, trained.draw(z)
            except GanlabError as error:
                found[name] = error
        return found

    def show() -> tuple[str, str]:
        found = drawn()
        there = [_captioned(both[1], name, SMALL) for name, both in found.items() if isinstance(both, tuple)]
        return "".join(there), "; ".join(str(both) for both in found.values() if not isinstance(both, tuple))

    def keep() -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
        found = {name: both for name, both in drawn().items() if isinstance(both, tuple)}
        words = ["priors", first.value, second.value, f"t{t.value:.2f}", *(f"{push.value:+.2f}" for push in pushes)]
        sheet = np.concatenate([_pixels(image) for _, image in found.values()], 1)
        return _file_name(*words), sheet, {name: z.numpy() for name, (z, _) in found.items()}

    return _panel(show, keep, (first, second, t, *pushes), (first_row, second_row, t, *pushes))


def directions(folders: Sequence[str], k: int = 5) -> ipywidgets.Widget:
    """A slider for each of the generator's k leading directions (``latents.directions``), from the latent of a seed."""
    if not folders:
        return _nothing("directions")
    run = _run_choice(folders, "directions")
    seed, seed_row = _seed("seed", 1)
    sliders = [_slider(f"direction {place + 1}", 0.0, -REACH, REACH, 0.1) for place in range(k)]
    back = ipywidgets.Button(description="back to the seed", tooltip="directions: all sliders to 0")

    def latents(trained: Trained) -> torch.Tensor:
        return trained.along(trained.prior.icdf(trained.uniforms(seed.value)), [slider.value for slider in sliders])

    def show() -> tuple[str, str]:
        trained = read(run.value)
        return _captioned(trained.draw(latents(trained)), f"seed {seed.value}", SIDE), ""

    def keep() -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
        trained = read(run.value)
        z = latents(trained)
        words = (Path(run.value).name, "directions", seed.value, *(f"{slider.value:+.1f}" for slider in sliders))
        return _file_name(*words), _pixels(trained.draw(z)), {"latents": z.numpy(), "run": np.array(run.value)}

    def reset(_: object) -> None:
        for slider in sliders:
            slider.value = 0.0

    back.on_click(reset)
    return _panel(show, keep, (run, seed, *sliders), (run, seed_row, *sliders, back))
