"""Token ids on the disk: arrays of every kind, and what is wrong with some."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lehr.train import RunFailed
from lehr.train.data import Windows, get_batch, held_out, load_corpus
from lehr.train.sources import find
from lehr.train.tokens import read

IDS = np.random.default_rng(0).integers(0, 256, 1000)


def opened(*paths, dtype="uint16"):
    return read(find([str(path) for path in paths]), dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_bin_and_npy_arrays_are_the_same_ids(tmp_path, dtype):
    IDS.astype(dtype).tofile(tmp_path / "a.bin")
    np.save(tmp_path / "a.npy", IDS.astype(dtype))
    binary, array = opened(tmp_path / "a.bin", dtype=dtype), opened(tmp_path / "a.npy")
    for found in (binary, array):
        assert (found.tokens[:] == IDS).all() and found.highest == IDS.max() and len(found.tokens) == 1000
    assert binary.fingerprint == array.fingerprint
    assert isinstance(binary.tokens.parts[0].ids, np.memmap), "not read into memory"


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    slices=st.lists(st.tuples(st.integers(-3, 50), st.integers(-3, 50))),
    cut=st.integers(0, 45),
)
def test_several_files_are_one_array(tmp_path_factory, sizes, slices, cut):
    folder = tmp_path_factory.mktemp("ids")
    whole, parts, done = np.arange(sum(sizes), dtype=np.uint16), [], 0
    for number, size in enumerate(sizes):
        np.save(folder / f"{number}.npy", whole[done : done + size])
        done += size
    tokens = opened(folder).tokens
    cut = min(cut, done)
    parts = [(tokens, whole), (tokens.between(0, cut), whole[:cut]), (tokens.between(cut, done), whole[cut:])]
    for part, expected in parts:
        assert len(part) == len(expected) and (part[:] == expected).all()
        for begin, end in slices:
            assert part[begin:end].tolist() == expected[begin:end].tolist()


def test_batches_are_those_of_an_array_in_memory(tmp_path):
    np.save(tmp_path / "a.npy", IDS[:300].astype(np.uint16))
    np.save(tmp_path / "b.npy", IDS[300:].astype(np.uint16))
    tokens = opened(tmp_path).tokens
    one, two = (Windows(ids, 16, 4, seed=1).batch(77) for ids in (tokens, IDS))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    for one, two in zip(held_out(tokens, 16, 3, 0), held_out(IDS, 16, 3, 0), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    one, two = (get_batch(ids, 4, 16, "cpu", torch.Generator().manual_seed(0)) for ids in (tokens, IDS))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_a_corpus_of_arrays_is_cut_where_the_plan_says(tmp_path):
    IDS.astype(np.uint16).tofile(tmp_path / "a.bin")
    corpus = load_corpus([str(tmp_path / "a.bin")], "", 0.1)
    assert (corpus.train[:] == IDS[:900]).all() and (corpus.val[:] == IDS[900:]).all()
    assert corpus.source.endswith("a.bin, 1 file of ids") and corpus.tokenizer_name == "bytes"


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.npy", np.zeros((2, 2), np.uint16), r"no row of token ids: its type is uint16, its shape \[2, 2\]"),
        ("a.npy", np.zeros(9), "its type is float64"),
        ("a.npy", np.array([3, -100]), "holds -100, which is no token id"),
        ("a.npy", np.array([1, 300], np.uint16), "holds the id 300, but the tokenizer bytes has 256; name the one"),
        ("a.npy", np.array([{}], object), r"cannot be read as a \.npy array"),
        ("a.npy", np.zeros(0, np.uint16), r"its shape \[0\]"),
        ("a.npy", b"no array", r"cannot be read as a \.npy array"),
        ("a.bin", b"", "is empty"),
        ("a.bin", b"abc", "has 3 bytes, no whole number of uint16; name its type: --set data.dtype"),
        (
            "a.bin",
            IDS.astype(np.uint32),
            "looks like uint32, not uint16: every second id is 0; write --set data.dtype=uint32",
        ),
    ],
)
def test_what_is_no_array_of_ids_is_refused(tmp_path, name, array, message):
    path = tmp_path / name
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif name == "a.bin":
        array.tofile(path)
    else:
        np.save(path, array)
    with pytest.raises(ValueError, match=message):
        load_corpus([str(path)], "bytes", 0.1)


def test_ids_and_text_are_not_mixed_and_have_no_characters(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    with pytest.raises(ValueError, match="holds token ids, no characters"):
        load_corpus([str(tmp_path)], "char", 0.1)
    (tmp_path / "b.txt").write_text("text")
    with pytest.raises(ValueError, match=r"a\.npy holds token ids and .*b\.txt text; give one or the other"):
        load_corpus([str(tmp_path)], "bytes", 0.1)


@pytest.mark.parametrize("change", ["shrink", "rewrite", "remove"])
def test_a_file_that_changes_under_a_run_ends_it_with_a_message(tmp_path, change):
    path = tmp_path / "a.npy"
    np.save(path, IDS)
    windows = Windows(opened(path).tokens, 16, 4, seed=1)
    windows.batch(0)
    if change == "shrink":  # the kernel would kill the process that reads beyond the end
        os.truncate(path, 200)
    elif change == "rewrite":
        np.save(path, IDS[::-1])
        os.utime(path, ns=(0, 0))
    else:
        path.unlink()
    with pytest.raises(RunFailed, match="vanished" if change == "remove" else "was changed"):
        windows.batch(1)
