"""What Kedro asks of a project; no behaviour lives here."""

from tabweave.configuration.loader import TabweaveConfigLoader
from tabweave.hooks import (
    PROGRESS,
    AdviceHooks,
    FullDiskHooks,
    LockHooks,
    ProvenanceHooks,
    SummaryHooks,
)
from tabweave.hooks.lineage_view import keep_to_this_machine

# Those that come later are called earlier: an artifact is done when its record is there,
# and locks are let go of at the very end.
HOOKS = (
    LockHooks(),
    PROGRESS,
    ProvenanceHooks(),
    SummaryHooks(),
    FullDiskHooks(),
    AdviceHooks(),
)
CONFIG_LOADER_CLASS = TabweaveConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment overrides single keys; the default would replace whole groups.
    "merge_strategy": {"parameters": "soft"},
}

keep_to_this_machine()
