import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from tabweave.errors import MissingDataError, SchemaError
from tabweave.project_setup import infer_roles
from tabweave.project_setup import roles as module
from tabweave.tables.loading import load_splits
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import open_table

CLOTHING = Path(__file__).parents[3] / "shared" / "data" / "womens_clothing"
ROWS = 60


def write(tmp_path, columns, ending="csv", splits=("train", "val", "test")):
    """Writes the same columns as every split; CSV cells are written as given."""
    for split in splits:
        path = tmp_path / f"{split}.{ending}"
        table = pa.table(columns)
        if ending == "parquet":
            pq.write_table(table, path)
        else:
            delimiter = "\t" if ending == "tsv" else ","
            options = pa_csv.WriteOptions(delimiter=delimiter)
            pa_csv.write_csv(table, path, options)
    return tmp_path


def basic(**more):
    rng = random.Random(3)
    return {
        "order_id": [f"{i:05d}" for i in range(ROWS)],
        "note": [f"please send parcel {i} soon" for i in range(ROWS)],
        "label": [str(rng.randrange(2)) for _ in range(ROWS)],
        **more,
    }


def infer(tmp_path, ending="csv", **more):
    folder = write(tmp_path, basic(**more), ending)
    return infer_roles(folder, label="label", text=["note"])


def role_of(roles, name):
    (found,) = [column for column in roles.columns if column.name == name]
    return found


def varied(*values):
    rng = random.Random(5)
    return [rng.choice(values) for _ in range(ROWS)]


def amounts():
    rng = random.Random(7)
    return [f"{rng.uniform(1, 900):.2f}" for _ in range(ROWS)]


def load(folder, config):
    splits = ("train", "val", "test")
    raw = {s: open_table(find_split(folder, s), s) for s in splits}
    return load_splits(raw, config)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_the_proposal_loads(tmp_path, ending):
    roles = infer(tmp_path, ending, shop=varied("a", "b", ""), total=amounts())
    assert roles.data.id == "order_id"
    assert roles.data.text == ("note",)
    assert roles.data.classes == ("0", "1")
    assert sum(roles.classes.values()) == roles.rows == ROWS
    loaded = load(tmp_path, roles.data)
    assert loaded.tables["train"]["order_id"][7].as_py() == "00007"


def test_ids_keep_leading_zeros_and_win_over_other_unique_strings(tmp_path):
    columns = {"hash": [f"h{i}" for i in range(ROWS)], **basic()}
    roles = infer_roles(write(tmp_path, columns), label="label", text=["note"])
    assert roles.data.id == "order_id"
    assert "looks like an id" in role_of(roles, "hash").seen


def test_a_unique_string_is_the_id_where_no_name_says_so(tmp_path):
    columns = basic(ref=[f"r{i}" for i in range(ROWS)])
    del columns["order_id"]
    roles = infer_roles(write(tmp_path, columns), label="label", text=["note"])
    assert roles.data.id == "ref"


def test_an_id_is_unique_in_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tabweave.project_setup.columns.SAMPLE_ROWS", 20)
    ids = [*(f"r{i}" for i in range(ROWS - 1)), "r0"]
    columns = {"ticket_id": ids, **basic()}
    roles = infer_roles(write(tmp_path, columns), label="label", text=["note"])
    assert roles.data.id == "order_id"
    assert roles.sampled == 20
    assert roles.rows == ROWS


def test_no_id_lists_candidates(tmp_path):
    columns = basic(customer_id=varied("1", "2"), counter=list(range(ROWS)))
    del columns["order_id"]
    with pytest.raises(SchemaError, match="Pass --id") as caught:
        infer_roles(write(tmp_path, columns), label="label", text=["note"])
    assert "'customer_id' repeats earlier values in 58 rows" in str(caught.value)
    assert "'counter' is unique" in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        (["a"] * ROWS, "repeats earlier values in 59 rows"),
        ([""] * ROWS, "is empty in 60"),
    ],
)
def test_a_given_id_is_checked(tmp_path, cells, fault):
    write(tmp_path, basic(case=cells))
    with pytest.raises(SchemaError, match=f"'case' cannot be the id: it {fault}"):
        infer_roles(tmp_path, label="label", text=["note"], id_column="case")


