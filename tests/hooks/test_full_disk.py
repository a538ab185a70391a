import errno
import os

import pytest
from kedro.io import DataCatalog

from hooks_fixtures import make_node
from tabweave.datasets.files import FolderDataset, JsonDataset
from tabweave.errors import ArtifactError, WriteError
from tabweave.hooks import FullDiskHooks


def full(number=errno.ENOSPC, path=None):
    return OSError(number, os.strerror(number), path)


@pytest.fixture
def told(tmp_path):
    """What the user is told when a node that fills a folder ends with an error."""
    logs = FolderDataset(path=str(tmp_path / "logs"))
    logs.load()
    catalog = DataCatalog(
        {"logs": logs, "history": JsonDataset(path=str(tmp_path / "x" / "h.json"))}
    )

    def run(error, inputs="logs"):
        node = make_node(inputs, "history", "train")
        with pytest.raises(WriteError) as caught:
            FullDiskHooks().on_node_error(error=error, node=node, catalog=catalog)
        assert caught.value.__cause__ is error
        return str(caught.value)

    def silent(error):
        node = make_node("logs", "history", "train")
        FullDiskHooks().on_node_error(error=error, node=node, catalog=catalog)

    run.silent = silent
    return run


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_library_that_met_a_full_disk(told, tmp_path, number):
    message = told(full(number))
    assert message.startswith(f"train cannot write to {tmp_path / 'logs'}: ")
    assert f"{os.strerror(number)}. " in message
    assert f" bytes are free in {tmp_path / 'logs'}. Free some space" in message


def test_an_error_that_was_raised_from_it(told):
    error = RuntimeError("the writer has ended")
    error.__cause__ = full()
    assert "No space left on device" in told(error)


def test_the_file_that_the_system_names(told):
    assert told(full(path="somewhere/y")).startswith(
        "train cannot write to somewhere/y: "
    )


@pytest.mark.parametrize(
    "error",
    [
        full(errno.ENOENT, "y"),
        RuntimeError("a bug"),
        ArtifactError("ours says more already"),
    ],
)
def test_other_errors_stay_what_they_are(told, error):
    told.silent(error)
