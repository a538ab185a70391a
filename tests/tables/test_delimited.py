import csv
import gzip
import io
import random

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tabweave.errors import SchemaError
from tabweave.tables import delimited
from tabweave.tables.delimited import read_cells, read_header, write_cells
from tabweave.tables.quotes import Dialect

FEW = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("delimited")


def rows_of(path, delimiter=",", columns=None, quoting="standard"):
    dialect = Dialect(delimiter, quoting)
    header = read_header(path, dialect)
    batches = list(read_cells(path, dialect, columns or header))
    assert all(set(b.schema.types) == {pa.string()} for b in batches)
    return [row for b in batches for row in zip(*b.to_pydict().values(), strict=True)]


def rows_from(content, folder, delimiter=",", columns=None, quoting="standard"):
    path = folder / "x.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return rows_of(path, delimiter, columns, quoting)


def refusal(content, folder, delimiter=","):
    with pytest.raises(SchemaError) as caught:
        rows_from(content, folder, delimiter)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'x.csv'}: ")
    return message.removeprefix(f"{folder / 'x.csv'}: ")


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,2\n", [("1", "2")]),
        ("a,b\n1,2", [("1", "2")]),
        ("a,b\r\n1,2\r\n3,4\r\n", [("1", "2"), ("3", "4")]),
        ("a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
        ("\ufeffa,b\n1,2\n", [("1", "2")]),
        ('\ufeff"a",b\n1,2\n', [("1", "2")]),
        ("a,b\n1,2\n\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
        ("a,b\n,\n", [("", "")]),
        ('a,b\n"",""\n', [("", "")]),
        ('a,b\n"line\nbreak","x\r\ny"\n', [("line\nbreak", "x\r\ny")]),
        ('a,b\n"one, two","say ""yes"""\n', [("one, two", 'say "yes"')]),
        ('a,b\n"""",""""""\n', [('"', '""')]),
        ('a,b\n5" pipe,it""s\n', [('5" pipe', 'it""s')]),
        ("a,b\n x , y \n", [(" x ", " y ")]),
        ("a,b\n00123,1e5\n", [("00123", "1e5")]),
        ("a,b\nNA,null\nTrue,NaN\nNone,N/A\n#N/A,-\n", None),
        ("a,b\n2024-01-31,12:30\n1_000,0x1F\n", None),
        ("a,b\n1,\x00x\n", [("1", "\x00x")]),
        ("a,b\n日本,🙂\n", [("日本", "🙂")]),
        ("a,b\nx\u2028y,x\x85y\n", [("x\u2028y", "x\x85y")]),
    ],
)
def test_every_cell_is_the_text_that_was_written(folder, content, rows):
    if rows is None:
        rows = [tuple(line.split(",")) for line in content.splitlines()[1:]]
    assert rows_from(content, folder) == rows


@pytest.mark.parametrize("content", ["a,b", "a,b\n", "a,b\r\n", "a,b\n\n\n"])
def test_a_header_alone_is_a_table_without_rows(folder, content):
    assert rows_from(content, folder) == []


def test_tabs_delimit_a_tsv_and_commas_do_not(folder):
    content = 'a\tb\n1,5\t"x\ty"\n'
    assert rows_from(content, folder, "\t") == [("1,5", "x\ty")]


def test_columns_are_read_by_name_in_the_order_that_is_asked(folder):
    content = "a,b,c\n1,2,3\n4,5,6\n"
    wanted = [("3", "1"), ("6", "4")]
    assert rows_from(content, folder, columns=["c", "a"]) == wanted


@pytest.mark.parametrize("terminator", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", "\t"])
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.sampled_from('ab,"\t\n\r é0 '), max_size=6)] * 3),
        max_size=8,
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@FEW
def test_what_another_program_wrote_comes_back(
    folder, rows, delimiter, terminator, quoting
):
    if terminator == "\n":  # then the writer does not quote a bare \r
        rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter=delimiter, lineterminator=terminator, quoting=quoting
    )
    writer.writerows([("a", "b", "c"), *rows])
    assert rows_from(text.getvalue(), folder, delimiter) == rows


def strict_rows(text):
    """The rows as Python's strict reader sees them, or None where it refuses."""
    try:
        found = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except csv.Error:
        return None
    return [tuple(row) for row in found if row]


