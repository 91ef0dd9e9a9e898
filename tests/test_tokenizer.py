"""Tokenizers: text comes back as it was, ids are cut alike wherever the text was, bytes are counted."""

import itertools

import numpy as np
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lehr.cli import main
from lehr.train.bpe import learn
from lehr.train.corpus import encode, load_corpus
from lehr.train.sources import Source, chunks
from lehr.train.tokenizer import BYTE_OF, Bytes, Characters, Subwords, load

PROSE = "the cat sat on the mat; don't the dogs    sit?\n\nÜber 1234 straße 漢字漢字 \U0001f469\u200d\U0001f680\n" * 20
BPE = Subwords("learnt", learn(iter([PROSE]), 300))


def metaspace():
    """A tokenizer of SentencePiece's kind, with bytes for what it does not know."""
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    inner.train_from_iterator(
        ["the cat sat on the mat " * 9], trainers.BpeTrainer(special_tokens=special, show_progress=False)
    )
    return Subwords("metaspace", inner.to_str())


anything = st.text(st.characters(exclude_categories=["Cs"]))  # every code point that UTF-8 can write


@given(anything)
@example("\0\x1b\x7f\u0085\u00ad\u2028\ufeff\ufffd\uffff\U0010ffff")  # what normalisers like to take away
@example("e\u0301 é ﬁ ① ｆ \u202e \U0001f1e9\U0001f1ea")  # decomposed, compatible, right to left, flags
@example(" \t \n\r\n  x   \u3000")
def test_text_comes_back_as_it_was_through_a_learnt_tokenizer(text):
    ids = BPE.encode(text)
    assert BPE.decode(ids) == text == Bytes().decode(Bytes().encode(text))
    if "<|endoftext|>" not in text:
        assert BPE.token_bytes[ids].sum() == len(text.encode())


pieces = st.lists(
    st.sampled_from(["cat", " the", "\n", "\n\n", " ", "   ", "\r\n", "\u3000", "'s", "12", "漢", "é", "; "])
)


@given(text=pieces.map("".join), size=st.integers(1, 20))
def test_ids_do_not_depend_on_where_a_text_was_cut(tmp_path_factory, text, size):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    parts = list(chunks(Source(path), "text", BPE.separator, size=size))
    ids = list(itertools.chain.from_iterable(ids.tolist() for _, ids in encode(iter(parts), BPE, "uint16")))
    whole = BPE.encode(text).tolist() + [BPE.end_of_text] * bool(text)
    assert BPE.decode(ids) == BPE.decode(whole)
    # a word or a gap longer than a chunk must be cut somewhere; everywhere else the ids are the same
    if all(not a.text[-1].isspace() and b.text[0].isspace() for a, b in itertools.pairwise(parts)):
        event("cut cleanly" if len(parts) > 1 else "not cut")
        assert ids == whole


def test_the_letters_for_bytes_are_those_of_the_library():
    assert set(BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet()) and sorted(BYTE_OF.values()) == list(range(256))
    for letter, value in BYTE_OF.items():
        assert decoders.ByteLevel().decode([letter]) == bytes([value]).decode("utf-8", errors="replace")


def test_a_learnt_tokenizer_has_the_bytes_and_the_end_of_text():
    assert BPE.vocab_size == 300 and BPE.separator == "<|endoftext|>" and BPE.end_of_text == 0
    assert BPE.token_bytes[0] == 0 and len(BPE.token_bytes) == 300
    assert BPE.fingerprint == Subwords("again", learn(iter([PROSE]), 300)).fingerprint, "learning is deterministic"
    with pytest.raises(ValueError, match="--vocab-size is 257 or more, not 256"):
        learn(iter([PROSE]), 256)


def llama():
    """The same with a space put before each text, and taken away again, as Llama 2 has it."""
    inner = Tokenizer.from_str(metaspace().text)
    inner.pre_tokenizer = None
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    return Subwords("llama", inner.to_str())


def spiece():
    """One of T5's kind."""
    inner = Tokenizer.from_str(metaspace().text)
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return Subwords("spiece", inner.to_str())


@pytest.mark.parametrize("make", [lambda: BPE, llama, spiece], ids=["byte-level", "llama", "spiece"])
def test_a_stream_goes_on_from_a_prompt_and_loses_no_space(make):
    tokenizer = make()
    text = "the cat sat on the mat" + "\n the cat sat on the mat the cat sat on the mat on the mat sat" * 9
    if make is llama:
        text += "漢" * 70 + "\n 漢 \n\n the cat\n"  # in bytes, and newlines too
    ids = tokenizer.encode(text).tolist()
    assert tokenizer.decode(ids) == text and len(ids) > 130
    for cut in (1, 2, 5, 70, len(ids) - 9):
        prompt = tokenizer.decode(ids[:cut])
        if "\ufffd" in prompt:
            continue  # no text that could be typed
        stream = tokenizer.stream(ids[:cut])
        said = [stream.push(index) for index in ids[cut:]]
        assert prompt + "".join(said) + stream.end() == text, cut
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.end() == text


