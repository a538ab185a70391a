import pytest

from preparation_fixtures import preparation
from tabweave.errors import ArtifactError
from tabweave.export.bundle_sample import check_written, make_sample, without_rows

# Samples of every kind, with the answers of a trained model: tests/e2e/test_bundle.py.


def test_no_sample_is_made_where_none_is_wanted():
    prepared = preparation([], tokenizers={}, features=("num:price",))
    nothing = (None, None, None, None)
    assert make_sample("none", (None, b""), prepared, nothing) is None


def test_the_text_of_val_that_differed_first_goes_from_the_reports():
    first = {"row": 3, "text": "of a user"}
    report = {"tokens": {"val": {"mismatches": 2, "first": first}, "random": {}}}
    reports = {"pipeline.onnx": report, "model.onnx": {"bytes": 1}}
    kept = without_rows(reports)
    assert kept["pipeline.onnx"]["tokens"]["val"] == {"mismatches": 2, "first": None}
    assert kept["model.onnx"] == {"bytes": 1}
    assert report["tokens"]["val"]["first"] == first, "the report itself stays"


FINE, REFUSED = {"refused": None}, {"refused": "too far away"}
CORE, WHOLE = "model.int8.onnx", "pipeline.int8.onnx"


@pytest.mark.parametrize(
    ("pipeline", "said", "quantized", "of_int8", "gone"),
    [
        (b"x", FINE, {CORE: b"x", WHOLE: b"x"}, FINE, None),
        (b"", FINE, {CORE: b"x", WHOLE: b"x"}, FINE, "pipeline.onnx"),
        (b"", REFUSED, {CORE: b"x", WHOLE: b""}, FINE, None),
        (b"x", FINE, {CORE: b"x", WHOLE: b""}, FINE, WHOLE),
        (b"x", FINE, {CORE: b"", WHOLE: b"x"}, FINE, CORE),
        (b"x", FINE, {CORE: b"", WHOLE: b""}, REFUSED, None),
    ],
)
def test_a_file_that_was_accepted_must_be_there(
    pipeline, said, quantized, of_int8, gone
):
    if gone is None:
        check_written(pipeline, said, quantized, of_int8)
        return
    with pytest.raises(ArtifactError, match=f"^{gone} does not exist, though it was"):
        check_written(pipeline, said, quantized, of_int8)
