"""ganlab: does the latent noise distribution change what a convolutional GAN draws?

Importing the package loads nothing heavy. CONTRIBUTING.md says which module may import which.
"""

from ganlab.errors import GanlabError

__version__ = "0.1.0"
__all__ = ["GanlabError", "__version__"]
