"""A trained generator as an ONNX file, which a browser, C++ or C# runs without PyTorch."""

import json
import warnings
from pathlib import Path

import torch
from torch import nn

from ganlab.data import to_pixels
from ganlab.errors import GanlabError
from ganlab.files import write_atomic
from ganlab.latents import evaluation_latents, labels_in_turn
from ganlab.run import Run

MOST_APART = 1e-3  # of 255: how far ONNX Runtime may be from PyTorch in any channel of any pixel
CHECKED = 16  # latents on which both are compared


class ExportError(GanlabError):
    """A generator that cannot be exported, or whose export draws something else."""


class Pixels(nn.Module):
    """A generator that returns images in 0..255, not yet rounded."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return to_pixels(self.generator(z, label))


def export(run: Run, out: Path, best: bool = False) -> Path:
    """Writes the averaged generator of a finished run to ``out``, an .onnx file of any number n of images.

    Inputs: ``z`` float32 (n, d), latents of the run's prior; for a conditional run also ``label`` int64 (n,). Output:
    ``images`` float32 (n, 3, R, R) in 0..255, to be rounded. The metadata holds the run's config.

    Raises ``ExportError`` without the packages of ``ganlab[site]``, for another file name, and if ONNX Runtime draws
    images more than ``MOST_APART`` away from PyTorch's; then nothing is written.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it, and says so less clearly
    except ModuleNotFoundError as error:
        raise ExportError(f"{error.name} is not installed: run pip install -e '.[site]' for exports") from None
    if out.suffix != ".onnx":
        raise ExportError(f"--out is {out}: give a name ending in .onnx")
    generator, config = run.read_generator(best)
    inputs = {"z": evaluation_latents(config, CHECKED)}
    if config.conditional:
        inputs["label"] = labels_in_turn(config, CHECKED)
    model, n = Pixels(generator).eval(), torch.export.Dim("n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        graph = torch.onnx.export(
            model, tuple(inputs.values()), input_names=list(inputs), output_names=["images"],
            dynamic_shapes=tuple({0: n} for _ in inputs), verbose=False,
        ).model_proto  # fmt: skip
    onnx.helper.set_model_props(graph, {"config": json.dumps(config.to_dict())})
    content = graph.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    drawn = session.run(None, {name: given.numpy() for name, given in inputs.items()})[0]
    with torch.no_grad():
        apart = (torch.from_numpy(drawn) - model(*inputs.values())).abs().max().item()
    if not apart <= MOST_APART:
        raise ExportError(f"{run.path} as ONNX is up to {apart:.2g} of 255 away from PyTorch: nothing was written")
    return write_atomic(out, lambda path: path.write_bytes(content))
