"""A tokenizer learnt from text: byte-level BPE by the `tokenizers` library."""

from collections.abc import Iterator

SEPARATOR = "<|endoftext|>"
SMALLEST = 257  # the bytes and the end of text


def check_size(vocab_size: int) -> None:
    """Raise ValueError for a vocabulary that has no room for the bytes."""
    if vocab_size < SMALLEST:
        raise ValueError(
            f"a vocabulary has the 256 bytes and {SEPARATOR}, so --vocab-size is 257 or more, not {vocab_size}"
        )


def learn(texts: Iterator[str], vocab_size: int) -> str:
    """Return a tokenizers file's JSON: byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; Radford et al. 2019).

    Text is cut by GPT-2's pattern, nothing is normalised, every byte is in the vocabulary: any text comes back as it
    was. Id 0 is `<|endoftext|>`. The vocabulary is smaller than asked where the text has no more pairs. Raises
    ValueError below 257.

    >>> import tokenizers
    >>> learnt = tokenizers.Tokenizer.from_str(learn(iter(["low lower lowest"]), vocab_size=260))
    >>> [learnt.id_to_token(index) for index in learnt.encode("low").ids]
    ['low']
    """
    check_size(vocab_size)
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ModuleNotFoundError:
        raise ModuleNotFoundError("BPE is learnt by the tokenizers library; write pip install 'lehr[train]'") from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    text: str = tokenizer.to_str(pretty=True)
    return text
