"""What is in the three tables: counts, duplicates, unseen categories, leaks, findings."""

from __future__ import annotations

from tabweave.data_report.figure import data_report_figure
from tabweave.data_report.report import data_report

__all__ = ["data_report", "data_report_figure"]
