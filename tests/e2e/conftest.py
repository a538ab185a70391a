"""One default run on small data that the tests look at, and copies of it to change."""

from dataclasses import dataclass

import pytest


def pytest_collection_modifyitems(items):
    """Everything in this folder runs whole pipelines."""
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.e2e)


@dataclass(frozen=True)
class Run:
    """A project after ``kedro run``, and what the command said."""

    project: object
    result: object


@pytest.fixture(scope="session")
def finished(make_project, tmp_path_factory):
    """A project after one default run; do not change it."""
    project = make_project(tmp_path_factory.mktemp("default") / "project")
    return Run(project, project.run())


@pytest.fixture
def copied(finished, tmp_path):
    """The same finished project at another place, to change as one likes."""
    return finished.project.copy(tmp_path / "project")
