"""Text to ids and back: by bytes, by characters, or by a file of the `tokenizers` library."""

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("bytes", "char")
# what other systems call the token between documents; the first that a file has is taken
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[EOS]", "<|eot_id|>")


class Tokenizer(ABC):
    """Ids to text and back. `end_of_text` is the id between documents, None where there is none."""

    end_of_text: int | None = None

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """One more than the highest id."""

    @property
    @abstractmethod
    def token_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of text that each token stands for [vocab_size], for bits per byte.

        0 for the end of text, and for an unknown token.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """12 hex digits: equal for equal ids."""

    @abstractmethod
    def encode(self, text: str) -> NDArray[Any]:
        """Return the ids of a text, int64 [tokens]."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; bytes that are not valid UTF-8 show as the replacement character."""

    def stream(self, after: Sequence[int] = ()) -> "Stream":
        """A decoder for ids that come one at a time, `after` those of the text that is there already."""
        return Stream(self, after)


class Stream:
    """Decodes ids one at a time: `push` returns the text that is certain by now, `end` what was left.

    What follows something may read otherwise than what a text begins with, whose first space many tokenizers take away.
    """

    def __init__(self, tokenizer: Tokenizer, after: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(after)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Remember one id alone, which is what the next one follows; all of them if it is a part of a character."""
        text = self._tokenizer.decode(self._ids[-1:])
        if "\ufffd" in text:
            text = self._tokenizer.decode(self._ids)
        else:
            self._ids = self._ids[-1:]
        self._said = len(text)

    def push(self, index: int) -> str:
        """Take an id; return the text that it completes, which may be none."""
        self._ids.append(index)
        text = self._tokenizer.decode(self._ids)
        return "" if text.endswith("\ufffd") else self._rest(text)  # half a character, perhaps

    def end(self) -> str:
        """Return what has been held back."""
        return self._rest(self._tokenizer.decode(self._ids))

    def _rest(self, text: str) -> str:
        rest = text[self._said :]
        self._said = len(text)
        if len(self._ids) > 64 and "\n" in rest:  # at a line's end: decoding all again and again is slow
            self._begin_anew()
        return rest


class _ByteStream(Stream):
    """A stream for ids that each stand for some bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, index: int) -> str:
        return self._decoder.decode(self._pieces[index])

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)


class Bytes(Tokenizer):
    """An id is a byte."""

    vocab_size = 256
    fingerprint = hashlib.sha256(b"bytes").hexdigest()[:12]

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        return np.ones(256, dtype=np.int64)

    def encode(self, text: str) -> NDArray[Any]:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(int(index) for index in ids).decode("utf-8", errors="replace")

    def stream(self, after: Sequence[int] = ()) -> Stream:
        return _ByteStream([bytes([value]) for value in range(256)])


@dataclass(frozen=True)
class Characters(Tokenizer):
    """An id is the position of a character in `alphabet`, the sorted distinct characters of the text."""

    alphabet: str

    @property
    def vocab_size(self) -> int:
        return len(self.alphabet)

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        return np.array([len(character.encode()) for character in self.alphabet], dtype=np.int64)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"char {self.alphabet}".encode()).hexdigest()[:12]

    def encode(self, text: str) -> NDArray[Any]:
        """Return the ids of a text, int64 [tokens]. Raises ValueError naming a character the alphabet lacks."""
        position = {character: index for index, character in enumerate(self.alphabet)}
        try:
            return np.array([position[character] for character in text], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"the character {error.args[0]!r} does not occur in the training text") from None

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.alphabet[index] for index in ids)


