import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.errors import ArtifactError, SchemaError, TabweaveError
from tabweave.tables.parquet import WRITTEN, open_parquet, parquet_batches, read_parquet

TABLE = pa.table(
    {
        "t": [f"text {n} of many" for n in range(400)],
        "d": pa.array([f"c{n % 3}" for n in range(400)]).dictionary_encode(),
        "x": pa.array(np.linspace(0, 1, 400), pa.float32()),
    }
)


@pytest.fixture(params=["NONE", "snappy", "zstd"])
def path(tmp_path, request):
    path = tmp_path / "x.parquet"
    options = {**WRITTEN, "compression": request.param}
    pq.write_table(TABLE, path, row_group_size=100, **options)
    return path


def pages(path):
    """First and last byte of the pages of each column chunk."""
    with pq.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            for column in range(file.metadata.num_columns):
                chunk = file.metadata.row_group(group).column(column)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                yield start, start + chunk.total_compressed_size


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << random.Random(at).randrange(8)
    path.write_bytes(content)


def test_a_flipped_bit_never_gives_other_cells(path):
    content = path.read_bytes()
    chance = random.Random(1)
    places = [chance.randrange(*span) for span in pages(path) for _ in range(8)]
    refused = 0
    for place in places:
        path.write_bytes(content)
        flipped(path, place)
        try:
            found = read_parquet(path, None, ArtifactError)
        except ArtifactError as error:
            refused += str(error).startswith(f"{path}: is damaged (")
        else:  # a bit of a page's header that says nothing about its cells
            assert found.equals(TABLE)
    assert refused > 0.7 * len(places)


@pytest.mark.parametrize("refused", [SchemaError, ArtifactError])
def test_every_way_to_read_verifies(tmp_path, refused):
    path = tmp_path / "x.parquet"
    pq.write_table(TABLE, path, compression="NONE", write_page_checksum=True)
    at = path.read_bytes().index(b"text 7 of many")
    flipped(path, at)
    for read in (
        lambda: list(parquet_batches(path, ["t"], 10, refused, " Do it again.")),
        lambda: read_parquet(path, ["t"], refused, " Do it again."),
        lambda: read_parquet(path, None, refused, " Do it again."),
    ):
        with pytest.raises(refused, match=r"x\.parquet: is damaged .*Do it again\."):
            read()
    assert read_parquet(path, ["x"], refused)["x"].equals(TABLE["x"])


def test_a_file_without_checksums_is_read(tmp_path):
    pq.write_table(TABLE, tmp_path / "x.parquet")
    assert read_parquet(tmp_path / "x.parquet", None, SchemaError).equals(TABLE)


@pytest.mark.parametrize("size", [0, 10, -20, -1])
def test_a_cut_file_is_refused_by_name(tmp_path, size):
    path = tmp_path / "x.parquet"
    pq.write_table(TABLE, path)
    content = path.read_bytes()
    path.write_bytes(content[:size])
    with pytest.raises(TabweaveError, match=r"x\.parquet: is not a Parquet file"):
        open_parquet(path, ArtifactError)
