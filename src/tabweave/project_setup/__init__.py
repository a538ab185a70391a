"""Proposes the configuration for a user's own files and writes it as an environment.

Looking is cheap and bounded: the head of train, plus its whole label and id columns.
What was seen stands beside every line that is written, so that a person can disagree.
"""

from tabweave.project_setup.environment import write_environment
from tabweave.project_setup.roles import ColumnRole, InferredRoles, infer_roles

__all__ = ["ColumnRole", "InferredRoles", "infer_roles", "write_environment"]