@dataclass(frozen=True)
class Numbers(Tokenizer):
    """Ids whose text is not known: they are written as numbers.

    >>> Numbers(50257).decode([464, 3290]), Numbers(50257).encode("464 3290").tolist()
    ('464 3290', [464, 3290])
    """

    size: int

    @property
    def vocab_size(self) -> int:
        return self.size

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        return np.zeros(self.size, dtype=np.int64)  # nobody knows

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"none").hexdigest()[:12]

    def encode(self, text: str) -> NDArray[Any]:
        """Return the ids that are written, int64 [tokens]. Raises ValueError for a word that is none."""
        for word in text.split():
            if not (word.isascii() and word.isdecimal() and int(word) < self.size):
                raise ValueError(
                    f"the run was trained on ids without a tokenizer, and {word!r} is no id below {self.size}; write "
                    "ids such as '464 3290', or name the tokenizer that made them: --tokenizer FILE"
                )
        return np.array([int(word) for word in text.split()], dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(str(int(index)) for index in ids)


@dataclass(frozen=True)
class Subwords(Tokenizer):
    """A file of the `tokenizers` library, whatever it is inside; `name` is for messages, `text` its JSON.

    Raises ValueError for what is no such file, ModuleNotFoundError saying what to install where the library is missing.
    """

    name: str
    text: str = field(repr=False)

    def __post_init__(self) -> None:
        _ = self.inner  # a damaged file is refused now

    @cached_property
    def inner(self) -> Any:
        """The library's own object, without truncation or padding."""
        try:
            import tokenizers
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                f"{self.name} is read by the tokenizers library; write pip install 'lehr[train]'"
            ) from None
        try:
            inner = tokenizers.Tokenizer.from_str(self.text)
        except Exception as error:  # the library raises bare Exceptions
            raise ValueError(f"{self.name} is no file of the tokenizers library: {error}") from None
        inner.no_truncation()  # what a file was once used with would cut the text in silence
        inner.no_padding()
        return inner

    @cached_property
    def vocab_size(self) -> int:
        highest: int = max(self.inner.get_vocab(with_added_tokens=True).values())
        return highest + 1

    @cached_property
    def separator(self) -> str | None:
        """The end-of-text token as it is written."""
        special = {token.content for token in self.inner.get_added_tokens_decoder().values() if token.special}
        return next((name for name in END_OF_TEXT if name in special), None)

    @cached_property
    def end_of_text(self) -> int | None:  # type: ignore[override]
        index: int | None = None if self.separator is None else self.inner.token_to_id(self.separator)
        return index

    @cached_property
    def unknown(self) -> int | None:
        """The id of the token for what the file does not know, None where there is none: then it is left out."""
        model = json.loads(self.text)["model"]
        index: int | None = model.get("unk_id")  # Unigram's
        if model.get("unk_token") is not None:
            index = self.inner.token_to_id(model["unk_token"])
        return index

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes that each id stands for: exact for byte-level files, elsewhere all but a leading space's fate."""
        added = {index: token.content for index, token in self.inner.get_added_tokens_decoder().items()}
        pieces = [b""] * self.vocab_size
        for token, index in self.inner.get_vocab(with_added_tokens=True).items():
            pieces[index] = self._piece(added.get(index, token), plain=index in added)
        return pieces

    @cached_property
    def byte_level(self) -> bool:
        """Whether every token is written in the letters that stand for bytes (Radford et al. 2019, GPT-2)."""
        decoder = json.loads(self.text).get("decoder") or {}
        steps = decoder.get("decoders", [decoder])
        return [step.get("type") for step in steps] == ["ByteLevel"]

    def _piece(self, token: str, plain: bool) -> bytes:
        if not self.byte_level and len(token) == 6 and token.startswith("<0x"):  # SentencePiece's way to write a byte
            return bytes([int(token[3:5], 16)])
        if plain:
            return token.encode()
        if self.byte_level and all(letter in BYTE_OF for letter in token):
            return bytes(BYTE_OF[letter] for letter in token)
        return token.removeprefix("##").replace("\u2581", " ").encode()

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        sizes = np.array([len(piece) for piece in self.pieces], dtype=np.int64)
        if self.end_of_text is not None:
            sizes[self.end_of_text] = 0  # it is in no text
        if self.unknown is not None:
            sizes[self.unknown] = 0  # it stands for some, but for how many is lost: bits per byte err on the high side
        return sizes

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def encode(self, text: str) -> NDArray[Any]:
        return np.array(self.inner.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, on all cores."""
        return [found.ids for found in self.inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        if self.byte_level:
            return b"".join(self.pieces[index] for index in ids).decode("utf-8", errors="replace")
        text: str = self.inner.decode([int(index) for index in ids], skip_special_tokens=False)
        return text

    def stream(self, after: Sequence[int] = ()) -> Stream:
        return _ByteStream(self.pieces) if self.byte_level else Stream(self, after)


def _letters_of_bytes() -> dict[str, int]:
    """GPT-2's letters for the 256 bytes: a byte that prints stands for itself, the others follow from U+0100 on."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [value for value in range(256) if value not in prints]
    return {chr(value): value for value in prints} | {chr(0x100 + i): value for i, value in enumerate(rest)}


BYTE_OF = _letters_of_bytes()


def load(name: str) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names: `bytes`, or a tokenizers file or a folder that holds one.

    Raises ValueError for what is neither (`char` is made from the text).
    """
    if name == "bytes":
        return Bytes()
    if name == "none":
        raise ValueError(f"data.tokenizer=none is for token ids alone; to text belongs {', '.join(KINDS)}, or a file")
    path = Path(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"data.tokenizer is one of {', '.join(KINDS)}, or a file, not {name!r}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no file of the tokenizers library: it is not UTF-8 text") from None
    return Subwords(str(path), text)
