import csv
import io
import re
import tracemalloc
from itertools import chain, product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tabweave.errors import SchemaError
from tabweave.tables import delimited
from tabweave.tables.delimited import read_cells, read_header
from tabweave.tables.quotes import AmbiguousQuotesError, Dialect, check_quotes

FEW = settings(max_examples=80, deadline=None)
CELLS = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("quotes") / "x.csv"


def read(path, dialect):
    names = read_header(path, dialect)
    batches = read_cells(path, dialect, names)
    return [row for b in batches for row in zip(*b.to_pydict().values(), strict=True)]


def python_rows(text, quoting):
    """Rows below the header as Python's own reader sees them; blank lines are none."""
    strict = quoting == csv.QUOTE_MINIMAL
    rows = csv.reader(io.StringIO(text, newline=""), quoting=quoting, strict=strict)
    return [tuple(row) for row in rows if row][1:]


def stray(rows, first, last, names="id\ty\tnote\tprice"):
    """A TSV of a program that knows no quotes; a note begins, a later one ends with one."""
    lines = [names]
    for number in range(1, rows + 1):
        begin, end = '"' * (number == first), '"' * (number == last)
        lines.append(f"r{number}\t{number % 2}\t{begin}note {number}{end}\t{number}.5")
    return "\n".join(lines) + "\n"


# A file that fits both ways is refused unless it is said how it is meant


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_between_stray_quotes_are_not_lost_in_silence(path, end):
    path.write_bytes(stray(300, 10, 40).replace("\n", end).encode())
    with pytest.raises(AmbiguousQuotesError) as caught:
        read(path, Dialect("\t"))
    message = str(caught.value)
    assert "270 rows if cells may be in quotes, 300 if a quote is a char" in message
    assert "from line 11: 'r10\\t0\\t\"note 10\\t10.5' on" in message
    assert "data.quoting=none" in message
    assert "data.quoting=standard" in message
    assert "--quoting" in message
    assert len(read(path, Dialect("\t", "none"))) == 300
    assert len(read(path, Dialect("\t", "standard"))) == 270


def test_two_rows_that_a_pair_joins_in_the_middle_are_noticed(path):
    path.write_text('a,b,c\n1,2,3\n1,"2,3\n4,5",6\n7,8,9\n')
    with pytest.raises(AmbiguousQuotesError, match=r"3 rows if .* 4 if .* line 3: "):
        read(path, Dialect(","))


@pytest.mark.parametrize(
    "content",
    [
        'a,b,c\n1,"hello, world\nand, more, of it",2\n',
        'a,b,c\n1,"a, b",2\n3,"x,\n,y",4\n',  # the row before needs its quotes
        'a,b\n1,"one\n\ntwo"\n',
        '"a,b",c\n1,"x,\n2"\n',
    ],
)
def test_real_texts_over_several_lines_load(path, content):
    path.write_text(content)
    assert read(path, Dialect(",")) == python_rows(content, csv.QUOTE_MINIMAL)