def test_a_given_id_wins(tmp_path):
    write(tmp_path, basic(counter=list(range(ROWS))))
    roles = infer_roles(tmp_path, label="label", text=["note"], id_column="counter")
    assert roles.data.id == "counter"


def test_wrong_names_are_reported_together(tmp_path):
    write(tmp_path, basic())
    with pytest.raises(SchemaError) as caught:
        infer_roles(tmp_path, label="lable", text=["notes"])
    assert "Did you mean 'label'?" in str(caught.value)
    assert "Did you mean 'note'?" in str(caught.value)


def test_a_column_has_one_role(tmp_path):
    write(tmp_path, basic())
    with pytest.raises(SchemaError, match="'label' is named 2 times"):
        infer_roles(tmp_path, label="label", text=["label"])
    with pytest.raises(SchemaError, match="No text column is named"):
        infer_roles(tmp_path, label="label", text=[])


def test_no_train_file(tmp_path):
    with pytest.raises(MissingDataError, match=r"train\.csv"):
        infer_roles(tmp_path, label="label", text=["note"])


@pytest.mark.parametrize(
    ("values", "classes", "positive"),
    [
        (("0", "1"), ("0", "1"), "1"),
        (("yes", "no"), ("no", "yes"), "yes"),
        (("10", "9", "2"), ("2", "9", "10"), "10"),
        (("True", "False"), ("False", "True"), "True"),
    ],
)
def test_classes_are_ordered_as_loading_orders_them(
    tmp_path, values, classes, positive
):
    roles = infer_roles(
        write(tmp_path, basic() | {"label": varied(*values)}),
        label="label",
        text=["note"],
    )
    assert tuple(roles.classes) == roles.data.classes == classes
    assert roles.data.positive_label == positive
    assert load(tmp_path, roles.data).schema.classes == classes


