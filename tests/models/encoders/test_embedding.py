import pytest
import torch
from transformers import AutoModel

from models_fixtures import KIND_SIZES, LONGEST, VOCABULARY, packed_text
from tabweave.errors import ConfigError
from tabweave.models.config import CnnConfig, LstmConfig
from tabweave.models.encoders.cnn_encoder import CnnEncoder
from tabweave.models.encoders.encoder_config import pretrained_encoder_config
from tabweave.models.encoders.lstm_encoder import LstmEncoder

SMALL = {
    CnnEncoder: CnnConfig(kernel_size=(3,), num_channels=(6, 4)),
    LstmEncoder: LstmConfig(num_layers=1, hidden_size=4),
}


def small(kind, config):
    return kind(config, SMALL[kind])


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("kind", KIND_SIZES)
def test_embeddings_start_from_those_of_a_pretrained_encoder(
    encoder_folder, kind, encoder
):
    folder = encoder_folder(kind)
    ours = small(encoder, pretrained_encoder_config(str(folder), LONGEST))
    before = [p.clone() for group in ours.layers()[1:] for p in group]
    ours.load_pretrained(folder)
    stored = AutoModel.from_pretrained(folder).get_input_embeddings().weight
    assert torch.equal(ours.embeddings.weight, stored)
    assert ours.embeddings.weight.requires_grad
    # The rest has no counterpart and keeps its random weights.
    after = [p for group in ours.layers()[1:] for p in group]
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("encoder", SMALL)
def test_pretrained_embeddings_are_a_copy_of_the_file_s(encoder_folder, encoder):
    folder = encoder_folder("bert")
    ours = small(encoder, pretrained_encoder_config(str(folder), LONGEST))
    ours.load_pretrained(folder)
    with torch.no_grad():
        ours.embeddings.weight.zero_()
    ours.load_pretrained(folder)
    assert ours.embeddings.weight.abs().max() > 0.01


@pytest.mark.parametrize("encoder", SMALL)
def test_a_folder_without_weights_is_refused(encoder_folder, tmp_path, encoder):
    config = pretrained_encoder_config(str(encoder_folder("bert")), LONGEST)
    ours = small(encoder, config)
    before = ours.embeddings.weight.clone()
    with pytest.raises(
        ConfigError, match=r"weights of text.encoder .* cannot be loaded"
    ):
        ours.load_pretrained(tmp_path)
    assert torch.equal(ours.embeddings.weight, before)


@pytest.mark.parametrize("encoder", SMALL)
def test_an_encoder_with_narrow_embeddings_gives_narrow_ones(encoder_folder, encoder):
    config = pretrained_encoder_config(str(encoder_folder("electra")), LONGEST)
    ours = small(encoder, config)
    assert ours.embeddings.weight.shape == (VOCABULARY, 16)
    assert torch.isfinite(ours(packed_text([3, 1], [0, 1], 2)).vectors).all()


@pytest.mark.parametrize("encoder", SMALL)
def test_new_embeddings_are_drawn_around_zero(tiny, encoder):
    weight = small(encoder, tiny.spec("bert").text[0].encoder).embeddings.weight
    assert weight.shape == (VOCABULARY, 32)
    assert abs(weight.mean()) < 0.005
    assert abs(weight.std() - 0.1) < 0.01
