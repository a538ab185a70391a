"""What happens around a run: locks, checks of stale inputs, progress and the summary.

Behaviour lives in `tabweave.storage.artifacts` and `tabweave.evaluation.summary`; the
hooks see what Kedro does and call them.
"""

from tabweave.hooks.advice import AdviceHooks, rerun_command, started_by
from tabweave.hooks.full_disk import FullDiskHooks
from tabweave.hooks.locking import LockHooks
from tabweave.hooks.progress import PROGRESS
from tabweave.hooks.provenance import ProvenanceHooks
from tabweave.hooks.stages import STAGES, artifact_path, stage_of
from tabweave.hooks.summary import SummaryHooks

__all__ = [
    "PROGRESS",
    "STAGES",
    "AdviceHooks",
    "FullDiskHooks",
    "LockHooks",
    "ProvenanceHooks",
    "SummaryHooks",
    "artifact_path",
    "rerun_command",
    "stage_of",
    "started_by",
]
