"""Seconds per stage, peak memory and training speed of one whole run.

    python -m benchmarks.stages [--env womens_clothing --data <folder> --encoder <folder>]
        [--params training.max_epochs=1,..]

Runs `kedro run` as a user would, in a process of its own, and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from typing import Any

from benchmarks.project import ROOT, load_project

STAGE = re.compile(r"^(\w+) +([0-9.]+) s")
MIB = 1024


def main() -> None:
    """Runs all stages and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default=None)
    parser.add_argument("--data", default=None, help="data_dir of the run")
    parser.add_argument("--encoder", default=None, help="text.encoder of the run")
    parser.add_argument("--params", default="", help="as in kedro run --params")
    options = parser.parse_args()
    params = {"data_dir": options.data, "text.encoder": options.encoder}
    given = [f"{key}={value}" for key, value in params.items() if value]
    given += [options.params] if options.params else []
    command = [sys.executable, "-m", "kedro", "run"]
    command += ["--env", options.env] if options.env else []
    command += ["--params", ",".join(given)] if given else []
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    stages: dict[str, float] = {}
    for line in process.stdout:
        print(line, end="", file=sys.stderr)
        if found := STAGE.match(line):
            stages[found[1]] = float(found[2])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(
            f"kedro run ended with status {os.waitstatus_to_exitcode(status)}"
        )
    result: dict[str, Any] = {
        "benchmark": "stages",
        "env": options.env or "base",
        "wall_seconds": round(time.monotonic() - started, 1),
        "stage_seconds": stages,
        "peak_rss_mib": round(usage.ru_maxrss / MIB),
    }
    catalog, _ = load_project(options.env)
    history, metrics = catalog.load("training_history"), catalog.load("metrics")
    result["samples_per_second"] = round(history["samples_per_second"], 1)
    result |= {k: v for k, v in metrics.items() if k.startswith("test/")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
