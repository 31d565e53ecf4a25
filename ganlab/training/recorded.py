"""A step recorded once and replayed, on a GPU.

A step of a small GAN is hundreds of small kernels, and to start one from Python takes longer than to run it. A CUDA
graph starts them all at once. The random streams go on as in an unrecorded step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

WARM_UP = 3  # unrecorded steps before the record: libraries choose their kernels, optimisers make their state

Inputs = list[tuple[torch.Tensor | None, ...]]


class Recorded:
    """``function`` of tensors that keep their shapes, as a CUDA graph.

    streams: the generators that it draws from. What it returns is overwritten by the next call.
    """

    def __init__(self, function: Callable[[Inputs], Any], streams: Iterable[torch.Generator]) -> None:
        self.function, self.streams = function, list(streams)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: Inputs = []
        self.result: Any = None

    def __call__(self, inputs: Inputs) -> Any:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._unrecorded(inputs)
        if self.graph is None:
            self._record(inputs)
        for kept, given in zip(self.inputs, inputs, strict=True):
            for target, source in zip(kept, given, strict=True):
                if target is not None and source is not None:
                    target.copy_(source)
        self.graph.replay()
        return self.result

    def _unrecorded(self, inputs: Inputs) -> Any:
        """On a stream beside the default one, as a record is: gradients are tied to the stream that first made them."""
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            result = self.function(inputs)
        torch.cuda.current_stream().wait_stream(beside)
        return result

    def _record(self, inputs: Inputs) -> None:
        self.inputs = [tuple(None if each is None else each.clone() for each in given) for given in inputs]
        self.graph = torch.cuda.CUDAGraph()
        for stream in self.streams:
            self.graph.register_generator_state(stream)
        with torch.cuda.graph(self.graph):
            self.result = self.function(self.inputs)
