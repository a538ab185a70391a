import hashlib

import pytest

from tabweave.text.encoder_files import encoder_digest, tokenizer_digest


@pytest.fixture
def folder(tmp_path):
    """A folder as an encoder has it."""
    path = tmp_path / "encoder"
    path.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (path / name).write_bytes(name.encode())
    return path


def test_a_tokenizer_s_digest_is_that_of_its_bytes():
    text = '{"model": "é退"}'
    assert tokenizer_digest(text) == hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_scratch_and_hub_ids_have_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    assert encoder_digest("scratch") is None
    assert encoder_digest("owner/model") is None


def test_equal_folders_at_two_places_have_one_digest(folder, tmp_path):
    moved = encoder_digest(str(folder))
    folder.rename(tmp_path / "other")
    assert encoder_digest(str(tmp_path / "other")) == moved
    (tmp_path / "other" / "README.md").write_text("not read by the model")
    assert encoder_digest(str(tmp_path / "other")) == moved


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_another_file_is_another_digest(folder, name, how):
    before = encoder_digest(str(folder))
    if how == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(b"other")
    assert encoder_digest(str(folder)) not in (before, None)


def test_every_shard_of_the_weights_counts(folder):
    before = encoder_digest(str(folder))
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"more")
    assert encoder_digest(str(folder)) != before
