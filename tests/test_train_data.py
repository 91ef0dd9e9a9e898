"""`lehr train` on the data that people have: and what a run says about its text."""

import contextlib
import io
import json
import math
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from lehr.cli import main
from lehr.train.bpe import learn
from lehr.train.metrics import is_evaluation, read_rows

SMALL = (
    *("model.d_model=32", "model.num_heads=2", "model.num_layers=1", "model.d_ff=64", "model.context_length=16"),
    *("train.device=cpu", "train.batch_size=4", "train.eval_every=4", "train.eval_batches=0"),
    "train.checkpoint_every=4",
)
VERSES = [f"{i}. Tiger Tiger, burning bright, in the forests of the night; what hand or eye? é漢\n" for i in range(150)]


class Done(NamedTuple):
    """What a command came to."""

    returncode: int
    stderr: str


def train(out, *words, settings=()):
    """`lehr train` in this process: nothing here depends on its being another one."""
    sets = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        status = main(list(map(str, ["train", "--out", out, *words, *sets])))
    return Done(status, stderr.getvalue())


def facts(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "verses.jsonl").write_text("".join(json.dumps({"verse": verse}) + "\n" for verse in VERSES))
    (folder / "tokenizer.json").write_text(learn(iter(VERSES), 300))
    return folder


@pytest.fixture(scope="module")
def run(inputs):
    """Four updates on JSON lines through a tokenizers file."""
    settings = ("data.field=verse", f"data.tokenizer={inputs / 'tokenizer.json'}", "model.vocab_size=320")
    done = train(inputs / "run", "--data", inputs / "verses.jsonl", "--steps", "4", settings=settings)
    assert done.returncode == 0, done.stderr
    return inputs / "run"


def test_json_lines_through_a_tokenizers_file(run, inputs):
    assert facts(run)["model"]["vocab_size"] == 320, "more than the tokenizer's is allowed"
    assert (run / "tokenizer.json").read_text() == (inputs / "tokenizer.json").read_text()
    [state] = (run / "checkpoints").glob("*/state.json")
    text = facts(run)["text"]
    assert json.loads(state.read_text())["text"] == text and set(text) == {"source", "fingerprint", "tokenizer"}


def test_bits_per_byte_are_those_of_the_text_whatever_the_tokenizer(run, inputs):
    from lehr.train.corpus import load_corpus

    corpus = load_corpus([str(inputs / "verses.jsonl")], str(inputs / "tokenizer.json"), 0.1, field="verse")
    said = corpus.tokenizer.decode(corpus.val[1:].tolist()).replace("<|endoftext|>", "")
    rows = [row for row in read_rows(run / "metrics.jsonl") if is_evaluation(row)]
    assert len(rows) == 2
    for row in rows:
        assert row["val_tokens"] == len(corpus.val) - 1
        # half a character at the cut is counted in the tokens, and shows as three bytes in the text
        nats = row["val_loss"] * row["val_tokens"]
        assert row["val_bpb"] == pytest.approx(nats / math.log(2) / len(said.encode()), rel=0.01)


def test_another_text_or_tokenizer_is_refused_on_resume_unless_it_is_allowed(run, inputs):
    other = inputs / "other.jsonl"
    other.write_text("".join(json.dumps({"verse": verse}) + "\n" for verse in VERSES[1:]))
    fingerprint = facts(run)["text"]["fingerprint"]
    done = train(run, "--resume", "--data", other)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"[{fingerprint}]" in done.stderr and "--allow-other-data" in done.stderr
    other_tokenizer = inputs / "other.json"
    other_tokenizer.write_text(learn(iter(VERSES), 310))
    done = train(run, "--resume", "--allow-other-data", settings=[f"data.tokenizer={other_tokenizer}"])
    assert done.returncode == 2 and "the tokenizer is not the one that" in done.stderr
    done = train(run, "--resume", "--allow-other-data", "--data", other)
    assert done.returncode == 0, done.stderr
    assert facts(run)["text"]["fingerprint"] != fingerprint


def test_a_moved_text_is_the_same_text(inputs, tmp_path):
    text = "".join(VERSES)
    (tmp_path / "a.txt").write_text(text)
    char = ("data.tokenizer=char",)
    assert train(tmp_path / "run", "--data", tmp_path / "a.txt", "--steps", "4", settings=char).returncode == 0
    assert facts(tmp_path / "run")["text"]["alphabet"] == "".join(sorted(set(text)))
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    done = train(tmp_path / "run", "--resume", "--data", tmp_path / "b.txt")
    assert done.returncode == 0, done.stderr


def test_an_array_that_changes_under_a_run_ends_it_with_one_line(tmp_path):
    program = (
        "import sys, os, numpy as np; from lehr.train import data; from lehr.cli import main\n"
        "batch = data.Windows.batch\n"
        "def later(self, step):\n"  # what another program does to the file in the midst of the run
        "    step == 3 and os.truncate(sys.argv[1], 256)\n"
        "    return batch(self, step)\n"
        "data.Windows.batch = later\n"
        "sys.exit(main(sys.argv[2:]))"
    )
    path = tmp_path / "ids.bin"
    np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint16).tofile(path)
    sets = [word for setting in SMALL for word in ("--set", setting)]
    words = [path, "train", "--data", path, "--out", tmp_path / "run", "--steps", "9", *sets]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"lehr: {path} was changed while it was read") and done.stderr.count("\n") == 1


def test_a_cooldown_may_be_on_another_text(inputs, tmp_path):
    settings = ("data.field=verse", "schedule.lr=linear 1 to 1, hold rest")
    run, other = tmp_path / "run", inputs / "more.jsonl"
    assert train(run, "--data", inputs / "verses.jsonl", "--steps", "4", settings=settings).returncode == 0
    other.write_text("".join(json.dumps({"verse": verse}) + "\n" for verse in VERSES[5:]))
    branch = ("--cooldown-from", f"{run}@4", "--over", "2", "--data", other)
    refused = train(tmp_path / "branch", *branch)
    assert refused.returncode == 2 and "--allow-other-data" in refused.stderr
    assert train(tmp_path / "branch", *branch, "--allow-other-data").returncode == 0
