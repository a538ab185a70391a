"""Benchmarks: each ends with one JSON line. Speed and quality, apart from the tests."""

import tabweave  # noqa: F401  it settles what the libraries read when they are imported
