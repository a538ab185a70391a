"""One raw file -> train, val and test: by class at random, by time or by group.

Every row goes to one split, or is dropped by the embargo and counted. Rows keep their
cells, their order and the format of their file.
"""

from __future__ import annotations

from tabweave.splitting.config import SplitConfig
from tabweave.splitting.division import Division, divide
from tabweave.splitting.files import write_division

__all__ = ["Division", "SplitConfig", "divide", "write_division"]