@pytest.mark.parametrize("make", [lambda: BPE, metaspace, Bytes], ids=["byte-level", "metaspace", "bytes"])
@given(text=anything.map(lambda text: "the cat " + text + " 漢\U0001f680"))
def test_a_stream_says_the_same_as_the_whole(make, text):
    tokenizer = make()
    stream, ids = tokenizer.stream(), tokenizer.encode(text).tolist()
    said = [stream.push(index) for index in ids]
    assert "".join(said) + stream.end() == tokenizer.decode(ids)


def test_a_stream_never_shows_half_a_character_and_shows_bad_bytes_in_the_end():
    stream = Bytes().stream()
    assert [stream.push(value) for value in "é".encode()] == ["", "é"]
    assert [stream.push(0xE6), stream.push(ord("a")), stream.push(0xE6)] == ["", "\ufffda", ""]
    assert stream.end() == "\ufffd"


def test_bytes_of_tokens_are_counted_for_other_kinds_of_files_too():
    tokenizer = metaspace()
    ids = tokenizer.encode("the cat é")
    assert tokenizer.decode(ids) == "the cat é"
    assert tokenizer.token_bytes[ids].sum() == len("the cat é".encode())
    assert tokenizer.separator == "</s>" and tokenizer.token_bytes[tokenizer.end_of_text] == 0


def test_padding_and_truncation_in_a_file_are_ignored(tmp_path):
    inner = Tokenizer.from_str(BPE.text)
    inner.enable_truncation(4)
    inner.enable_padding(length=16)
    inner.save(str(tmp_path / "tokenizer.json"))
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load(str(name))
        assert loaded.encode(PROSE).tolist() == BPE.encode(PROSE).tolist()
        assert loaded.encode_batch(["a", PROSE])[1] == BPE.encode(PROSE).tolist()


def test_what_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"some": "json"}')
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    for name in ("a.json", "b.json"):
        with pytest.raises(ValueError, match=rf"{name} is no file of the tokenizers library"):
            load(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"data\.tokenizer is one of bytes, char, or a file, not 'gpt2'"):
        load("gpt2")
    with pytest.raises(ValueError, match="'z' does not occur in the training text"):
        Characters("abc").encode("az")


def test_documents_are_separated_where_the_tokenizer_can(tmp_path):
    (tmp_path / "tokenizer.json").write_text(BPE.text)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("the cat<|endoftext|>the mat")
    (tmp_path / "text" / "b.jsonl").write_text('{"text": "sat"}\n')
    corpus = load_corpus([str(tmp_path / "text")], str(tmp_path), 0.3)
    ids = np.concatenate([corpus.train, corpus.val])
    assert corpus.tokenizer.decode(ids) == "the cat<|endoftext|>the mat<|endoftext|>sat<|endoftext|>"
    assert (ids == 0).sum() == 3 and ids.dtype == np.uint16 and len(corpus.train) == int(len(ids) * (1 - 0.3))
    assert bytes(load_corpus([str(tmp_path / "text")], "bytes", 0.3).val).endswith(b"he matsat\n")


def test_what_a_tokenizer_loses_is_said_once_and_never_counted_as_bytes(tmp_path, capsys):
    inner = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "cat": 2}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    table = Subwords("words", inner.to_str())
    assert table.unknown == 0 and table.token_bytes.tolist() == [0, 3, 3]
    (tmp_path / "tokenizer.json").write_text(table.text)
    (tmp_path / "text").mkdir()
    for name in "ab":
        (tmp_path / "text" / f"{name}.txt").write_text("the cat dog " * 100)
    words = ["train", "--data", str(tmp_path / "text"), "--set", f"data.tokenizer={tmp_path / 'tokenizer.json'}"]
    assert main([*words, "--preset", "debug", "--dry-run", "--out", str(tmp_path / "run")]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "does not give the text back as it was: " in err
    assert "50 % of its bytes are in no token; 200 tokens are unknown ones, and val_bpb counts no bytes for" in err
    assert main(["tokenize", str(tmp_path / "text"), "--tokenizer", str(tmp_path / "tokenizer.json"),
                 "--out", str(tmp_path / "tokens")]) == 0  # fmt: skip
    out, err = capsys.readouterr()
    assert "note: the tokenizer does not give the text back as it was:" in out + err
    corpus = load_corpus([str(tmp_path / "tokens")], "", 0.1)
    assert corpus.note == "200 of the tokens are unknown ones (33 %), and val_bpb counts no bytes for them"
    assert load_corpus([str(tmp_path / "text")], "char", 0.1).note == ""
    unigram = Subwords("unigram", Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0)).to_str())
    assert unigram.unknown == 0 and BPE.unknown is None


def test_a_normaliser_is_not_hidden_by_the_bytes_of_its_tokens():
    inner = Tokenizer.from_str(BPE.text)
    inner.normalizer = normalizers.Lowercase()
    tokenizer = Subwords("lower", inner.to_str())
    assert tokenizer.decode(tokenizer.encode("The CAT")) == "the cat"
