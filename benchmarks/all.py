"""All benchmarks one after the other, as one table with the machine's matmul peak.

    python -m benchmarks.all --encoder <folder> --data <folder> [--repeats n] [--quick]

The line of each one goes to the error stream as it comes. When one fails, the others still
run; the table is followed by the names of those that failed, and the exit status is 1.
--quick tries everything on a few rows in one process: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.arms import TRIAL, Failed, log, run, turns
from benchmarks.project import ROOT

WIDTH = 34
FUSION = "benchmarks.fusion"


def benchmarks(
    encoder: Path, data: Path, repeats: int, *, quick: bool
) -> list[list[Any]]:
    """Module and arguments of every benchmark."""
    reviews = ["--env", "womens_clothing", "--data", data, "--encoder", encoder]
    more = [*reviews, "--repeats", repeats]
    few_steps = ["--params", "training.max_steps=20"]
    if quick:
        few_texts = ["--sample", 50, "--batches", 200]
        once = [*reviews, "--repeats", 1]
        return [
            ["benchmarks.text_growth", "--characters", 20_000],
            ["benchmarks.preprocessing", "--rows", 2_000, *few_texts],
            ["benchmarks.training", *once, "--rows", 128, "--rival-rows", 64],
            ["benchmarks.prediction", *once, "--rows", 64],
            ["benchmarks.scoring", *once, "--rows", 64],
            ["benchmarks.ranks", *once, "--rows", 128],
            ["benchmarks.stages", *few_steps],
            [FUSION, *few_steps],  # of what the stages have prepared
        ]
    return [
        ["benchmarks.text_growth"],
        ["benchmarks.preprocessing", "--rows", 20_000, "--sample", 500],
        ["benchmarks.training", *more],
        ["benchmarks.prediction", *more],
        ["benchmarks.scoring", *more],
        ["benchmarks.ranks", *more],
        [FUSION],
        ["benchmarks.stages", *reviews],
    ]


def prepare_demo() -> None:
    """The model inputs of the demo, which the benchmark of fusion reads.

    Raises:
        Failed: The run ended otherwise than well.
    """
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=prepare"]
    log(" ".join(command[1:]))
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode:
        raise Failed(f"kedro run --pipelines=prepare ended with {done.returncode}")


def measure(module: str, given: list[Any]) -> dict[str, Any]:
    """The figures of one benchmark.

    Raises:
        Failed: It gave none.
    """
    log(" ".join(map(str, [module, *given])))
    if module == FUSION and not TRIAL:
        prepare_demo()
    # Its status says whether fusion pays, which is a figure like the others.
    figures = run(module, *given, any_status=module == FUSION)
    log(json.dumps(figures))
    return figures


def matmul_peaks() -> dict[str, float]:
    """Measured with all threads, in Gflop/s."""
    import torch

    from tabweave.training.measures.matmul_peak import matmul_peak

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        f"matmul peak {precision}, Gflop/s": round(matmul_peak(precision, device) / 1e9)
        for precision in ("bf16-mixed", "32-true")
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """One line per figure, under the name of its benchmark.

    Example:
        >>> print(table({"fusion": {"rows": 9, "gain": {"low": 0.1}}}))
        | benchmark      | figure                             | value |
        |---|---|---|
        | fusion         | rows                               | 9 |
        | fusion         | gain low                           | 0.1 |
    """
    lines = [f"| {'benchmark':14} | {'figure':{WIDTH}} | value |", "|---|---|---|"]
    for name, result in results.items():
        for figure, value in flat(result).items():
            lines.append(f"| {name:14} | {figure:{WIDTH}} | {value} |")
    return "\n".join(lines)


def flat(result: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested figures under one name each.

    Example:
        >>> flat({"benchmark": "x", "loss": {"ours": 1}})
        {'loss ours': 1}
    """
    found: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{name} ")
        elif name != "benchmark":
            found[before + name] = value
    return found


def main() -> None:
    """Runs everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=turns, default=3, help="turns of every arm")
    parser.add_argument(
        "--quick", action="store_true", help="a few rows of everything, one turn"
    )
    options = parser.parse_args()
    TRIAL[:] = [True] * options.quick
    encoder, data = options.encoder.resolve(), options.data.resolve()
    results: dict[str, dict[str, Any]] = {}
    if not options.quick:
        results["machine"] = matmul_peaks()
    failed: dict[str, Failed] = {}
    chosen = benchmarks(encoder, data, options.repeats, quick=options.quick)
    for module, *given in chosen:
        name = module.removeprefix("benchmarks.")
        try:
            results[name] = measure(module, given)
        except Failed as error:
            log(str(error))
            failed[name] = error
    print(table(results), flush=True)
    if failed:
        raise Failed("\n".join(f"failed: {n}: {error}" for n, error in failed.items()))


if __name__ == "__main__":
    main()
