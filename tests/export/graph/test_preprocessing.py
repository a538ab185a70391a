import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer, normalizers

from preparation_fixtures import (
    NAMES,
    SCRATCH,
    TABLE,
    preparation,
    prepare_session,
    text_field,
    wordpiece_json,
)
from tabweave.errors import ExportError
from tabweave.export.gates.edge_texts import EDGE_TEXTS, fuzzed_texts
from tabweave.export.gates.token_gate import compare_tokens, in_all_columns
from tabweave.export.graph.preprocessing import (
    preprocessing_inputs,
    preprocessing_model,
)
from tabweave.export.onnx_model import check_onnx_file
from tabweave.preparation.reference import reference_features
from tabweave.text.config import MINIMAL_STEPS

FEATURES = ("num:price", "num:age", "cat:shop:yes", "missing:price")
CASED = wordpiece_json(["walked", "É", "a", "가", "中"], lowercase=False)
TEXTS = [*EDGE_TEXTS, *fuzzed_texts(7, 400)]


def test_a_whole_record_becomes_the_inputs_of_a_model(tmp_path):
    prepared = preparation(features=FEATURES)
    model = preprocessing_model(
        prepared, text_names=[("ids", "mask")], table_name="tab", opset=20
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    check_onnx_file(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    kinds = {one.name: (one.type, one.shape) for one in session.get_inputs()}
    text, number = ("tensor(string)", ["batch"]), ("tensor(float)", ["batch"])
    assert kinds == {"chat": text, "shop": text, "price": number, "age": number}
    feed = {n: np.array(TABLE.column(n).to_pylist(), object) for n in ("chat", "shop")}
    feed |= {n: TABLE.column(n).to_numpy().astype("f") for n in ("price", "age")}
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, feed), strict=True))
    assert names == [
        "ids",
        "mask",
        "chat_dropped_tokens",
        "chat_dropped_characters",
        "tab",
    ]
    assert found["tab"].tolist() == reference_features(prepared, TABLE).tolist()
    assert found["ids"].shape == found["mask"].shape
    assert found["ids"].dtype == found["chat_dropped_tokens"].dtype == np.int64
    assert not found["mask"][2].any()


@pytest.mark.parametrize(
    ("fields", "tokenizers", "opset"),
    [
        ([text_field()], SCRATCH, 23),
        (
            [
                text_field("x", ("s", "t"), max_sen_len=8, max_characters=60),
                text_field("y", ("t",), steps=MINIMAL_STEPS, chunk_truncate=True),
            ],
            SCRATCH,
            20,
        ),
        (
            [
                text_field("x", ("s",), steps=("tokenizer",), max_total_chunks=1),
                text_field("y", ("t",), steps=("html_normalizer", "tokenizer")),
                text_field("z", ("s",), max_sen_len=3),
            ],
            {"x": SCRATCH, "y": CASED, "z": SCRATCH},
            20,
        ),
    ],
)
def test_equals_training_for_several_fields(fields, tokenizers, opset):
    prepared = preparation(fields, tokenizers)
    session = prepare_session(prepared, opset)
    for rows in (5, 500):
        texts = in_all_columns(prepared, TEXTS)
        report = compare_tokens(session, prepared, texts, rows_together=rows)
        assert report.mismatches == 0, report.first


def test_inputs_are_named_like_columns_unless_something_else_is():
    fields = [text_field("f", ("tab", "ids", "free text", "label", "f_dropped_tokens"))]
    names = preprocessing_inputs(preparation(fields), [("ids", "mask")], "tab")
    assert names == {
        "tab": "column_tab",
        "ids": "column_ids",
        "free text": "column_free_text",
        "label": "column_label",
        "f_dropped_tokens": "column_f_dropped_tokens",
    }


def test_other_tokenizers_are_refused_by_field():
    tokenizer = Tokenizer.from_str(SCRATCH)
    tokenizer.normalizer = normalizers.Sequence([normalizers.BertNormalizer()])
    fields = [text_field("x"), text_field("y")]
    prepared = preparation(fields, {"x": SCRATCH, "y": tokenizer.to_str()})
    with pytest.raises(
        ExportError, match="tokenizer of text field 'y': its normalizer"
    ):
        preprocessing_model(prepared, text_names=NAMES[:2], table_name="t", opset=20)


CHANGED_RULES = [
    ("cleaning.py", '"ccedil": "', '"cedilla": "', "&cedilla; &ccedil;"),
    ("cleaning.py", "REFERENCE = 6", "REFERENCE = 3", "&#1234; &#x4E2D; &#65;"),
    ("cleaning.py", '+ "/!"', '+ "/!1"', "a<1>b<b>c"),
    ("cleaning.py", "(0x2702, 0x27B0)", "(0x4E00, 0x4EFF)", "walked 中 \u2702"),
    ("cleaning.py", "return REPLACEMENT", "return 0x61", "&#0; x"),
    ("dialogue.py", '"[bom]", "[eom]"', '"[new]", "[/new]"', "[new]x[/new]y [bom] z"),
]
SCRIPT = """
import sys, pathlib
sys.path[:0] = sys.argv[1:3]
from preparation_fixtures import preparation, prepare_session
import tabweave
assert tabweave.__file__.startswith(sys.argv[1]), tabweave.__file__
from tabweave.export.gates.edge_texts import EDGE_TEXTS, fuzzed_texts
from tabweave.preparation.reference import reference_chunks
from tabweave.export.gates.token_gate import compare_tokens, in_all_columns
prepared = preparation()
own = pathlib.Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()
texts = in_all_columns(prepared, [*own, *EDGE_TEXTS, *fuzzed_texts(0, 300)])
print(compare_tokens(prepare_session(prepared), prepared, texts))
print([reference_chunks(prepared, {"chat": [text]})["chat"] for text in own])
"""


def run_with(source, folder, root):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, source, root / "tests", folder / "texts.txt"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_rule_that_is_changed_is_changed_for_training_and_for_the_graph(
    tmp_path, root
):
    copy = tmp_path / "src"
    shutil.copytree(root / "src" / "tabweave", copy / "tabweave")
    texts = [text for *_, text in CHANGED_RULES]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    _, before = run_with(root / "src", tmp_path, root)
    for name, old, new, _ in CHANGED_RULES:
        path = Path(copy, "tabweave", "text", name)
        source = path.read_text(encoding="utf-8")
        assert source.count(old) == 1, old
        path.write_text(source.replace(old, new), encoding="utf-8")
    report, after = run_with(copy, tmp_path, root)
    assert "mismatches=0" in report
    pairs = zip(eval(before), eval(after), texts, strict=True)
    assert [text for old, new, text in pairs if old == new] == []
