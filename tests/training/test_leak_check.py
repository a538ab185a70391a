import pytest

from tabweave.errors import TrainingError
from tabweave.models.encoders import transformer_encoder
from tabweave.training.engine import train_model
from tabweave.training.leak_check import leak_check_rows


def test_an_encoder_that_mixes_rows_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(transformer_encoder, "PACKED", "sdpa")
    with pytest.raises(TrainingError, match="does not keep packed sequences apart"):
        train_model(tiny.plan("multimodal_bert", tmp_path))


def test_the_leak_check_asks_rows_that_have_text(tiny):
    rows = tiny.rows("trimodal_bert")
    chosen = leak_check_rows(rows)
    counts = [column.token_counts()[chosen] for column in rows.columns]
    assert len(chosen) == 4
    assert all((count > 0).all() for count in counts)
    # The first rows would not do: some have nothing that could leak.
    assert any((column.token_counts()[:4] == 0).any() for column in rows.columns)
