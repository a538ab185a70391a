from pathlib import Path

import pytest

from tabweave.errors import ConfigError
from tabweave.storage.local_paths import check_local_paths, local_path

ADDRESSES = [
    *("s3://bucket/key", "gs://bucket", "https://host/x.csv", "file:///tmp/x"),
    *("hdfs://host:9000/x", "abfss://c@a.dfs.core.windows.net/x", "dbfs:/mnt/x"),
    *("S3://BUCKET/KEY", "data/gs://bucket/x", "simplecache::s3://bucket/key", "x://"),
]
PATHS = [
    *("data/01_raw", "/data", "./x", "../x", "~/x", "a:b", "C:/data", "C:\\data"),
    *("12:30/x", "scratch", "owner/model", "x.csv:", "", "data/a: b/x", "日本/x"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_stays_as_it_is(path):
    assert local_path(path) == path
    check_local_paths({"x": path})


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_refused_with_what_to_do(address):
    with pytest.raises(ValueError, match="Copy or mount it here") as caught:
        local_path(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("address", ["s3://bucket/key", "gs://bucket"])
def test_an_address_that_was_made_a_path_is_still_one(address):
    """`pathlib` leaves one slash of two."""
    with pytest.raises(ConfigError, match="is an address"):
        check_local_paths({"score.output": Path(address)})


def test_all_addresses_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        check_local_paths({"data": "s3://a", "out": "gs://b", "in": "x", "no": None})
    title, *lines = str(caught.value).splitlines()
    assert title == "Some paths cannot be used:"
    assert [line.split(":")[0] for line in lines] == ["  - data", "  - out"]
