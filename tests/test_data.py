"""Text, tokens, splits, and batches as a pure function of (seed, step)."""

import sysconfig

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lehr.train.data import Windows, get_batch, held_out, load_corpus, shuffled, standard_library


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("hällo wörld\n" * 50, encoding="utf-8")
    return path


def test_bytes_are_their_own_ids(text_file):
    corpus = load_corpus([str(text_file)], "bytes", 0.1)
    raw = text_file.read_bytes()
    assert bytes(corpus.train) + bytes(corpus.val) == raw
    assert len(corpus.train) == int(len(raw) * 0.9)
    assert corpus.tokenizer.vocab_size == 256 and (corpus.tokenizer.token_bytes == 1).all()


def test_char_ids_are_positions_among_the_sorted_characters(text_file):
    corpus = load_corpus([str(text_file)], "char", 0.25)
    text = text_file.read_text(encoding="utf-8")
    assert corpus.tokenizer.alphabet == "".join(sorted(set(text)))
    ids = np.concatenate([corpus.train, corpus.val])
    assert corpus.tokenizer.decode(ids) == text
    assert (corpus.tokenizer.encode(text) == ids).all()
    assert len(corpus.train) == int(len(text) * (1 - 0.25))
    assert corpus.tokenizer.token_bytes[corpus.tokenizer.alphabet.index("ä")] == 2


def test_bytes_that_are_no_text_are_shown_safely():
    corpus_tokenizer = load_corpus([], "bytes", 0.1).tokenizer
    assert corpus_tokenizer.decode([65, 255, 66]) == "A�B"


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/b.txt", ".hidden", ".git/blob"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name + " ")
    corpus = load_corpus([str(tmp_path)], "bytes", 0.1)
    assert bytes(corpus.train) + bytes(corpus.val) == b"a/b.txt a/z.txt b.txt "


def test_without_a_path_it_is_pythons_own_source_in_a_fixed_order():
    files = list(standard_library())
    names = [file.relative_to(sysconfig.get_path("stdlib")).as_posix() for file in files]
    assert names == sorted(names) and len(names) > 100
    assert any(file.name == "argparse.py" for file in files) and all(file.suffix == ".py" for file in files)
    assert not any({"site-packages", "test", "tests"} & set(file.parts[-3:]) for file in files)
    corpus = load_corpus([], "bytes", 0.1)
    assert b"import" in bytes(corpus.train[:10_000])
    assert corpus.fingerprint == load_corpus([], "bytes", 0.1).fingerprint


def test_what_is_not_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_corpus([str(tmp_path / "none")], "bytes", 0.1)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="has no text in it"):
        load_corpus([str(empty)], "bytes", 0.1)
    latin = tmp_path / "latin"
    latin.write_bytes("grün".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not UTF-8 text \(byte 2.*data.tokenizer=bytes"):
        load_corpus([str(latin)], "char", 0.1)
    with pytest.raises(ValueError, match=r"data\.tokenizer is one of bytes, char, or a file, not 'words'"):
        load_corpus([str(latin)], "words", 0.1)


@given(count=st.integers(1, 300), seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
def test_the_shuffle_is_a_permutation(count, seed, epoch):
    assert sorted(shuffled(i, count, seed, epoch) for i in range(count)) == list(range(count))


@given(
    length=st.integers(9, 400),
    context=st.integers(1, 8),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**20),
)
def test_an_epoch_sees_every_window_once_and_never_leaves_the_text(length, context, batch, seed):
    windows = Windows(np.arange(length), context, batch, seed)
    for epoch in range(3):
        starts = windows.starts(range(epoch * windows.count, (epoch + 1) * windows.count))
        assert len(set(starts)) == windows.count
        assert len({start % context for start in starts}) == 1  # windows side by side, none overlaps
        assert min(starts) >= 0 and max(starts) + context + 1 <= length


def test_a_batch_depends_on_seed_and_step_alone():
    tokens = np.arange(10_000)
    one, two = Windows(tokens, 16, 4, seed=1), Windows(tokens, 16, 4, seed=1)
    two.batch(0)
    x, y = one.batch(777)
    assert torch.equal(x, two.batch(777)[0]) and torch.equal(y, x + 1)
    assert x.dtype == torch.int64 and x.shape == (4, 16)
    assert not torch.equal(x, Windows(tokens, 16, 4, seed=2).batch(777)[0])
    assert not torch.equal(x, one.batch(778)[0])
    assert one.batch(10**12)[0].shape == (4, 16)  # no step is too far to seek


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="has 16 tokens, but one window takes 17"):
        Windows(np.arange(16), 16, 4, seed=1)
    assert Windows(np.arange(17), 16, 4, seed=1).batch(3)[0].shape == (4, 16)


@given(length=st.integers(2, 200), context=st.integers(1, 20), batch=st.integers(1, 6))
def test_the_whole_held_out_split_predicts_every_token_but_the_first_once(length, context, batch):
    seen = torch.cat([y.flatten() for _, y in held_out(np.arange(length), context, batch, batches=0)])
    assert seen.tolist() == list(range(1, length))


def test_some_batches_of_the_held_out_split_are_spread_over_it():
    batches = list(held_out(np.arange(10_001), 10, 4, batches=3))
    assert [x.shape for x, _ in batches] == [(4, 10)] * 3
    assert batches[0][0][0, 0] == 0 and batches[-1][0][-1, 0] == 9990


def test_get_batch_draws_every_window_and_no_other():
    tokens = np.arange(12, dtype=np.uint16)
    generator = torch.Generator().manual_seed(0)
    x, y = get_batch(tokens, 500, 4, "cpu", generator)
    assert x.dtype == y.dtype == torch.int64 and torch.equal(y, x + 1)
    assert set(x[:, 0].tolist()) == set(range(8))
    again, _ = get_batch(torch.arange(12), 500, 4, "cpu", torch.Generator().manual_seed(0))
    assert torch.equal(x, again)
    with pytest.raises(ValueError, match="too few"):
        get_batch(tokens, 1, 12, "cpu")
