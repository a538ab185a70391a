import pytest

pytestmark = pytest.mark.slow

SAME = (
    "06_models/model/model.safetensors",
    "06_models/model/config.json",
    "06_models/model.onnx",
    "06_models/pipeline.onnx",
    "06_models/model.pth",
    "06_models/model_artifacts.pth",
    "07_model_output/bundle/manifest.json",
    "07_model_output/val_predictions.parquet",
    "07_model_output/test_predictions.parquet",
    "07_model_output/predictions/test.csv",
    "08_reporting/metrics.json",
    "08_reporting/comprehensive_metrics.json",
    "08_reporting/roc_curve.png",
)


@pytest.fixture(scope="module")
def again(make_project, tmp_path_factory):
    """A second run, in a folder of another name and depth."""
    project = make_project(tmp_path_factory.mktemp("again") / "some" / "where else")
    project.ran()
    return project.files()


@pytest.mark.parametrize("name", SAME)
def test_two_runs_in_two_places_give_the_same_bytes(finished, again, name):
    assert again[name] == finished.project.files()[name]


def test_everything_that_is_prepared_is_the_same_too(finished, again):
    for name, content in finished.project.files().items():
        if name.startswith(("02_", "04_", "05_")):
            assert again[name] == content, name