def test_a_file_of_real_texts_with_commas_loads_whole(path):
    rows = [
        (str(n), str(n % 2), f"dear all,\nrow {n}, it came late,\nthanks, and bye")
        for n in range(2000)
    ]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("id", "y", "note"), *rows])
    doubts = []
    batches = read_cells(path, Dialect(","), ["id", "y", "note"], doubts=doubts)
    assert sum(batch.num_rows for batch in batches) == 2000
    assert len(doubts) == 1  # its second lines have two commas, as a row has
    assert doubts[0].startswith("2,000 cells in quotes go over several lines")
    assert "first in rows 1, 2, 3." in doubts[0]


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@example(rows=[(",\n,", "", "")], quoting=csv.QUOTE_MINIMAL)
@example(rows=[("1", "x\n2", ""), ("", "", "\r,,")], quoting=csv.QUOTE_MINIMAL)
@FEW
def test_what_python_wrote_is_read_so_or_refused_where_it_reads_two_ways(
    path, rows, quoting
):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n", quoting=quoting)
    writer.writerows([("a", "b", "c"), *rows])
    content = text.getvalue()
    path.write_bytes(content.encode())
    plain = python_rows(content, csv.QUOTE_NONE)
    header = content.split("\r\n")[0].split(",")
    fits = all(len(row) == len(header) for row in plain)
    if fits and len(plain) != len(rows):
        with pytest.raises(AmbiguousQuotesError) as caught:
            read(path, Dialect(","))
        assert f"{len(rows)} rows if cells may" in str(caught.value)
        assert f", {len(plain)} if a quote" in str(caught.value)
    else:
        assert read(path, Dialect(",")) == rows
    assert read(path, Dialect(",", "standard")) == rows
    if fits:
        assert read(path, Dialect(",", "none")) == plain
    else:
        with pytest.raises(SchemaError, match="cells, but the header has 3 names"):
            read(path, Dialect(",", "none"))


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.sampled_from('ab"; é\\'), max_size=5)] * 3),
        max_size=8,
    ),
    delimiter=st.sampled_from(",\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
@FEW
def test_without_quotes_every_character_is_kept(path, rows, delimiter, end):
    lines = [delimiter.join(row) for row in [("a", '"b', "c"), *rows]]
    path.write_bytes("".join(line + end for line in lines).encode())
    dialect = Dialect(delimiter, "none")
    assert read_header(path, dialect) == ["a", '"b', "c"]
    assert read(path, dialect) == rows


# Cells that may be rows


JOINED = '1,"a, b",0\n10,"hello,0\n11,world",1\n12,x,1\n13,y,0\n'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("shift", range(4))
def test_rows_joined_in_a_middle_column_are_told(path, end, shift):
    rows = JOINED.replace("0\n", "0\n" + '2,"t, 1\nu",0\n' * shift, 1)
    path.write_bytes(f"id,text,label\n{rows}".replace("\n", end).encode())
    (doubt,) = check_quotes(path, Dialect(","), 3, 1 << 20)
    assert doubt.startswith("1 cells in quotes go over several lines")
    assert f"first in rows {2 + shift}." in doubt


def test_a_note_that_fits_in_some_of_its_lines_only_is_none(path):
    path.write_text('id,text,label\n1,"so, it came\nand went",0\n2,"a, b",1\n')
    assert check_quotes(path, Dialect(","), 3, 1 << 20) == []


def lines_of_cell(row, place):
    """The lines of a file that hold some of a cell of a row of two."""
    first, second = (re.split("\n+", f"^{cell}$") for cell in row)
    own = (first, second)[place]
    if place == 0:
        return [*own[:-1], f"{own[-1]},{second[0]}"]
    return [f"{first[-1]},{own[0]}", *own[1:]]


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.sampled_from('a,"\n'), max_size=9)] * 2), max_size=9
    )
)
@FEW
def test_cells_that_hold_what_looks_like_a_row_are_counted_and_named(path, rows):
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b"), *rows])
    path.write_bytes(text.getvalue().encode())
    doubtful = [
        number
        for number, row in enumerate(rows, 1)
        for place, cell in enumerate(row)
        if "\n" in cell
        # In the file each quote of the cell is there twice.
        and (
            any(x.count(",") == 1 for x in re.split("\n+", f"^{cell}$"))
            or all(x.count(",") == 1 for x in lines_of_cell(row, place))
        )
    ]
    found = check_quotes(path, Dialect(",", "standard"), 2, 1 << 20)
    if not doubtful:
        assert found == []
        return
    (sentence,) = found
    assert sentence.startswith(f"{len(doubtful)} cells in quotes go over several lines")
    shown = re.search(r"first in rows ([0-9, ]+)\.", sentence)[1]
    assert shown == ", ".join(map(str, doubtful[:3]))


def outcome(path, block):
    try:
        return check_quotes(path, Dialect(","), 2, block)
    except SchemaError as error:
        return str(error)


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.sampled_from('a,"\n\r'), max_size=6)] * 2), max_size=30
    ),
    wrong=st.sampled_from(["", '"', '1,"x"y\n', '1,"x\n']),
    block=st.sampled_from([64, 65, 71, 90]),
)
@FEW
def test_blocks_make_no_difference(path, rows, wrong, block):
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b"), *rows])
    path.write_bytes((text.getvalue() + wrong).encode())
    assert outcome(path, block) == outcome(path, 1 << 20)


@pytest.mark.parametrize("end", ["", "\n"])
def test_no_stray_quote_swallows_rows_wherever_the_blocks_end(path, monkeypatch, end):
    block = 60
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    for before, after, note in product(range(16), range(16), ("", "-" * 7)):
        rows = ["1,x,", *(f"{n},x,{note}" for n in range(before)), '7,x,"stray']
        rows += [f"{n},x,{note}" for n in range(after)]
        path.write_text("\n".join(["a,b,c", *rows]) + end, newline="")
        with pytest.raises(csv.Error):
            python_rows(path.read_text(), csv.QUOTE_MINIMAL)
        with pytest.raises(SchemaError, match=r"never|no closing quote") as caught:
            read(path, Dialect(",", "standard"))
        assert f"line {before + 3} " in str(caught.value)


def test_a_row_may_be_as_long_as_a_block(path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 60)
    for before, half in product(range(0, 58, 6), range(10, 27, 3)):
        content = f'a,b\n2,{"x" * before}\n3,"{"y" * half}\n{"y" * half}"\n4,z\n'
        path.write_text(content)
        expected = python_rows(content, csv.QUOTE_MINIMAL)
        assert read(path, Dialect(",", "standard")) == expected


def test_the_check_holds_one_block_and_one_row(tmp_path):
    path = tmp_path / "x.csv"
    with open(path, "w", newline="") as file:
        lines = (("1", f'say "{"x" * 500}"\nend') for _ in range(20_000))
        csv.writer(file).writerows(chain([("a", "b")], lines))
    assert path.stat().st_size > 10_000_000
    tracemalloc.start()
    check_quotes(path, Dialect(","), 2, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("last", ['"x', '"" '])
def test_a_hostile_file_of_quotes_is_refused_at_once(tmp_path, last):
    path = tmp_path / "x.csv"
    path.write_bytes(b'a,b\n1,"' + b'""' * (1 << 20) + last.encode())
    with pytest.raises(SchemaError, match="in line 2 has no closing quote"):
        check_quotes(path, Dialect(","), 2, 4 << 20)