@given(
    body=st.lists(
        st.sampled_from(["a", ",", '"', '"', "\n", "\r\n", "b ", '"a,b"', ',"']),
        max_size=14,
    )
)
@settings(max_examples=600, deadline=None)
def test_any_text_is_read_as_a_strict_reader_reads_it_or_refused(folder, body):
    text = "x,y\n" + "".join(body)
    expected = strict_rows(text)
    if expected is None or any(len(row) != 2 for row in expected):
        with pytest.raises(SchemaError):
            rows_from(text, folder)
    else:
        assert rows_from(text, folder) == expected[1:]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('a,b\n1,"hello\n2,ok\n3,ok\n', 2),  # would swallow rows 2 and 3
        ('a,b\n1,ok\n2,"hello\n3,"ok"\n', 3),  # would join rows 2 and 3
        ('a,b\n1,"hello\n2,"ok\n3,ok\n', 2),
        ('a,b\n1,"5" pipe\n', 2),  # would lose its quotes
        ('a,b\n1,"x" \n', 2),
        ('a,b\n"1,2\n', 2),
        ('a,b\n1,"', 2),
        ('a,"b\n1,2\n', 1),
        ('\ufeff"a,b\n1,2\n', 1),
    ],
)
def test_a_quote_that_would_join_rows_or_lose_characters_is_refused(
    folder, content, line
):
    message = refusal(content, folder)
    assert f"begins with a quote in line {line} " in message
    assert 'write each quote inside it as ""' in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b,c\n1,2,3\n1,2\n",
            "row 2 has 2 cells, but the header has 3 names: '1,2'.",
        ),
        ("a,b\n1,2,3\n", "row 1 has 3 cells, but the header has 2 names: '1,2,3'."),
        ("a,b\n1,2\nx\n", "row 2 has 1 cells, but the header has 2 names: 'x'."),
        ('a,b\n"x\n\ny",2\n1\n', "row 2 has 1 cells, but the header has 2 names: '1'."),
        ("a,b,c\n" + "1,2,3\n" * 9999 + "4\n", "row 10000 has 1 cells, but the header"),
    ],
)
def test_a_row_that_does_not_fit_the_header_is_named(folder, content, message):
    assert refusal(content, folder).startswith(message)


@pytest.mark.parametrize("rows", [0, 1, 20_000])
def test_a_cell_that_is_not_utf8_is_named(folder, rows):
    content = b"id,text\n" + b"1,ok\n" * rows + b"2,caf\xe9\n"
    assert refusal(content, folder) == (
        f"row {rows + 1}, column 'text': the cell is not UTF-8. Save the table as text "
        "in UTF-8, or let the load stage replace the bad bytes (data.invalid_utf8: "
        "repair)."
    )


def test_a_column_that_is_not_read_may_hold_anything(folder):
    content = b"id,text\n1,caf\xe9\n"
    assert rows_from(content, folder, columns=["id"]) == [("1",)]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "; the file looks like UTF-16"),
        (
            b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"),
            "; the file looks like UTF-16",
        ),
        ("a,b\n1,2\n".encode("utf-16-le"), ""),
        ("näme,b\n1,2\n".encode("latin-1"), ""),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "; the file looks like a gzip archive"),
        (b"PK\x03\x04\x14\x00\x06\x00", "; the file looks like a zip archive or a spr"),
        (b"PAR1\x15\x04\x15\x10", "; the file looks like Parquet"),
    ],
)
def test_what_is_not_utf8_text_is_refused_by_what_it_looks_like(folder, content, hint):
    message = refusal(content, folder)
    assert message.startswith(f"the header is not UTF-8{hint}")
    assert message.endswith("Save the table as text in UTF-8.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; it has no header."),
        (b"\xef\xbb\xbf", "the file is empty; it has no header."),
        (b"\n\n", "the first line is blank; it must hold the column names."),
        (b"\na,b\n1,2\n", "the first line is blank; it must hold the column names."),
        (b"a" * 200_000, "the header cannot be read (field larger than field limit"),
    ],
)
def test_a_file_without_a_header_is_refused(folder, content, message):
    assert refusal(content, folder).startswith(message)


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_cell_of_ten_megabytes_is_read_and_a_longer_row_is_refused(
    tmp_path, quote, monkeypatch
):
    long = quote + b"z" * (10 << 20) + quote
    content = b"a,b\n1," + long + b"\n2,end\n"
    first, last = rows_from(content, tmp_path)
    assert (first[0], len(first[1]), set(first[1])) == ("1", 10 << 20, {"z"})
    assert last == ("2", "end")

    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1 << 20)
    message = "the row that begins in line 2 is longer than 1 MiB, or begins a cell"
    assert refusal(content, tmp_path).startswith(message)


