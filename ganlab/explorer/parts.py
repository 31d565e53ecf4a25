"""What panels are made of: sliders, seeds, captioned pictures, the frame with its save button."""

import asyncio
import base64
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from PIL import Image

from ganlab.errors import GanlabError
from ganlab.files import write_atomic, write_npz, write_png

SAVED = Path("results/saved")  # what the save button writes


class Latest:
    """Calls ``draw`` once, however often it is asked before its turn comes."""

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


def captioned(image: torch.Tensor, caption: str, side: int) -> str:
    """HTML of an image uint8 (3, R, R), enlarged without smoothing, with words that are read aloud as well."""
    file = io.BytesIO()
    Image.fromarray(pixels(image)).save(file, format="PNG", compress_level=1)
    data = base64.b64encode(file.getvalue()).decode()
    words = html.escape(caption)
    return (
        '<figure style="display: inline-block; margin: 4px; text-align: center">'
        f'<img alt="{words}" width="{side}" height="{side}" style="image-rendering: pixelated" '
        f'src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'
    )


STYLE = {"description_width": "130px"}


class Slider(anywidget.AnyWidget):
    """The browser's own slider: works by mouse, touch and keyboard, and screen readers read its name.

    The handle of ``ipywidgets.FloatSlider`` has no such name. While the kernel is busy only the newest value is sent.
    """

    value = traitlets.Float(0.0).tag(sync=True)
    low = traitlets.Float(0.0).tag(sync=True)
    high = traitlets.Float(1.0).tag(sync=True)
    step = traitlets.Float(0.01).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    _esm = Path(__file__).with_name("slider.js")
    _css = Path(__file__).with_name("slider.css")


def seed_control(words: str, value: int) -> tuple[ipywidgets.BoundedIntText, ipywidgets.HBox]:
    """A seed and its row: the number, the one before, the one after, another at random."""
    number = ipywidgets.BoundedIntText(value, min=0, max=2**31 - 1, description=words, style=STYLE,
                                       layout={"width": "240px"})  # fmt: skip

    def button(label: str, change: Callable[[int], int]) -> ipywidgets.Button:
        made = ipywidgets.Button(description=label, tooltip=f"{words}: {label}", layout={"width": "76px"})
        made.on_click(lambda _: setattr(number, "value", change(number.value)))
        return made

    stream = np.random.default_rng()
    steps = (
        button("previous", lambda seed: seed - 1),
        button("next", lambda seed: seed + 1),
        button("random", lambda _: int(stream.integers(0, 100_000))),
    )
    return number, ipywidgets.HBox([number, *steps])


def run_choice(folders: Sequence[str], panel: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=[str(folder) for folder in folders], description="run", style=STYLE,
                               tooltip=f"{panel}: the run", layout={"width": "560px"})  # fmt: skip


Shown = tuple[str, str, str, np.ndarray, dict[str, np.ndarray]]
# HTML of the pictures, what to say; and to save: a name, a picture uint8 (H, W, 3), arrays


def framed(
    show: Callable[[], Shown], controls: Sequence[ipywidgets.Widget], rows: Sequence[ipywidgets.Widget]
) -> ipywidgets.Widget:
    """The rows, and below them the pictures, a save button and a status line.

    show: what to show and to save at the present values. controls: a change of any of them draws again. Expected errors
    (a missing run, a damaged file, a full disk) appear in the status line.
    """
    pictures, line = ipywidgets.HTML(), ipywidgets.HTML()
    button = ipywidgets.Button(description="save", tooltip=f"save the picture and its latents in {SAVED}")

    def say(words: str) -> None:
        line.value = f'<span role="status">{html.escape(words)}</span>'

    def draw() -> None:
        try:
            pictures.value, words, *_ = show()
        except GanlabError as error:
            words = str(error)
        say(words)

    def save(_: object) -> None:
        try:
            *_, name, picture, arrays = show()
            write_atomic(SAVED / f"{name}.npz", lambda path: write_npz(path, **arrays))
            say(f"saved {write_atomic(SAVED / f'{name}.png', lambda path: write_png(path, picture))} and {name}.npz")
        except GanlabError as error:
            say(str(error))

    redraw = Latest(draw)
    for control in controls:
        control.observe(redraw, "value")
    button.on_click(save)
    draw()
    return ipywidgets.VBox([*rows, pictures, button, line])


def pixels(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def file_name(*words: object) -> str:
    return "-".join(str(word) for word in words if word not in ("", None))


def nothing(panel: str) -> ipywidgets.Widget:
    return ipywidgets.HTML(
        f'<span role="status">{panel}: no trained generator here; make one with make experiment</span>'
    )
