"""Images from a trained run, as files: what a user takes away to augment a training set."""

from pathlib import Path

import numpy as np
import torch

from ganlab import GanlabError, priors
from ganlab.config import Config, unknown
from ganlab.models import generate
from ganlab.runs import Run, write_atomic, write_png

EVALUATION_SEED = 20_240_229  # the uniforms that every run is drawn and judged with
SNAPSHOT_IMAGES = 64


class SampleError(GanlabError):
    """A request for samples that cannot be met."""


def evaluation_latents(config: Config, n: int = SNAPSHOT_IMAGES) -> torch.Tensor:
    """(n, d) latents of the run's own prior, from uniforms that all runs of one latent size share."""
    stream = torch.Generator().manual_seed(EVALUATION_SEED)
    return priors.get(config.prior, config.arm).icdf(priors.uniforms(n, config.latent_dim, stream))


def labels_in_turn(config: Config, n: int, classes: list[str] | None = None) -> torch.Tensor | None:
    """(n,) labels of the classes (all by default) of a conditional run, one after the other; None for another run.

    Raises ``SampleError`` for classes of a run that is not conditional, ``ConfigError`` for a class it does not know.
    """
    if not config.conditional:
        if classes:
            raise SampleError(
                f"the run is not conditional, so classes {classes} cannot be chosen: train one with --conditional"
            )
        return None
    for name in classes or []:
        if name not in config.classes:
            raise unknown("class", name, config.classes)
    places = torch.tensor([config.classes.index(name) for name in classes or config.classes])
    return places[torch.arange(n) % len(places)]


def evaluation_grid(config: Config) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(latents, labels) of the snapshots, 8 a row: 64 latents; if the run is conditional, 8 for every class, a class a
    row."""
    if not config.conditional:
        return evaluation_latents(config), None
    k = len(config.classes)
    return evaluation_latents(config, 8).repeat(k, 1), torch.arange(k).repeat_interleave(8)


def sample(run: Run, n: int, seed: int = 0, best: bool = False, classes: list[str] | None = None) -> torch.Tensor:
    """n images uint8 (N, 3, R, R) of the run's EMA generator, latents from the prior that it was trained with.

    best: the generator with the lowest distance during training in place of the final one.
    classes: of a conditional run, as in ``labels_in_turn``.
    """
    generator, config = run.read_generator(best)
    stream = torch.Generator().manual_seed(seed)
    latents = priors.get(config.prior, config.arm).sample(n, config.latent_dim, stream)
    return generate(generator, latents, labels_in_turn(config, n, classes))


def write_samples(
    run: Run, n: int, out: Path, seed: int = 0, best: bool = False, classes: list[str] | None = None
) -> str:
    """Writes n samples to ``out``: an .npz with ``images`` uint8 (N, H, W, 3), or a folder of PNG files.

    Of a conditional run the .npz also holds ``labels`` and their ``names``, the folder has one sub-folder a class.

    Returns a sentence about what was written. Raises ``SampleError`` if n < 1 or the folder already holds PNG files.
    """
    if n < 1:
        raise SampleError(f"-n is {n}: ask for at least 1 image")
    is_folder = out.suffix != ".npz"
    if is_folder and out.suffix:
        raise SampleError(f"--out is {out}: give a folder for PNG files, or a name ending in .npz")
    if is_folder and any(out.rglob("*.png")):
        raise SampleError(f"{out} already holds PNG files: choose another folder, or empty it")
    pictures = sample(run, n, seed, best, classes).permute(0, 2, 3, 1).numpy()
    config = run.read_generator(best)[1]
    labels, names = labels_in_turn(config, n, classes), config.classes
    if not is_folder:
        about = {} if labels is None else {"labels": labels.numpy(), "names": np.array(names)}
        write_atomic(out, lambda path: write_npz(path, images=pictures, **about))
    else:
        for place, picture in enumerate(pictures):
            folder = out if labels is None else out / names[labels[place]]
            write_atomic(folder / f"{place:06d}.png", lambda path, picture=picture: write_png(path, picture))
    return f"{n} images in {out} (seed {seed})"


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """An .npz under exactly that name: given one, NumPy would add its own ending."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
