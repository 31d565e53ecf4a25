"""A step recorded once and replayed, on a GPU.

A step of a small GAN is hundreds of small kernels, and to start one from Python takes longer than to run it. A CUDA
graph starts them all at once. The random streams go on as in an unrecorded step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

WARM_UP = 3  # unrecorded steps before the record: libraries choose their kernels, optimisers make their state

Batches = list[tuple[torch.Tensor, torch.Tensor | None]]


class Recorded:
    """``function`` of batches of tensors that keep their shapes, as a CUDA graph.

    streams: the generators that it draws from. What it returns is overwritten by the next call.
    """

    def __init__(self, function: Callable[[Batches], Any], streams: Iterable[torch.Generator]) -> None:
        self.function, self.streams = function, list(streams)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: Batches = []
        self.result: Any = None

    def __call__(self, batches: Batches) -> Any:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._unrecorded(batches)
        if self.graph is None:
            self._record(batches)
        for kept, given in zip(self.inputs, batches, strict=True):
            for target, source in zip(kept, given, strict=True):
                if target is not None:
                    target.copy_(source)
        self.graph.replay()
        return self.result

    def _unrecorded(self, batches: Batches) -> Any:
        """On a stream beside the default one, as a record is: gradients are tied to the stream that first made them."""
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            result = self.function(batches)
        torch.cuda.current_stream().wait_stream(beside)
        return result

    def _record(self, batches: Batches) -> None:
        self.inputs = [(images.clone(), None if labels is None else labels.clone()) for images, labels in batches]
        self.graph = torch.cuda.CUDAGraph()
        for stream in self.streams:
            self.graph.register_generator_state(stream)
        with torch.cuda.graph(self.graph):
            self.result = self.function(self.inputs)
