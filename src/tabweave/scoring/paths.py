"""Which files a scoring may write."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tabweave.errors import ConfigError, Problems, some_of
from tabweave.storage.local_paths import check_local_paths
from tabweave.tables.files import format_of
from tabweave.tables.lookup import Found, find_table


@dataclass(frozen=True)
class ScoringPaths:
    """The files of one scoring; where the input is a folder, folders of the same layout.

    Attributes:
        bundle: Folder of the bundle.
        source: The rows to score: a file, a folder of parts or a pattern.
        output: The rows with predictions.
        rejects: The rows that cannot be scored; None refuses such a file.
    """

    bundle: Path
    source: Path
    output: Path
    rejects: Path | None

    @property
    def written(self) -> dict[str, Path]:
        """Parameter -> file or folder that is written."""
        own = {} if self.rejects is None else {"score.rejects": self.rejects}
        return {**own, "score.output": self.output}

    @cached_property
    def found(self) -> Found:
        """The files of the input.

        Raises:
            MissingDataError: There are none.
            SchemaError: Their format is not known, or they are not one table.
        """
        return find_table(self.source, "score.input")

    def check(self, *, overwrite: bool, claimed: Collection[Path]) -> None:
        """Refuses files that must not, or cannot, be written.

        Args:
            overwrite: Whether files that exist may be replaced.
            claimed: Files that an interrupted run of this scoring has written.

        Raises:
            MissingDataError: There is no input.
            ConfigError: Lists every file that cannot be used.
        """
        check_local_paths(
            {"bundle": self.bundle, "score.input": self.source, **self.written}
        )
        find = self._fault if self.found.is_file else self._folder_fault
        problems = Problems("The files cannot be used")
        for name, path in self.written.items():
            fault = find(path)
            free = overwrite or path.resolve() in claimed or not _holds_files(path)
            if fault or not free:
                problems.add(f"{name} {path} {fault or _EXISTS}")
        if self.rejects is not None and self.rejects.resolve() == self.output.resolve():
            problems.add(f"score.rejects and score.output are both {self.output}.")
        elif self.rejects is not None and not self.found.is_file:
            one, other = self.rejects.resolve(), self.output.resolve()
            if one.is_relative_to(other) or other.is_relative_to(one):
                problems.add("score.rejects and score.output lie in one another.")
        problems.raise_as(ConfigError)

    def check_folder(self, path: Path) -> None:
        """Refuses to replace a folder that holds what is not of this scoring.

        Raises:
            ConfigError: Names the files.
        """
        if fault := self._folder_fault(path):
            raise ConfigError(
                f"{path} {fault} It was not written; what is there stays."
            )

    def _fault(self, path: Path) -> str:
        kind = format_of(self.source)
        if path.resolve() == self.source.resolve():
            return "is the input, which is never changed."
        if path.resolve().is_relative_to(self.bundle.resolve()):
            return "lies in the bundle, which must stay as it is."
        if path.is_dir():
            return "is a folder; give the name of a file."
        return (
            "" if format_of(path) == kind else f"must end in .{kind}, like the input."
        )

    def _folder_fault(self, path: Path) -> str:
        """As `_fault`, for a folder that takes one file per file of the input."""
        here = path.resolve()
        if any(file.resolve().is_relative_to(here) for file in self.found.files):
            return "holds the input, which is never changed."
        if self.source.is_dir() and here.is_relative_to(self.source.resolve()):
            return "lies in the folder of the input, which is never changed."
        if here.is_relative_to(self.bundle.resolve()):
            return "lies in the bundle, which must stay as it is."
        if path.is_file() or format_of(path):
            return "names a file, but the input is no single file: name a folder."
        own = {name.as_posix() for name in self.found.names}
        others = sorted(
            name
            for file in path.rglob("*")
            if not file.is_dir()
            and (name := file.relative_to(path).as_posix()) not in own
        )
        if others:
            return f"holds files that are not of this scoring, {some_of(others, 3)}."
        return ""


def _holds_files(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


_EXISTS = (
    "exists; give another name, or score.overwrite=true (tabweave score --overwrite)."
)