def test_classes_come_from_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tabweave.project_setup.columns.SAMPLE_ROWS", 20)
    labels = ["0"] * 30 + ["1"] * 30
    roles = infer_roles(
        write(tmp_path, basic() | {"label": labels}), label="label", text=["note"]
    )
    assert roles.classes == {"0": 30, "1": 30}
    assert "looks sorted" in role_of(roles, "label").doubt


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([str(i) for i in range(ROWS)], "regression target or an id"),
        (["a"] * ROWS, "at least two classes"),
        (["", "a"] * (ROWS // 2), "is empty in 30 rows"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, message):
    write(tmp_path, basic() | {"label": labels})
    with pytest.raises(SchemaError, match=message):
        infer_roles(tmp_path, label="label", text=["note"])


def test_a_float_label_is_refused(tmp_path):
    write(tmp_path, basic() | {"label": [0.0, 1.0] * (ROWS // 2)}, "parquet")
    with pytest.raises(SchemaError, match="'label' has type double"):
        infer_roles(tmp_path, label="label", text=["note"])


@pytest.mark.parametrize(
    ("cells", "role", "seen"),
    [
        (amounts(), "numeric", "distinct"),
        (varied("1", "2", "3"), "numeric", "might be a category"),
        (varied("0.5", "1.5"), "numeric", "2 distinct, none missing"),
        (varied("01", "02", "3"), "categorical", "compared as text"),
        (varied("true", "false"), "categorical", "2 distinct"),
        (varied("red", "blue", ""), "categorical", "2 distinct"),
        (varied("2024-01-31", "2023-12-01"), "left out", "dates"),
        (["same"] * ROWS, "left out", "constant"),
        ([""] * ROWS, "left out", "constant"),
        ([f"key{i}" for i in range(ROWS)], "left out", "looks like an id"),
        ([f"the buyer {i} did not answer my question" for i in range(ROWS)],
         "left out", "--text"),
        ([f"x{i % 40}" for i in range(ROWS)], "left out", "too varied"),
        ([str(i + 5) for i in range(ROWS)], "left out", "counts the rows"),
        (["$5", *map(str, range(5)) , *map(str, range(ROWS - 6))], "left out",
         "98.3% of the cells are numbers, but not ['$5']"),
        (["9" * 45, "1"] * (ROWS // 2), "categorical", "2 distinct"),
    ],
)  # fmt: skip
def test_the_role_of_an_unnamed_column(tmp_path, cells, role, seen):
    roles = infer(tmp_path, extra=cells)
    found = role_of(roles, "extra")
    assert found.role == role
    assert seen in found.seen
    load(tmp_path, roles.data)


@pytest.mark.parametrize(
    ("values", "role", "seen"),
    [
        (pa.array([i % 2 == 0 for i in range(ROWS)]), "categorical", "2 distinct"),
        (pa.array([i * 7 % 50 for i in range(ROWS)]), "numeric", "50 distinct"),
        (pa.array([i / 7 for i in range(ROWS)]), "numeric", "60 distinct"),
        (pa.array(varied("1", "2")), "categorical", "stored as text"),
        (pa.array(varied("a", "b")).dictionary_encode(), "categorical", "2 distinct"),
        (pa.array([None] * ROWS, pa.float64()), "left out", "constant"),
        (pa.array([float("inf"), 1.0] * (ROWS // 2)), "left out", "infinite"),
        (pa.array([[i] for i in range(ROWS)]), "left out", "list<"),
        (pa.array(range(ROWS), pa.timestamp("s")), "left out", "dates"),
    ],
)
def test_parquet_columns_follow_their_types(tmp_path, values, role, seen):
    roles = infer(tmp_path, "parquet", extra=values)
    found = role_of(roles, "extra")
    assert found.role == role
    assert seen in found.seen
    load(tmp_path, roles.data)


def test_whole_numbers_named_as_ids_are_categories(tmp_path):
    roles = infer(tmp_path, shop_id=varied(*map(str, range(12))))
    assert role_of(roles, "shop_id").role == "categorical"
    assert "codes" in role_of(roles, "shop_id").seen


def test_too_many_categories_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_CATEGORIES", 5)
    roles = infer(tmp_path, shop=[f"s{i % 6}" for i in range(ROWS)])
    assert role_of(roles, "shop").role == "left out"


def test_null_words_are_proposed_and_load(tmp_path):
    cells = [*amounts()[:-2], "NA", "-"]
    roles = infer(tmp_path, total=cells)
    assert roles.data.null_values == ("", "-", "NA")
    assert "'NA'" in role_of(roles, "total").seen
    table = load(tmp_path, roles.data).tables["train"]
    assert table["total"].null_count == 2


def test_a_column_that_gives_the_label_away_is_kept_with_a_doubt(tmp_path):
    label = basic()["label"]
    roles = infer(
        tmp_path,
        verdict=[{"0": "ok", "1": "bad"}[v] for v in label],
        n=varied("a", "b"),
    )
    assert role_of(roles, "verdict").role == "categorical"
    assert "Is it known when a prediction is made?" in role_of(roles, "verdict").doubt
    assert not role_of(roles, "n").doubt


def test_columns_that_another_split_lacks_are_left_out(tmp_path):
    write(tmp_path, basic(total=amounts()), splits=("train", "val"))
    write(tmp_path, basic(), splits=("test",))
    roles = infer_roles(tmp_path, label="label", text=["note"])
    assert role_of(roles, "total").seen == "the file of test lacks it"
    load(tmp_path, roles.data)


def test_val_and_test_may_be_absent(tmp_path):
    write(tmp_path, basic(total=amounts()), splits=("train",))
    roles = infer_roles(tmp_path, label="label", text=["note"])
    assert roles.data.numeric == ("total",)


def test_repeated_and_nameless_columns(tmp_path):
    rows = [f"{i},{i:03d},word {i},{i % 2},{i},{i}" for i in range(ROWS)]
    for split in ("train", "val", "test"):
        text = "\n".join([",order_id,note,label,x,x", *rows])
        (tmp_path / f"{split}.csv").write_text(text)
    roles = infer_roles(tmp_path, label="label", text=["note"])
    assert role_of(roles, "").seen.endswith("it counts the rows")
    assert role_of(roles, "x").seen == "its name stands 2 times in the header"
    load(tmp_path, roles.data)


@pytest.mark.parametrize(
    ("characters", "expected"),
    [(40, 64), (256, 64), (260, 128), (1000, 256), (9999, 512)],
)
def test_max_sen_len_holds_the_texts(tmp_path, characters, expected):
    notes = [f"{i:05d}".ljust(characters, "x") for i in range(ROWS)]
    roles = infer_roles(
        write(tmp_path, basic() | {"note": notes}), label="label", text=["note"]
    )
    assert roles.max_sen_len == expected


def test_max_sen_len_counts_the_joined_texts(tmp_path):
    write(tmp_path, basic(more=["x" * 250] * ROWS))
    one = infer_roles(tmp_path, label="label", text=["note"])
    both = infer_roles(tmp_path, label="label", text=["more", "note"])
    assert (one.max_sen_len, both.max_sen_len) == (64, 128)
    assert both.data.text == ("more", "note")


@pytest.mark.data
@pytest.mark.skipif(not CLOTHING.is_dir(), reason=f"{CLOTHING.name} is not there")
def test_clothing_reviews():
    roles = infer_roles(CLOTHING, label="recommended", text=["title", "review_text"])
    data = roles.data
    assert data.id == "row_id"
    assert data.text == ("title", "review_text")
    assert set(data.numeric) == {"rating", "age", "positive_feedback_count"}
    # An item code: text in the file, 1,090 values in train.
    assert set(data.categorical) == {
        "division_name",
        "department_name",
        "class_name",
        "clothing_id",
    }
    assert "number stored as text" in role_of(roles, "clothing_id").seen
    assert "might be a category" in role_of(roles, "rating").seen
    assert roles.classes == {"0": 3331, "1": 15457}
    loaded = load(CLOTHING, data)
    assert loaded.schema.positive_label == "1"
    assert loaded.tables["train"].num_rows == roles.rows


def with_stray_quotes(folder):
    lines = ["key_id,note,label"] + [f"k{n},text {n},{n % 2}" for n in range(ROWS)]
    lines[10] = lines[10].replace("text", '"text')
    lines[40] = lines[40].replace(f",{39 % 2}", f'",{39 % 2}')
    for split in ("train", "val", "test"):
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def test_how_quotes_are_meant_is_found_out(tmp_path):
    with_stray_quotes(tmp_path)
    roles = infer_roles(tmp_path, label="label", text=["note"])
    assert (roles.rows, roles.quoting) == (ROWS, "none")
    assert roles.quoting_seen.startswith("30 rows if cells may be in quotes, 60 if")
    assert load(tmp_path, roles.data).tables["train"].num_rows == ROWS


@pytest.mark.parametrize(("quoting", "rows"), [("none", ROWS), ("standard", 30)])
def test_how_quotes_are_meant_may_be_said(tmp_path, quoting, rows):
    with_stray_quotes(tmp_path)
    roles = infer_roles(tmp_path, label="label", text=["note"], quoting=quoting)
    assert (roles.rows, roles.data.quoting, roles.quoting_seen) == (rows, quoting, "")


def test_columns_and_classes_come_from_all_parts(tmp_path):
    columns = basic(size=varied("s", "m"))
    write(tmp_path, columns, splits=("val", "test"))
    for number, shop in enumerate(("DE", "US")):
        rows = pa.table(columns).slice(30 * number, 30)
        path = tmp_path / "train" / f"shop={shop}" / "part-0.csv"
        path.parent.mkdir(parents=True)
        pa_csv.write_csv(rows, path)
    for split in ("val", "test"):
        (tmp_path / split / "shop=DE").mkdir(parents=True)
        (tmp_path / f"{split}.csv").rename(tmp_path / split / "shop=DE" / "x.csv")
    found = infer_roles(tmp_path, label="label", text=["note"])
    assert (found.rows, found.files, found.source) == (ROWS, 2, tmp_path / "train")
    assert role_of(found, "shop").role == "categorical"
    assert role_of(found, "size").role == "categorical"
    assert found.having("id")[0].name == "order_id"


def test_files_that_are_not_read_are_named(tmp_path, caplog):
    write(tmp_path, basic())
    (tmp_path / "train").mkdir()
    for name in ("a.csv", "b.csv"):
        shutil.copy(tmp_path / "train.csv", tmp_path / "train" / name)
    infer_roles(tmp_path, label="label", text=["note"])
    assert "'b.csv', '../train.csv'" in caplog.text
