"""Latent space: the latents that runs are judged by, samples of a run, paths and directions."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ganlab import priors
from ganlab.config import Config
from ganlab.errors import GanlabError, unknown
from ganlab.files import write_atomic, write_npz, write_png
from ganlab.networks.generators import generate
from ganlab.networks.layers import ClassConcat, ConditionalNorm
from ganlab.run import Run

EVALUATION_SEED = 20_240_229  # the uniforms that every run is drawn and judged with
SNAPSHOT_IMAGES = 64
MOST_SAMPLES = 1_000_000  # at a time: 3 GB of 32 x 32 images


class SampleError(GanlabError):
    """A request for samples that cannot be met."""


def evaluation_latents(config: Config, n: int = SNAPSHOT_IMAGES) -> torch.Tensor:
    """(n, d) latents of the run's own prior, from uniforms that all runs of one latent size share."""
    stream = torch.Generator().manual_seed(EVALUATION_SEED)
    return priors.get(config.prior, config.scaling).icdf(priors.uniforms(n, config.latent_dim, stream))


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
    latents = priors.get(config.prior, config.scaling).sample(n, config.latent_dim, stream)
    return generate(generator, latents, labels_in_turn(config, n, classes))


def write_samples(
    run: Run, n: int, out: Path, seed: int = 0, best: bool = False, classes: list[str] | None = None
) -> str:
    """Writes n samples to ``out``: an .npz with ``images`` uint8 (N, H, W, 3), or a folder of PNG files.

    Of a conditional run the .npz also holds ``labels`` and their ``names``, the folder has one sub-folder a class.

    Returns a sentence about what was written. Raises ``SampleError`` for an n or a seed out of range, or if the folder
    already holds PNG files.
    """
    if not 1 <= n <= MOST_SAMPLES:
        raise SampleError(f"-n is {n}: ask for 1 to {MOST_SAMPLES:,} images at a time")
    if not 0 <= seed < 2**63:
        raise SampleError(f"--seed is {seed}: it takes 0 to 2^63 - 1")
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


REACH = 6.0  # how far pages and sliders follow a direction, in standard deviations of one latent coordinate


def directions(generator: nn.Module, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """((k, d) unit vectors of latents, their (k,) strengths): the steps that move G's first activations most.

    Closed-form factorisation (SeFa, Shen & Zhou 2021, equation 8): the right singular vectors of the first layer's
    matrix, here times the scale of the batch norm behind it, which in evaluation mode is part of the same linear map.
    The sign is chosen so that the largest coordinate is positive. Raises ``ValueError`` if k is not in 1..d.
    """
    layer = next(part for part in generator.stem if isinstance(part, nn.Linear | nn.ConvTranspose2d))
    norms = [part.norm if isinstance(part, ConditionalNorm) else part for part in generator.stem]
    norm = next((part for part in norms if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)), None)
    weight = layer.weight.detach().double()  # dense (F, d); transposed convolution (d, C, 4, 4)
    maps = weight.view(-1, 1, weight.shape[1]) if isinstance(layer, nn.Linear) else weight.flatten(2).permute(1, 2, 0)
    if norm is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight.detach())
        maps = maps * scale[:, None, None]
    # coordinates of the class stand behind those of z
    concat = next((part for part in generator.stem if isinstance(part, ClassConcat)), None)
    matrix = maps.flatten(0, 1)[:, : -concat.embedding.embedding_dim if concat else None]
    if not 1 <= k <= matrix.shape[1]:
        raise ValueError(f"k is {k}: a generator of {matrix.shape[1]} latent coordinates has 1 to that many directions")
    _, strengths, vectors = torch.linalg.svd(matrix, full_matrices=False)
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return (vectors * largest.sign())[:k].float(), strengths[:k].float()


def _fixed_stream() -> torch.Generator:
    return torch.Generator().manual_seed(EVALUATION_SEED + 1)


def interpolations(
    generator: nn.Module, config: Config, strips: int = 4, steps: int = 10, path: str = "matched"
) -> torch.Tensor:
    """uint8 (strips * steps, 3, R, R): from one latent to another along one of ``priors.PATHS``, by default the one
    that keeps the prior.

    ``steps`` images a strip; a conditional run draws each strip of one class.
    """
    prior, stream = priors.get(config.prior, config.scaling), _fixed_stream()
    start, end = (priors.uniforms(strips, config.latent_dim, stream) for _ in range(2))
    shares = np.linspace(0, 1, steps)
    latents = torch.stack([priors.PATHS[path](prior, start, end, float(t)) for t in shares], 1).flatten(0, 1)
    labels = labels_in_turn(config, strips)
    return generate(generator, latents, None if labels is None else labels.repeat_interleave(steps))


def along_directions(generator: nn.Module, config: Config, k: int = 5, steps: int = 9) -> tuple[torch.Tensor, list]:
    """(uint8 (k * steps, 3, R, R), the ``steps`` moves): one latent moved along each of G's k leading directions.

    Moves go up to ``REACH`` standard deviations of a coordinate to either side.
    """
    prior = priors.get(config.prior, config.scaling, config.latent_dim)
    latent = prior.sample(1, config.latent_dim, _fixed_stream())
    ways = directions(generator, min(k, config.latent_dim))[0]
    moves = np.linspace(-REACH, REACH, steps).tolist()
    latents = torch.cat([latent + prior.std * move * way for way in ways for move in moves])
    labels = labels_in_turn(config, 1)
    return generate(generator, latents, None if labels is None else labels.repeat(len(latents))), moves


def truncations(generator: nn.Module, config: Config) -> dict[float, torch.Tensor]:
    """share -> 10 images uint8: what is drawn when truncation keeps that share of every coordinate; empty for a prior
    without truncation."""
    prior = priors.get(config.prior, config.scaling)
    if not prior.truncatable:
        return {}
    uniforms, labels = priors.uniforms(10, config.latent_dim, _fixed_stream()), labels_in_turn(config, 10)
    latents = {share: prior.icdf(prior.truncate(uniforms, share)) for share in (1.0, 0.7, 0.4, 0.1)}
    return {share: generate(generator, z, labels) for share, z in latents.items()}


def journey(generator: nn.Module, config: Config, images: int = 5, frames: int = 18) -> list[torch.Tensor]:
    """A uint8 (images, 3, R, R) a frame: each latent on its way to the next, the last to the first."""
    prior = priors.get(config.prior, config.scaling)
    start = priors.uniforms(images, config.latent_dim, _fixed_stream())
    labels = labels_in_turn(config, images)
    shares = np.linspace(0, 1, frames, endpoint=False)
    return [generate(generator, prior.interpolate(start, start.roll(-1, 0), float(t)), labels) for t in shares]
