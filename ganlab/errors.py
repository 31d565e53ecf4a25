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


def shortened(path: object, most: int = 300) -> str:
    """A path, or the ends of one too long for a sentence."""
    said = str(path)
    return said if len(said) <= most else f"{said[:100]} ... {said[-100:]}"


def last_words(error: Exception) -> str:
    """One sentence for an error of the system or of a library."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError):
        path = shortened(error.filename or "a file")
        return f"{path}: {error.strerror or said}; check the path, the disk and your rights there"
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return f"out of memory ({said}): use smaller networks, fewer images or a lower resolution"
    return said
