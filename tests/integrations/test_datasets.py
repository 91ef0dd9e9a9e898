"""Datasets of Hugging Face's on disk, written by their library and read as text."""

import json

import numpy as np
import pytest

datasets = pytest.importorskip("datasets")

from lehr.train.bpe import learn  # noqa: E402
from lehr.train.corpus import load_corpus  # noqa: E402
from lehr.train.shards import tokenize  # noqa: E402
from lehr.train.sources import chunks, find  # noqa: E402

ROWS = [f"Story {i}: once upon a time" for i in range(20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("datasets")
    table = datasets.Dataset.from_dict({"id": list(range(20)), "text": ROWS})
    table.save_to_disk(str(path / "one"))
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(str(path / "dict"))
    datasets.DatasetDict({"test": table}).save_to_disk(str(path / "test"))
    return path


@pytest.mark.parametrize("name", ["one", "dict"])
def test_rows_are_documents(folder, name, tmp_path):
    (tmp_path / "tokenizer.json").write_text(learn(iter(ROWS), 280))
    corpus = load_corpus([str(folder / name)], str(tmp_path / "tokenizer.json"), 0.2)
    ids = np.concatenate([corpus.train, corpus.val])
    assert corpus.tokenizer.decode(ids.tolist()) == "".join(row + "<|endoftext|>" for row in ROWS)
    corpus = load_corpus([str(folder / name)], "bytes", 0.2)
    assert bytes(np.concatenate([corpus.train, corpus.val])).decode() == "".join(row + "\n" for row in ROWS)


def test_reading_goes_on_from_any_row(folder):
    [source] = find([str(folder / "one")])
    assert [chunk.text for chunk in chunks(source, "text", start=7)] == ROWS[7:]


def test_a_dataset_is_tokenized(folder, tmp_path):
    facts = tokenize([str(folder / "dict")], tmp_path / "out", vocab_size=280, say=lambda text: None)
    assert facts["documents"] == 20 and facts["bytes"] == sum(map(len, ROWS))
    assert json.loads((tmp_path / "out" / "tokens.json").read_text())["complete"]


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"row 0 has no field 'story'; it has 'id', 'text'; write --set data\.field=text"
    ):
        load_corpus([str(folder / "one")], "bytes", 0.2, field="story")
    with pytest.raises(ValueError, match=r"has no split 'train'; write --data .*test"):
        load_corpus([str(folder / "test")], "bytes", 0.2)
    (tmp_path / "state.json").write_text("{}")
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read as a dataset"):
        load_corpus([str(tmp_path)], "bytes", 0.2)
