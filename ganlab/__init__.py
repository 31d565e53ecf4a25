"""ganlab: how the latent noise distribution shapes what a convolutional GAN draws.

Importing the package loads nothing heavy. Use its modules by name, lowest floor first: ``config``, ``data``,
``priors``, ``models``, ``runs``, ``sample``, ``features``, ``metrics``, ``evaluate``, ``train``, ``study``,
``findings``.
"""

__version__ = "0.1.0"


class GanlabError(Exception):
    """A mistake the user can mend. The message is one sentence: what was given, what is valid, what to do next."""
