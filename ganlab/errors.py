"""The mistakes a user can mend, and the sentence for a wrong name. Imports nothing of the package."""

import difflib
from collections.abc import Iterable


class GanlabError(Exception):
    """A mistake the user can mend. The message is one sentence: what was given, what is valid, what to do next."""

    exit_code = 2  # of the command line: wrong input


class ConfigError(GanlabError, ValueError):
    """A config that cannot be: an unknown name or a value out of range."""


def unknown(what: str, given: object, valid: Iterable[object]) -> ConfigError:
    """The sentence for a name that is not in a table, with the nearest valid one."""
    names = [str(name) for name in valid]
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(f"unknown {what} {given!r}{hint}: valid are {', '.join(names)}")
