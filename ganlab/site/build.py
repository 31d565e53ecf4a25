"""``make site``: a folder that any web server shows, with the explorer and all pages in it."""

import base64
import hashlib
import io
import json
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pygments.formatters import HtmlFormatter
from torch.special import ndtr

from ganlab import priors
from ganlab.data import cache_folder
from ganlab.errors import GanlabError
from ganlab.explorer.generators import LoadedGenerator, read
from ganlab.files import write_atomic
from ganlab.latents import REACH
from ganlab.notebooks import project_root
from ganlab.priors import Prior
from ganlab.run import Run
from ganlab.site.export import export
from ganlab.site.pages import menu_links, write_pages

PAGE = Path(__file__).parent / "page"
SLIDER = Path(__file__).parents[1] / "explorer"
MAIN = "results/main/automobile"
OF_PRIORS = "results/noise-study/P2/automobile/{prior}-s0"  # the study's runs that differ in nothing but the prior
SEEDS, PUSHES = 256, 3  # points that the page can name, and directions in which it pushes them
DIRECTIONS = 5
KNOTS = np.arange(-6, 6 + 1 / 256, 1 / 128)  # Gaussian scores at which a prior's curve is kept
MENU = [
    ("Sliders", "index.html"),
    ("Read me", "README.html"),
    ("The noise study", "results/noise-study/noise_study.html"),
    ("A GAN step by step", "results/tutorial/tutorial.html"),
    ("How the cars were trained", "results/main/automobile/experiment.html"),
    ("All results", "results/README.html"),
]
RUNTIME = "1.30.0"  # of onnxruntime-web, in npm's registry
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


class SiteError(GanlabError):
    """A web page that cannot be built."""


def build(out: Path) -> int:
    """Fills ``out`` with the site; returns how many pages of results it has. Takes a checkout with its results.

    Raises ``SiteError`` if there is no generator to show, if ONNX Runtime Web can neither be read nor downloaded, or if
    ``out`` holds other files.
    """
    if any(out.glob("*")) and not (out / "ort").exists():  # what is written first
        raise SiteError(f"{out} holds other files: give an empty folder with --out")
    root = project_root()
    shown = {"cars": MAIN} | {prior: OF_PRIORS.format(prior=prior) for prior in priors.CORE}
    shown = {name: folder for name, folder in shown.items() if (root / folder / "generator.safetensors").exists()}
    if not shown:
        raise SiteError(f"{root} has none of the generators that the page shows: restore {MAIN} from the repository")
    for name, content in runtime().items():
        write_atomic(out / "ort" / name, lambda path, content=content: path.write_bytes(content))
    for name, folder in shown.items():
        export(Run(root / folder), out / "generators" / f"{name}.onnx")
    generators = {name: read(root / folder) for name, folder in shown.items()}
    about = explorer(generators)
    write_atomic(out / "explorer.json", lambda path: path.write_text(json.dumps(about)))
    write_atomic(out / "points.bin", lambda path: path.write_bytes(points(next(iter(generators.values()))).tobytes()))
    pages = write_pages(root, [Path("README.md")], out, MENU)
    _write_front(out)
    return pages


def explorer(generators: dict[str, LoadedGenerator]) -> dict[str, Any]:
    """What the page knows of its generators; all must have one latent size."""
    rows = []
    for name, trained in generators.items():
        config, prior = trained.config, trained.prior
        compared = name == prior.name
        title = f"{prior.name}: {prior.definition}" if compared else f"{name}, wider and trained longer ({prior.name})"
        rows.append({
            "name": name, "title": title, "prior": prior.name, "compared": compared,
            "curve": curve(prior),  # a step along a direction is a standard deviation of a coordinate
            "directions": (prior.at(config.latent_dim).std * trained.directions[:DIRECTIONS]).tolist(),
        })  # fmt: skip
    return {"latent_size": config.latent_dim, "seeds": SEEDS, "reach": REACH, "generators": rows}


def curve(prior: Prior) -> dict[str, Any]:
    """An iid prior as a function of a Gaussian score s, F^-1(Phi(s)): knots, or the steps of a discrete prior."""

    def at(scores: torch.Tensor) -> torch.Tensor:
        return prior.icdf(ndtr(scores))

    scores = torch.from_numpy(KNOTS)
    values = at(scores)
    if not prior.discrete:
        return {"low": KNOTS[0], "step": KNOTS[1] - KNOTS[0], "values": [float(f"{v:.7g}") for v in values.tolist()]}
    places = (values[1:] != values[:-1]).nonzero()[:, 0]
    low, high = scores[places], scores[places + 1]
    for _ in range(50):  # each threshold by bisection
        middle = (low + high) / 2
        below = at(middle) == values[places]
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return {"thresholds": high.tolist(), "values": values[torch.cat([places, places[-1:] + 1])].tolist()}


def points(trained: LoadedGenerator) -> np.ndarray:
    """float32 (seeds + pushes, d): the Gaussian scores of the points that the explorer's seeds name."""
    seeds = [*range(SEEDS), *(-1 - place for place in range(PUSHES))]
    return priors.scores(torch.cat([trained.uniforms(seed) for seed in seeds])).numpy().astype("<f4")


def runtime() -> dict[str, bytes]:
    """name -> content of the files of ONNX Runtime Web, from npm's registry the first time, then from the cache."""
    kept = cache_folder() / f"onnxruntime-web-{RUNTIME}.tgz"
    if not kept.exists():
        address = f"https://registry.npmjs.org/onnxruntime-web/-/{kept.name}"
        try:
            with urllib.request.urlopen(address, timeout=300) as answer:
                package = answer.read()
        except OSError as error:
            raise SiteError(f"cannot download {address} ({error}): put that file into {kept.parent}") from None
        write_atomic(kept, lambda path: path.write_bytes(package))
    package = kept.read_bytes()
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != RUNTIME_SHA512:
        raise SiteError(f"{kept} is not the package that was published: delete it and run 'make site' again")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        return {name: archive.extractfile(f"package/dist/{name}").read() for name in RUNTIME_FILES}


def _write_front(out: Path) -> None:
    """The explorer's own files, and the worker that keeps them for visits without a network."""
    written = {path.name: path.read_text() for path in (*PAGE.iterdir(), *SLIDER.glob("slider.*"))}
    worker = written.pop("worker.js")
    written["index.html"] = written["index.html"].replace("{{links}}", menu_links(MENU))
    written["site.css"] += HtmlFormatter().get_style_defs(".highlight") + "\n"
    for name, text in written.items():
        write_atomic(out / name, lambda path, text=text: path.write_text(text))
    files = [*written, "explorer.json", "points.bin"]
    files += [path.relative_to(out).as_posix() for folder in ("ort", "generators") for path in (out / folder).iterdir()]
    every = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "worker.js")
    version = hashlib.sha256(b"".join(path.read_bytes() for path in every)).hexdigest()[:16]  # a new one clears caches
    worker = worker.replace("{{version}}", version).replace("{{files}}", json.dumps(["./", *sorted(files)]))
    write_atomic(out / "worker.js", lambda path: path.write_text(worker))
