"""ganlab: how the latent noise distribution shapes what a convolutional GAN draws.

Importing the package loads nothing heavy. Its modules, lowest floor first: ``errors``, ``files``, ``machine``,
``config`` and ``presets``, ``data``, ``priors``, ``networks``, ``run``, ``latents``, ``scoring``, ``training``,
``study``, ``figures``, ``explorer``, ``cli``.
"""

from ganlab.errors import GanlabError

__version__ = "0.1.0"
__all__ = ["GanlabError", "__version__"]
