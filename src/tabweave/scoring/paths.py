"""Which files a scoring may write."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tabweave.errors import ConfigError, MissingDataError, Problems
from tabweave.local_paths import check_local_paths
from tabweave.tables import RawTable, format_of


@dataclass(frozen=True)
class ScoringPaths:
    """The files of one scoring.

    Attributes:
        bundle: Folder of the bundle.
        source: The rows to score.
        output: The rows with predictions.
        rejects: The rows that cannot be scored; None refuses such a file.
    """

    bundle: Path
    source: Path
    output: Path
    rejects: Path | None

    @property
    def written(self) -> dict[str, Path]:
        """Parameter -> file that is written."""
        own = {} if self.rejects is None else {"score.rejects": self.rejects}
        return {**own, "score.output": self.output}

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
        if not self.source.is_file():
            raise MissingDataError(f"There is no file {self.source} to score.")
        problems = Problems("The files cannot be used")
        for name, path in self.written.items():
            fault = self._fault(path)
            free = overwrite or path.resolve() in claimed or not path.exists()
            if fault or not free:
                problems.add(f"{name} {path} {fault or _EXISTS}")
        if self.rejects is not None and self.rejects.resolve() == self.output.resolve():
            problems.add(f"score.rejects and score.output are both {self.output}.")
        problems.raise_as(ConfigError)

    def _fault(self, path: Path) -> str:
        kind = RawTable(self.source, "input").format
        if path.resolve() == self.source.resolve():
            return "is the input, which is never changed."
        if path.resolve().is_relative_to(self.bundle.resolve()):
            return "lies in the bundle, which must stay as it is."
        if path.is_dir():
            return "is a folder; give the name of a file."
        return (
            "" if format_of(path) == kind else f"must end in .{kind}, like the input."
        )


_EXISTS = (
    "exists; give another name, or score.overwrite=true (tabweave score --overwrite)."
)