@given(
    cells=st.lists(
        st.text(st.sampled_from('xy"\n\r,'), max_size=9), min_size=1, max_size=40
    ),
    block=st.sampled_from([30, 31, 32, 37, 64]),
)
@example(cells=["", '"', 'xxx"', 'xxx""', 'xxxxxxxx"', "xxx\r\n"], block=32)
@settings(max_examples=200, deadline=None)
def test_rows_keep_their_order_across_blocks(folder, cells, block):
    rows = [(str(number), cell) for number, cell in enumerate(cells)]
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_BYTES", block)
        assert rows_from(text.getvalue(), folder) == rows


def test_a_file_of_several_real_blocks_keeps_every_row(tmp_path):
    chance = random.Random(7)
    rows = [
        (str(n), f'{n}: "{"word, " * chance.randint(50, 110)}\nend"')
        for n in range(40_000)
    ]
    path = tmp_path / "x.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a", "b"), *rows])
    assert path.stat().st_size > delimited.BLOCK_BYTES
    batches = list(read_cells(path, Dialect(","), ["a", "b"]))
    assert len(batches) > 1
    assert pa.Table.from_batches(batches)["b"].to_pylist() == [row[1] for row in rows]


@given(cell=st.text(st.characters(exclude_categories=["Cs"]), min_size=300))
@FEW
def test_an_error_shows_at_most_80_characters_of_a_row(folder, cell):
    line = cell.replace('"', "'").replace("\n", " ").replace("\r", " ")
    line = line.replace(",", ";").replace("\0", " ")
    message = refusal(f"a,b\n{line}\n", folder)
    shown = message.removeprefix("row 1 has 1 cells, but the header has 2 names: ")
    assert shown != message
    assert len(shown) <= 81


# Writing


def written(path, dialect, table):
    with open(path, "wb") as file:
        write_cells(file, dialect, table.schema, table.to_batches())


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    cells=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=9
    ),
    delimiter=st.sampled_from(",\t"),
)
@example(names=["\ufeffa"], cells=["x"], delimiter=",")
@example(names=['"a"', "b"], cells=['"x"', '"', "", ""], delimiter=",")
@example(names=["a"], cells=[""], delimiter=",")
@FEW
def test_without_quotes_what_is_written_reads_back_or_is_refused_by_name(
    folder, names, cells, delimiter
):
    width = len(names)
    rows = [cells[n : n + width] for n in range(0, len(cells) - width + 1, width)]
    columns = [pa.array([row[n] for row in rows], pa.string()) for n in range(width)]
    path, dialect = folder / "out.csv", Dialect(delimiter, "none")
    bad = {delimiter, "\n", "\r"}

    def fits(line):
        return not any(bad & set(cell) for cell in line) and (width > 1 or any(line))

    table = pa.table(columns, names)
    if not fits(names) or "\0" in "".join(names):  # no header of ours holds one
        with pytest.raises(SchemaError, match="The header cannot be written without"):
            written(path, dialect, table)
    elif not all(map(fits, rows)):
        with pytest.raises(SchemaError, match=r"^Column .* has in row \d+ the cell "):
            written(path, dialect, table)
    else:
        written(path, dialect, table)
        assert read_header(path, dialect) == names
        found = [b.to_pydict() for b in read_cells(path, dialect, names)]
        rows_read = [row for b in found for row in zip(*b.values(), strict=True)]
        assert rows_read == [tuple(row) for row in rows]


def test_without_quotes_numbers_are_written_as_with_them(folder):
    values = [0.1, None, 1e-7, 3e38, 1 / 3, -0.0]
    table = pa.table({"a": pa.array(values, pa.float32()), "b": range(6)})
    found = []
    for quoting in ("standard", "none"):
        path, dialect = folder / "out.csv", Dialect(",", quoting)
        written(path, dialect, table)
        found.append(rows_of(path, quoting=quoting))
    assert found[0] == found[1]


def test_the_cell_that_cannot_be_written_is_named(folder):
    table = pa.table({"a": ["x", "y", "1,5"], "b": ["", "", ""]})
    with pytest.raises(
        SchemaError, match=r"Column 'a' has in row 3 the cell '1,5'.*holds a delimiter"
    ):
        written(folder / "out.csv", Dialect(",", "none"), table)
