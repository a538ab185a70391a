"""tabweave: classifiers on rows that hold text and a table together."""

import os

__version__ = "0.1.0"

# A compute thread that waits for another by spinning keeps that other one off a shared
# core: with one of two cores busy, training of a small model was 20 times slower. This
# must be set before torch is imported; a value that the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Nothing is sent anywhere by default. onnxruntime writes an id of the machine and looks
# its host up as soon as it is imported, and reads only a variable of its own; the other
# one is read by kedro-telemetry, huggingface_hub and mlflow. Processes that are started
# from here inherit both; a value that the user has set stays.
for _variable in ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_variable, "1")
