"""kedro-viz has no switch for what it asks the network; this is that switch."""

from __future__ import annotations

import os
import sys


def keep_to_this_machine() -> None:
    """Lets kedro-viz, where Kedro has loaded it, ask no host and give the user no id.

    Every start, and every page that is opened, asks a package index for the newest
    version, for up to 30 seconds where nothing answers. Every page also writes an id of
    the user below the home folder, whatever `.telemetry` says. As for kedro-telemetry,
    an empty DO_NOT_TRACK leaves all that as it is.
    """
    if "kedro_viz" not in sys.modules or not os.environ.get("DO_NOT_TRACK"):
        return
    from kedro_viz.integrations import pypi
    from kedro_viz.integrations.kedro import telemetry

    pypi._PYPI_ENDPOINT = ""  # an address that cannot be asked: no newest version
    telemetry._IS_TELEMETRY_INSTALLED = False
