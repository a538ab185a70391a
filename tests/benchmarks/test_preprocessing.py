"""The benchmark of preparation runs as its page shows it, on few rows."""

import json
import subprocess
import sys


def test_preprocessing(root):
    command = ["-m", "benchmarks.preprocessing", "--rows", "2000", "--sample", "20"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["rows"] == 2000
    assert figures["rank_private_mib"] > 0
