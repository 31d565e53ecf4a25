"""Images from a trained run, as files: what a user takes away to augment a training set."""

from pathlib import Path

import numpy as np
import torch

from ganlab import GanlabError, priors
from ganlab.config import Config
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


def sample(run: Run, n: int, seed: int = 0, best: bool = False) -> torch.Tensor:
    """n images uint8 (N, 3, R, R) of the run's EMA generator, latents from the prior that it was trained with.

    best: the generator with the lowest distance during training in place of the final one.
    """
    generator, config = run.read_generator(best)
    stream = torch.Generator().manual_seed(seed)
    return generate(generator, priors.get(config.prior, config.arm).sample(n, config.latent_dim, stream))


def write_samples(run: Run, n: int, out: Path, seed: int = 0, best: bool = False) -> str:
    """Writes n samples to ``out``: an .npz with ``images`` uint8 (N, H, W, 3), or a folder of PNG files.

    Returns a sentence about what was written. Raises ``SampleError`` if n < 1 or the folder already holds PNG files.
    """
    if n < 1:
        raise SampleError(f"-n is {n}: ask for at least 1 image")
    is_folder = out.suffix != ".npz"
    if is_folder and out.suffix:
        raise SampleError(f"--out is {out}: give a folder for PNG files, or a name ending in .npz")
    if is_folder and any(out.glob("*.png")):
        raise SampleError(f"{out} already holds PNG files: choose another folder, or empty it")
    pictures = sample(run, n, seed, best).permute(0, 2, 3, 1).numpy()
    if not is_folder:
        write_atomic(out, lambda path: _savez(path, pictures))
    else:
        for place, picture in enumerate(pictures):
            write_atomic(out / f"{place:06d}.png", lambda path, picture=picture: write_png(path, picture))
    return f"{n} images in {out} (seed {seed})"


def _savez(path: Path, pictures: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, images=pictures)
