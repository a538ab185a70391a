import pytest
import torch
from transformers import AutoConfig, AutoModel

from tabweave.training.measures import matmul_peak as module
from tabweave.training.measures.matmul_peak import matmul_peak, training_flops

BERT = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def test_the_peak_is_that_of_a_product_of_matrices(monkeypatch):
    monkeypatch.setattr(module, "CPU_SIZE", 256)
    monkeypatch.setattr(module, "SECONDS", 0.05)
    for precision in ("32-true", "bf16-mixed"):
        assert 1e8 < matmul_peak(precision, "cpu") < 1e14


def test_the_peak_is_measured_in_the_precision_asked_for(monkeypatch):
    monkeypatch.setattr(module, "CPU_SIZE", 16)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    seen, real = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: seen.append(a.dtype) or real(a, b))
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        matmul_peak(precision, torch.device("cpu"))
    assert seen[:: module.LEAST_RUNS] == [torch.float32, torch.bfloat16, torch.float16]


def test_flops_are_six_per_weight_and_token_and_the_scores():
    per_layer = 4 * 32 * 32 + 2 * 32 * 64
    expected = sum(6 * 3 * per_layer * n + 12 * n * n * 32 * 3 for n in (5, 9))
    assert training_flops(BERT, [5, 9]) == expected
    assert training_flops(BERT, []) == 0


@pytest.mark.parametrize(
    "config",
    [
        BERT,
        {
            "model_type": "distilbert",
            "vocab_size": 50,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 64,
        },
        {
            "model_type": "modernbert",
            "vocab_size": 50,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ],
)
def test_flops_of_the_forward_pass_are_what_torch_counts(config):
    from torch.utils.flop_counter import FlopCounterMode

    kind = AutoConfig.for_model(**config)
    model = AutoModel.from_config(kind, attn_implementation="eager").eval()
    ids = torch.ones(1, 12, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    pooler = 2 * 32 * 32 if config["model_type"] == "bert" else 0
    rotary = counter.get_flop_counts().get("Global", {})
    assert rotary
    found = training_flops(config, [12]) / 3
    assert found == pytest.approx(counter.get_total_flops() - pooler, rel=0.01)
