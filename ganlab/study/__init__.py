"""A study: its plan, the processes that run it, its tables and statistics. Modules load when they are first used."""

from importlib import import_module
from typing import Any

PLACES = {
    "FAILED": "plan", "Planned": "plan", "Study": "plan", "StudyError": "plan", "read": "plan", "status": "plan",
    "describe": "cluster", "follow": "cluster", "run": "cluster", "next_run": "jobs",
}  # fmt: skip

__all__ = [*PLACES]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
