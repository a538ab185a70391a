"""Errors of a full disk from inside a library: they name the file and the free space."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node

from tabweave.errors import WriteError, own_error
from tabweave.hooks.stages import PARAMETER, artifact_path
from tabweave.storage.artifacts import free_space

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FullDiskHooks:
    """Says which folders a node was filling when a library met a full disk.

    Our own writers name their path themselves. Libraries that fill a folder while a node
    runs, such as the curves of training, say no more than that there is no space.
    """

    @hook_impl
    def on_node_error(
        self, error: Exception, node: Node, catalog: CatalogProtocol
    ) -> None:
        """Raises the error with what the user must know.

        Raises:
            WriteError: The node met a full disk.
        """
        if own_error(error) is not None:
            return
        full = next((found for found in _causes(error) if found.errno in FULL), None)
        if full is not None:
            raise WriteError(_message(full, node, catalog)) from error


def _causes(error: BaseException | None) -> Iterator[OSError]:
    while error is not None:
        if isinstance(error, OSError):
            yield error
        error = error.__cause__


def _message(error: OSError, node: Node, catalog: CatalogProtocol) -> str:
    names = (n for n in (*node.inputs, *node.outputs) if not n.startswith(PARAMETER))
    paths = [path for name in names if (path := artifact_path(catalog, name))]
    folders = [path for path in paths if path.is_dir()] or [p.parent for p in paths]
    disks = {folder.stat().st_dev: folder for folder in folders if folder.is_dir()}
    return " ".join(
        [
            f"{node.short_name} cannot write to "
            f"{error.filename or ', '.join(map(str, folders))}:",
            f"{os.strerror(error.errno or 0)}.",
            *map(free_space, disks.values()),
            "Free some space, then run the stage again.",
        ]
    )
