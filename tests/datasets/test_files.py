import base64
import hashlib
import io
import json
import math

import numpy as np
import pytest
import torch
from kedro.io.core import DatasetError
from matplotlib.figure import Figure
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import (
    IMAGES,
    SCALARS,
    EventAccumulator,
)

from tabweave.datasets.files import (
    FigureDataset,
    FolderDataset,
    JsonDataset,
    ModelDataset,
    ObjectDataset,
    OnnxDataset,
    TensorBoardDataset,
    TokenizersDataset,
)
from tabweave.errors import ArtifactError
from tabweave.models.classifier import Classifier
from tabweave.models.config import ModelConfig, ModelSpec
from tabweave.schema import DataSchema
from tabweave.tabular import Imputer, Scaler
from tabweave.tabular.scaling import Scaling


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cause(caught, kind):
    """The error of ours behind Kedro's."""
    assert isinstance(caught.value.__cause__, kind)
    return str(caught.value.__cause__)


def drawing(height=1.0):
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, height], label="é")
    return figure


class Unwritable(Figure):
    def savefig(self, target, **options):
        if hasattr(target, "write"):
            target.write(b"half a ")
        else:
            target.write_bytes(b"half a ")
        raise MemoryError


# JSON


def test_json_reads_back_and_its_preview_is_the_same_values(tmp_path):
    entry = JsonDataset(path=str(tmp_path / "deep" / "x.json"))
    values = {"b": [1, None, "é"], "a": 0.5}
    entry.save(values)
    assert entry.load() == values
    assert json.loads(entry.preview()) == values
    json.dumps(entry.preview())


@pytest.mark.parametrize(
    ("holds", "held"),
    [
        (
            "tabweave.schema.DataSchema",
            DataSchema(id="i", label="y", classes=("0", "1"), positive_label="1"),
        ),
        ("tabweave.tabular.Scaler", Scaler({"num:a": Scaling(0.1, 1 / 3)})),
        ("tabweave.tabular.Imputer", Imputer({})),
    ],
)
def test_an_object_reads_back_as_it_was_and_a_damaged_one_is_refused(
    tmp_path, holds, held
):
    entry = ObjectDataset(path=str(tmp_path / "x.json"), holds=holds)
    entry.save(held)
    assert entry.load() == held
    again = entry.path.read_bytes()
    entry.save(entry.load())
    assert entry.path.read_bytes() == again
    assert json.loads(entry.preview()) == held.to_json()
    for damage in ('{"more": 1}', "[]", "null"):
        entry.path.write_text(damage)
        with pytest.raises(DatasetError) as caught:
            entry.load()
        assert "is damaged" in cause(caught, ArtifactError)


def test_json_that_cannot_be_written_leaves_the_old_values(tmp_path):
    entry = JsonDataset(path=str(tmp_path / "x.json"))
    entry.save({"a": 1})
    with pytest.raises(DatasetError):
        entry.save({"a": math.nan})
    assert entry.load() == {"a": 1}
    assert names(tmp_path) == ["x.json"]


def test_json_that_is_missing_or_damaged_is_named(tmp_path):
    entry = JsonDataset(path=str(tmp_path / "x.json"))
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "x.json does not exist" in cause(caught, ArtifactError)
    entry.path.write_text("{")
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "x.json is damaged" in cause(caught, ArtifactError)


# Tokenizers


def test_tokenizers_read_back_and_fields_that_are_gone_go(tmp_path):
    entry = TokenizersDataset(path=str(tmp_path / "tokenizer"))
    entry.save({"title": "1", "body é": '{"vocab": "日"}'})
    assert entry.load() == {"title": "1", "body é": '{"vocab": "日"}'}
    assert (tmp_path / "tokenizer" / "title" / "tokenizer.json").is_file()
    entry.save({"title": "2"})
    assert entry.load() == {"title": "2"}
    entry.save({})
    assert entry.load() == {}
    assert names(tmp_path) == ["tokenizer"]


def test_all_fields_are_written_or_none(tmp_path):
    entry = TokenizersDataset(path=str(tmp_path / "tokenizer"))
    entry.save({"a": "old"})
    with pytest.raises(DatasetError):
        entry.save({"a": "new", "no/such/place": "x"})
    assert entry.load() == {"a": "old"}
    assert names(tmp_path) == ["tokenizer"]


def test_tokenizers_that_are_missing_are_not_an_empty_set_of_fields(tmp_path):
    entry = TokenizersDataset(path=str(tmp_path / "tokenizer"))
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "Re-run the stage text" in cause(caught, ArtifactError)


# Models


def tabular_model(seed):
    torch.manual_seed(seed)
    spec = ModelSpec(
        model=ModelConfig(
            model_class="tabular",
            hidden_common_dim=8,
            numeric_embedding={"kind": "linear"},
        ),
        text=(),
        features=("num:a", "num:b"),
        classes=("0", "1"),
    )
    return Classifier(spec)


