from preparation_fixtures import preparation
from tabweave.export.bundle_sample import make_sample, without_rows

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
