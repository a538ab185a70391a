"""What of a pretrained text encoder is trained along, and what starts anew."""

from __future__ import annotations

from typing import cast

from torch import nn
from transformers import AutoConfig, PreTrainedModel

from tabweave.errors import ConfigError
from tabweave.models.config import LoraConfig, ModelConfig, ModelSpec
from tabweave.models.dropout import with_fast_dropout
from tabweave.models.encoders.encoder_config import KINDS
from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.models.encoders.transformer_encoder import TransformerEncoder


def check_adaptation(spec: ModelSpec, sources: tuple[str, ...]) -> None:
    """Refuses what cannot be done with the encoders of a description.

    Args:
        spec: The description.
        sources: Per text field where its weights come from ("scratch" for nowhere).

    Raises:
        ConfigError: All of it, in one message.
    """
    config = spec.model
    transformer = config.architecture.text == "bert"
    found = [] if transformer else _only_transformers(config)
    pairs = zip(spec.text, sources, strict=True) if transformer else ()
    for field, source in pairs:
        encoder = AutoConfig.for_model(**field.encoder)
        if source == "scratch" and config.encoder_training != "full":
            found.append(
                f"model.encoder_training is {config.encoder_training}, but the encoder of "
                f"text field {field.name!r} starts from nothing (text.encoder: scratch), "
                "so all of it must be trained: take full, or a pretrained encoder"
            )
        found += _too_deep(config, field.name, encoder.num_hidden_layers)
        found += _not_of_its_kind(config, field.name, encoder.model_type)
    found += _anew_but_fixed(config) if transformer else []
    found += [
        f"model.is_embeddings_trainable is false, but the embeddings of text field "
        f"{field.name!r} start from nothing (text.encoder: scratch)"
        for field, source in zip(spec.text, sources, strict=True)
        if source == "scratch" and not config.is_embeddings_trainable
    ]
    if found:
        raise ConfigError("; ".join(found) + ".")


def _only_transformers(config: ModelConfig) -> list[str]:
    set_for_transformers = {
        "encoder_training": config.encoder_training != "full",
        "pooling": config.pooling != "mean",
        "reinit_layers": config.reinit_layers > 0,
        "use_gradient_checkpointing": config.use_gradient_checkpointing,
    }
    return [
        f"model.{name} is {getattr(config, name)}, which only a transformer can do, and "
        f"the text encoder of model_class {config.model_class} is "
        f"{config.architecture.text}: leave it out"
        for name, is_set in set_for_transformers.items()
        if is_set
    ]


def _too_deep(config: ModelConfig, field: str, depth: int) -> list[str]:
    asked = {"reinit_layers": config.reinit_layers}
    if config.encoder_training == "last_k":
        asked["last_k"] = config.last_k
    return [
        f"model.{name} is {count}, but the encoder of text field {field!r} has {depth} "
        "layers"
        for name, count in asked.items()
        if count > depth
    ]


def _not_of_its_kind(config: ModelConfig, field: str, kind: str) -> list[str]:
    of = f"but the encoder of text field {field!r} is of kind {kind}, which"
    found = []
    if config.use_gradient_checkpointing and not KINDS[kind].recomputes:
        found.append(f"model.use_gradient_checkpointing is true, {of} cannot do that")
    new_pooler = config.pooling == "pooler" and not KINDS[kind].takes_pooler
    if new_pooler and config.encoder_training == "frozen":
        found.append(
            f"model.pooling is pooler under model.encoder_training frozen, {of} has no "
            "pretrained pooler: take another pooling"
        )
    return found


def _anew_but_fixed(config: ModelConfig) -> list[str]:
    """What would start from random weights and stay there."""
    trained = {"frozen": 0, "lora": 0, "last_k": config.last_k}
    layers = trained.get(config.encoder_training, config.reinit_layers)
    pooler = config.pooling == "pooler" and config.encoder_training == "frozen"
    is_fixed = {
        "reinit_layers": config.reinit_layers > layers,
        "reinit_pooler": config.reinit_pooler and pooler,
    }
    return [
        f"model.{name} is {getattr(config, name)}, but model.encoder_training "
        f"{config.encoder_training} does not train all that starts anew"
        for name, fixed in is_fixed.items()
        if fixed
    ]


def adapt(encoder: TextEncoder, config: ModelConfig, *, pretrained: bool) -> None:
    """Sets up a new encoder for training, after it took its pretrained weights."""
    if isinstance(encoder, TransformerEncoder):
        if pretrained:
            _start_anew(encoder, config)
        if config.use_gradient_checkpointing:
            _recompute_activations(encoder.encoder)
    groups = encoder.layers()
    if config.encoder_training == "lora":
        add_adapters(cast("TransformerEncoder", encoder), config.lora)
        return
    fixed = {
        "full": groups[:0],
        "last_k": groups[: len(groups) - config.last_k],
        "frozen": groups,
    }[config.encoder_training]
    embeddings = [] if config.is_embeddings_trainable else groups[:1]
    for group in [*fixed, *embeddings]:
        for parameter in group:
            parameter.requires_grad_(False)
    encoder.frozen = config.encoder_training == "frozen"
    encoder.train(encoder.training)  # a frozen one has no dropout from now on


def _recompute_activations(encoder: PreTrainedModel) -> None:
    # transformers has renamed it, and earlier releases know the old name only.
    new, old = "activation_checkpointing_enable", "gradient_checkpointing_enable"
    enable = getattr(encoder, new if hasattr(encoder, new) else old)
    enable({"use_reentrant": False})
    # Nothing is generated, so nothing is kept for it: the library would warn.
    encoder.config.use_cache = False


def _start_anew(encoder: TransformerEncoder, config: ModelConfig) -> None:
    """New weights for the upper layers, drawn as the encoder's own library draws them."""
    layers = encoder.encoder_layers()
    for layer in layers[len(layers) - config.reinit_layers :]:
        for module in layer.modules():
            # The library marks what it has loaded, and would leave it as it is.
            for parameter in module.parameters(recurse=False):
                vars(parameter).pop("_is_hf_initialized", None)
            vars(module).pop("_is_hf_initialized", None)
            encoder.encoder._init_weights(module)
    if config.reinit_pooler and encoder.pooler is not None:
        encoder.start_pooler()


def add_adapters(encoder: TransformerEncoder, config: LoraConfig) -> None:
    """Freezes the encoder and adds low-rank matrices to its queries and values.

    Raises:
        ImportError: peft is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ModuleNotFoundError(
            "model.encoder_training lora needs peft. Install it: pip install "
            "'tabweave[lora]'",
            name="peft",
        ) from error
    peft.inject_adapter_in_model(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=list(encoder.kind.adapted),
        ),
        encoder.encoder,
    )
    # Two lanes would race for the one generator that plain dropout draws from.
    with_fast_dropout(encoder.encoder)


def merge_adapters(model: nn.Module) -> None:
    """Adds low-rank adapters into the weights they adapt; the model is plain again."""
    adapted = {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, "get_base_layer") and hasattr(module, "merge")
    }
    for name, module in adapted.items():
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
