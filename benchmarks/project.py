"""The Kedro project as benchmarks see it: its catalog and parameters, from one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from tabweave.configuration.parameters import PARAMETER_TYPES

ROOT = Path(__file__).resolve().parent.parent


def load_project(
    env: str | None = None, params: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Catalog and parameter groups of an environment."""
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=env, runtime_params=params) as session:
        context = session.load_context()
        groups = {
            name: PARAMETER_TYPES[name].model_validate(given)
            for name, given in context.params.items()
            if name in PARAMETER_TYPES
        }
        return context.catalog, groups
