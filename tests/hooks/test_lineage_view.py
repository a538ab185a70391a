import importlib
import sys

import pytest

from tabweave.hooks.lineage_view import keep_to_this_machine

pypi = pytest.importorskip("kedro_viz.integrations.pypi")
telemetry = importlib.import_module("kedro_viz.integrations.kedro.telemetry")


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Addresses that kedro-viz asks; it starts as it is installed, the home empty."""
    addresses = []

    def get(address, **options):
        addresses.append(address)
        return real(address, **options)

    real = pypi.requests.get
    monkeypatch.setattr(pypi.requests, "get", get)
    monkeypatch.setattr(pypi, "_PYPI_ENDPOINT", "http://127.0.0.1:9/newest")
    monkeypatch.setattr(telemetry, "_IS_TELEMETRY_INSTALLED", True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return addresses


def test_no_host_is_asked_and_no_id_is_made(asked, tmp_path):
    keep_to_this_machine()
    assert pypi.get_latest_version() is None
    assert asked in ([], [""])
    assert telemetry.get_heap_identity() is None
    assert list(tmp_path.iterdir()) == []


def test_who_has_emptied_the_variable_gets_what_kedro_viz_does(
    asked, tmp_path, monkeypatch
):
    monkeypatch.setenv("DO_NOT_TRACK", "")
    keep_to_this_machine()
    assert pypi.get_latest_version() is None  # nobody answers there
    assert asked == ["http://127.0.0.1:9/newest"]
    assert telemetry.get_heap_identity()
    assert list(tmp_path.rglob("telemetry.toml"))


def test_kedro_viz_is_not_imported_for_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("kedro_viz")]:
        monkeypatch.delitem(sys.modules, name)
    keep_to_this_machine()
    assert "kedro_viz" not in sys.modules
