"""Learns a BERT-style WordPiece vocabulary from train: equal texts give equal bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tabweave.errors import ConfigError
from tabweave.text.config import TextConfig
from tabweave.text.words import split_words

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Ids 0 to 4, in this order."""

CONTINUES = "##"
LONGEST_WORD = 100
COUNTED_WORDS = 5_000_000
CHARACTERS_SHARE = 4
"""One quarter of the vocabulary at most starts words with a single character."""

_WORDS_PER_LINE = 10_000


def learn_vocabulary(texts: Iterable[str], config: TextConfig) -> str:
    """The tokenizer.json of a WordPiece tokenizer learned from cleaned messages.

    The library's trainer numbers pieces in the order of a hash map, so the same texts
    would give another vocabulary in every process. Here words are counted and sorted
    first, and every single character gets its number beforehand; nothing is left open.

    Args:
        texts: Cleaned messages of train.
        config: Vocabulary size, minimum frequency, letter case.

    Raises:
        ConfigError: The texts hold no word.
    """
    tokenizer = _untrained(config)
    words = _normalized_words(_count_words(texts), tokenizer)
    if not words:
        raise ConfigError(
            "a vocabulary cannot be learned: train has no word in it. Take the column "
            "out of data.text, or name an encoder that brings its own vocabulary."
        )
    pieces = _learn_pieces(words, tokenizer, config)
    return _finished({piece: number for number, piece in enumerate(pieces)}, config)


def _untrained(config: TextConfig) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _count_words(texts: Iterable[str]) -> Counter[str]:
    """Words between white space; the rare ones go first when there are too many."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split_words(text))
        while len(counts) > COUNTED_WORDS:
            lowest = min(counts.values())
            counts = Counter({w: n for w, n in counts.items() if n > lowest})
    return counts


def _normalized_words(counts: Counter[str], tokenizer: Any) -> Counter[str]:
    """Counts of the words as the model sees them: normalised, punctuation apart."""
    normalize = tokenizer.normalizer.normalize_str
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    words: Counter[str] = Counter()
    for word, count in counts.items():
        for piece, _ in split(normalize(word)):
            if len(piece) <= LONGEST_WORD:
                words[piece] += count
    return words


def _frequent_characters(words: Counter[str], config: TextConfig) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    room = (config.vocabulary_size - len(SPECIAL_TOKENS)) // CHARACTERS_SHARE
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    frequent = [c for c in ranked if counts[c] >= config.vocabulary_min_frequency]
    return sorted((frequent or ranked)[:room])


def _learn_pieces(words: Counter[str], tokenizer: Any, config: TextConfig) -> list[str]:
    """All pieces of the vocabulary in the order of their ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    characters = _frequent_characters(words, config)
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    # Punctuation and CJK stand alone, so they never continue a word.
    continuing = [c for c in characters if _continues_words(c, tokenizer, split)]
    known = [*SPECIAL_TOKENS, *characters, *(CONTINUES + c for c in continuing)]
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocabulary_size,
        min_frequency=config.vocabulary_min_frequency,
        # As special tokens they keep these ids, whatever the trainer meets first.
        special_tokens=known,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        continuing_subword_prefix=CONTINUES,
        show_progress=False,
    )
    learner.train_from_iterator(_repeated(words, set(characters)), trainer)
    ids: dict[str, int] = learner.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _continues_words(character: str, tokenizer: Any, split: Any) -> bool:
    return len(split(tokenizer.normalizer.normalize_str(f"a{character}"))) == 1


def _repeated(words: Counter[str], characters: set[str]) -> Iterator[str]:
    """Every word as often as it was seen, in sorted order.

    A word with a character outside the vocabulary is unknown as a whole: left out.
    """
    for word in sorted(words):
        if characters.issuperset(word):
            lines, rest = divmod(words[word], _WORDS_PER_LINE)
            for _ in range(lines):
                yield f"{word} " * _WORDS_PER_LINE
            yield f"{word} " * rest


def _finished(vocabulary: dict[str, int], config: TextConfig) -> str:
    from tokenizers import decoders, models, processors

    tokenizer = _untrained(config)
    tokenizer.model = models.WordPiece(
        vocabulary,
        unk_token="[UNK]",  # noqa: S106
        continuing_subword_prefix=CONTINUES,
        max_input_chars_per_word=LONGEST_WORD,
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUES)
    return str(tokenizer.to_str())
