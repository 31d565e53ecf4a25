"""Following a training to its end: a progress bar in a terminal, live curves in JupyterLab, plain lines in batch."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from ganlab import notebooks
from ganlab.training.loop import Event

LINE_SECONDS = 30.0  # between two lines: keeps the log of a long run short
REDRAW_SECONDS = 2.0  # at least, between two drawings of the live curves
REDRAW_SHARE = 0.02  # of the time, at most, goes into drawing them


def shown(events: Iterable[Event]) -> Iterator[Event]:
    """The events of a training, each shown as it passes: live curves and the newest grid in JupyterLab, a bar in a
    terminal, a few plain lines in batch."""
    return (_live if notebooks.is_live() else _bar if sys.stderr.isatty() else _lines)(events)


def watch(events: Iterable[Event]) -> None:
    """Shows a training to its end. Whatever stops it is raised here."""
    for _ in shown(events):
        pass


def describe(event: Event) -> str:
    """One line for an event of training."""
    row, where = event.row, f"epoch {event.epoch}, step {event.step}/{event.steps}"
    if event.kind == "epoch":
        return (
            f"{where}: d_loss {row['d_loss']:.3f}  g_loss {row['g_loss']:.3f}  D right on real {row['d_acc_real']:.0%} "
            f"generated {row['d_acc_fake']:.0%}  {row['seconds']:.1f} s  {row['images_per_second']:.0f} images/s"
        )
    if event.kind == "finished":
        return f"finished: {row['epochs']} epochs, {row['images_seen']} images seen in {row['training_seconds']:.0f} s"
    if event.kind == "busy":
        return (
            f"the machine is busy: {row['threads']} threads train {row['images_per_second']} images/s, one would train "
            f"{row['one_thread']}; to change over, stop this and run: {row['command']}"
        )
    if event.kind == "resumed":
        return f"going on from the checkpoint at {where}"
    return f"{event.kind} at {where}"


def _lines(events: Iterable[Event]) -> Iterator[Event]:
    said = -LINE_SECONDS
    for event in events:
        now = time.monotonic()
        if event.kind in ("resumed", "busy", "finished") or (event.kind == "epoch" and now - said >= LINE_SECONDS):
            print(describe(event), flush=True)
            said = now
        yield event


def _bar(events: Iterable[Event]) -> Iterator[Event]:
    with tqdm(unit="step", dynamic_ncols=True) as bar:
        for event in events:
            bar.total = event.steps
            if event.kind == "resumed":
                bar.initial = event.step
            bar.update(event.step - bar.n)
            if event.kind == "epoch":
                row = event.row
                bar.set_postfix_str(f"epoch {event.epoch} d {row['d_loss']:.3f} g {row['g_loss']:.3f}")
            elif event.kind in ("resumed", "busy", "finished"):
                bar.write(describe(event))
            yield event


def _live(events: Iterable[Event]) -> Iterator[Event]:
    import pandas as pd
    from IPython.display import HTML, display

    from ganlab import figures, files

    figure, axes = figures.new_figure(1, 4, 13, 2.8)
    *curve_axes, grid_axis = axes[0]
    grid_axis.axis("off")
    history, next_drawing = [], 0.0
    line = display(HTML("starting"), display_id=True)
    picture = display(figure, display_id=True)
    for event in events:
        said = HTML(f"<code>{describe(event)}</code>")
        display(said) if event.kind == "busy" else line.update(said)
        if event.kind == "epoch":
            history.append(event.row)
        if event.kind == "snapshot":
            figures.show(grid_axis, files.tile(event.images[:36], 6), f"epoch {event.epoch}")
        started = time.monotonic()
        if history and (event.kind == "finished" or started >= next_drawing):
            figures.draw_curves(curve_axes, pd.DataFrame(history))
            picture.update(figure)
            cost = time.monotonic() - started
            next_drawing = started + max(REDRAW_SECONDS, cost / REDRAW_SHARE)
        yield event