def same_weights(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_reads_back_with_equal_weights_and_is_replaced_whole(tmp_path):
    entry = ModelDataset(path=str(tmp_path / "model"))
    for seed in (1, 2):
        model = tabular_model(seed)
        entry.save(model)
        found = entry.load()
        assert same_weights(found, model)
        assert found.spec == model.spec
        assert not found.training
    assert not same_weights(found, tabular_model(1))
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["config.json", "model.safetensors"]


def test_half_a_model_is_refused(tmp_path):
    entry = ModelDataset(path=str(tmp_path / "model"))
    entry.save(tabular_model(1))
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "does not hold a whole model" in cause(caught, ArtifactError)


# ONNX


def test_an_onnx_file_is_its_bytes(tmp_path):
    entry = OnnxDataset(path=str(tmp_path / "model.onnx"))
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "Re-run the stage export" in cause(caught, ArtifactError)
    entry.save(b"\x08\x07onnx")
    assert entry.load() == b"\x08\x07onnx"
    with pytest.raises(DatasetError):
        entry.save("no bytes")
    assert entry.load() == b"\x08\x07onnx"
    assert names(tmp_path) == ["model.onnx"]


# Figures


def test_equal_figures_give_equal_bytes_and_others_do_not(tmp_path):
    contents = []
    for name, height in [("a", 1.0), ("b", 1.0), ("c", 2.0)]:
        entry = FigureDataset(path=str(tmp_path / f"{name}.png"))
        entry.save(drawing(height))
        contents.append(entry.load())
    assert contents[0] == contents[1] != contents[2]
    assert contents[0].startswith(b"\x89PNG")
    assert b"Software" not in contents[0]
    assert imread(io.BytesIO(contents[0])).shape == (150, 300, 4)


def test_the_preview_of_a_figure_is_the_picture(tmp_path):
    entry = FigureDataset(path=str(tmp_path / "a.png"))
    entry.save(drawing())
    assert base64.b64decode(json.loads(json.dumps(entry.preview()))) == entry.load()


def test_a_figure_that_cannot_be_drawn_leaves_the_old_one(tmp_path):
    entry = FigureDataset(path=str(tmp_path / "a.png"))
    entry.save(drawing())
    before = entry.load()
    with pytest.raises(DatasetError):
        entry.save(Unwritable())
    assert entry.load() == before
    assert names(tmp_path) == ["a.png"]


# Folders


def test_a_folder_is_made_and_never_saved(tmp_path):
    entry = FolderDataset(path=str(tmp_path / "deep" / "checkpoints"))
    folder = entry.load()
    assert folder == tmp_path / "deep" / "checkpoints"
    (folder / "last.ckpt").touch()
    assert names(entry.load()) == ["last.ckpt"]
    with pytest.raises(DatasetError, match="filled by the node that uses it"):
        entry.save("anything")


# TensorBoard


def board(path):
    return TensorBoardDataset(path=str(path / "tensorboard_eval"))


def evaluation(shift=0.0, **figures):
    scalars = {"test/auroc": 0.75 + shift, "test/f1": None, "val/auroc": 0.5}
    return {"scalars": scalars, "figures": figures or {"roc_curve": drawing()}}


def events(folder):
    found = EventAccumulator(str(folder), {SCALARS: 0, IMAGES: 0})
    found.Reload()
    return found


def digest(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
    }


def test_scalars_and_figures_are_events_and_png_files(tmp_path):
    entry = board(tmp_path)
    entry.save(evaluation(roc_curve=drawing(), pr_curve=drawing(2.0)))
    folder = entry.load()
    *_, pr, roc = sorted(folder.iterdir())
    assert [pr.name, roc.name] == ["pr_curve.png", "roc_curve.png"]

    found = events(folder)
    tags = found.Tags()
    assert sorted(tags["scalars"]) == ["test/auroc", "val/auroc"], "None is no scalar"
    assert [event.value for event in found.Scalars("test/auroc")] == [0.75]
    assert sorted(tags["images"]) == ["pr_curve", "roc_curve"]
    (image,) = found.Images("pr_curve")
    shown = imread(io.BytesIO(image.encoded_image_string), format="png")
    np.testing.assert_allclose(shown, imread(pr)[..., :3], atol=1 / 255)


def test_a_second_evaluation_takes_the_place_of_the_first(tmp_path):
    entry = board(tmp_path)
    entry.save(evaluation(roc_curve=drawing(), old_curve=drawing()))
    (entry.path / "train").mkdir()
    (entry.path / "train" / "events.out.tfevents.1.x").write_bytes(b"curves")
    entry.save(evaluation(shift=0.125, roc_curve=drawing(2.0)))
    event_file, *others = names(entry.path)
    assert event_file.startswith("events.out.tfevents.")
    assert others == ["roc_curve.png", "train"]
    assert [e.value for e in events(entry.path).Scalars("test/auroc")] == [0.875]
    assert names(entry.path / "train") == ["events.out.tfevents.1.x"]


@pytest.mark.parametrize(
    "broken",
    [
        {"roc_curve": drawing(2.0), "pr_curve": Unwritable()},
        {"roc_curve": drawing(2.0), "no/such/place": drawing()},
    ],
)
def test_an_evaluation_that_fails_half_way_leaves_the_old_one(tmp_path, broken):
    entry = board(tmp_path)
    entry.save(evaluation())
    before = digest(entry.path)
    with pytest.raises((DatasetError, FileNotFoundError)):
        entry.save(evaluation(shift=0.1, **broken))
    assert digest(entry.path) == before


def test_what_a_killed_evaluation_left_is_taken_away(tmp_path, dead_writer):
    entry = board(tmp_path)
    left = tmp_path / f".tensorboard_eval.{dead_writer}.part"
    left.mkdir()
    (left / "events.out.tfevents.1.x").write_bytes(b"half")
    entry.save(evaluation())
    assert [name[:10] for name in names(entry.path)] == ["events.out", "roc_curve."]
    assert names(tmp_path) == ["tensorboard_eval"]
