"""The Kedro project as benchmarks see it: its catalog and parameters, from one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).resolve().parent.parent


def load_project(
    env: str | None = None, params: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Catalog and validated parameters of an environment."""
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=env, runtime_params=params) as session:
        context = session.load_context()
        return context.catalog, dict(context.params)
