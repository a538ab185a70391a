"""What Kedro asks of a project; no behaviour lives here."""

from tabweave.config_loader import TabweaveConfigLoader
from tabweave.hooks import AdviceHooks, FullDiskHooks, ProvenanceHooks, SummaryHooks

HOOKS = (ProvenanceHooks(), SummaryHooks(), FullDiskHooks(), AdviceHooks())
CONFIG_LOADER_CLASS = TabweaveConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment overrides single keys; the default would replace whole groups.
    "merge_strategy": {"parameters": "soft"},
}
