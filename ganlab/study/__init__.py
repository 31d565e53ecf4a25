"""A study: its plan, the cluster that runs it, its tables and statistics."""

from ganlab.study.cluster import describe, follow, run
from ganlab.study.plan import FAILED, Planned, Study, StudyError, read, status

__all__ = ["FAILED", "Planned", "Study", "StudyError", "describe", "follow", "read", "run", "status"]
