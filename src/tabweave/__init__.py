"""tabweave: classifiers on rows that hold text and a table together."""

import os

__version__ = "0.1.0"

# A compute thread that waits for another by spinning keeps that other one off a shared
# core: with one of two cores busy, training of a small model was 20 times slower. This
# must be set before torch is imported; a value that the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
