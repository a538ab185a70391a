"""Private memory of one training rank: what mapped tables add to a bare process.

    python -m benchmarks.rank_memory [<folder of train_tokens.arrow, train_features.arrow>]

Without a folder it imports the same modules and opens nothing. Ends with one number, MiB.
"""

from __future__ import annotations

import argparse
import gc
import json
from itertools import islice
from pathlib import Path

from benchmarks.measuring import private_mib
from tabweave.batching.batches import Rows
from tabweave.batching.sampling import RankBatches, ShuffledBatches
from tabweave.tables.files import ArrowFile

BATCH, BATCHES = 256, 3_000


def main() -> None:
    """Gathers batches as a rank does and prints its private memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    if folder is not None:
        tokens = ArrowFile(folder / "train_tokens.arrow")
        rows = Rows(tokens, ArrowFile(folder / "train_features.arrow"), ["text"])
        order = RankBatches(ShuffledBatches(len(rows), BATCH, seed=0))
        for index in islice(order, BATCHES):
            rows.__getitems__(index)
    gc.collect()
    print(json.dumps(private_mib()))


if __name__ == "__main__":
    main()
