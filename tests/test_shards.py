"""`lehr tokenize`: the ids of the text, whatever happens to the process, in memory that does not grow with the text."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers

from lehr.cli import main
from lehr.train import Stopped
from lehr.train.bpe import learn
from lehr.train.corpus import load_corpus
from lehr.train.shards import tokenize
from lehr.train.tokenizer import load

WORDS = ["Tiger", "burning", "bright", "night", "é漢", "\U0001f680", "<|endoftext|>", "\n", "\n\n", "  ", "12", "don't"]


def words(count, seed=0):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A folder with every kind of text."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text(words(20_000))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": words(50, seed)}) + "\n" for seed in range(200)))
    (folder / "c.txt").write_text("the end")
    return folder


def quietly(*args, **kwargs):
    return tokenize(*args, **kwargs, say=lambda text: None)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, quietly([str(text)], out, vocab_size=300, shard_tokens=10_000)


def test_the_ids_are_those_of_the_text_and_every_document_ends(text, whole):
    out, facts = whole
    table = load(str(out))
    corpus = load_corpus([str(out)], "", 0.1)
    ids = np.concatenate([corpus.train[:], corpus.val[:]])
    documents = [*(text / "a.txt").read_text().split("<|endoftext|>")]
    for line in (text / "b.jsonl").read_text().splitlines():
        documents += json.loads(line)["text"].removesuffix("<|endoftext|>").split("<|endoftext|>")
    documents.append("the end")
    assert table.decode(ids.tolist()) == "".join(document + "<|endoftext|>" for document in documents)
    assert (ids == table.end_of_text).sum() == facts["documents"] == len(documents)
    assert facts["bytes"] == sum(len(document.encode()) for document in documents)
    assert facts["tokens"] == len(ids) and len(facts["shards"]) > 3 and ids.dtype == np.uint16
    assert all(shard["tokens"] >= 10_000 for shard in facts["shards"][:-1])


def test_train_takes_the_folder_and_its_tokenizer(whole, tmp_path, capsys):
    out, facts = whole
    words = ["train", "--data", str(out), "--out", str(tmp_path / "run"), "--preset", "debug", "--dry-run"]
    assert main(words) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["vocab_size"] == facts["vocab_size"] == 300
    assert config["text"]["fingerprint"] == facts["fingerprint"]
    assert config["data"]["tokenizer"] == str(out / "tokenizer.json")


def test_another_tokenizer_than_the_folders_is_refused_and_none_is_obeyed(whole, tmp_path, capsys):
    out, _ = whole
    words = ["train", "--data", str(out), "--out", str(tmp_path / "run"), "--preset", "debug", "--dry-run"]
    other = tmp_path / "other.json"
    other.write_text(learn(iter(["other"]), 260))
    refused = {
        other: f"data.tokenizer={other} is not what made {out}, which holds ids of its own tokenizer.json",
        "bytes": f"data.tokenizer=bytes is not what made {out}",
        "char": f"data.tokenizer=char is for; leave data.tokenizer out, or write ={out}",
        tmp_path / "typo.json": "data.tokenizer is one of bytes, char, or a file, not",
    }
    for tokenizer, message in refused.items():
        assert main([*words, "--set", f"data.tokenizer={tokenizer}"]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    ids = load_corpus([str(out)], "none", 0.1)
    highest = max(int(part[:].max()) for part in (ids.train, ids.val))
    assert not ids.tokenizer.token_bytes.any()
    named = {"none": ("none", highest + 1), str(out): (str(out), 300), "": (str(out / "tokenizer.json"), 300)}
    for tokenizer, (name, size) in named.items():
        assert main([*words, "--set", f"data.tokenizer={tokenizer}"]) == 0
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        assert (config["data"]["tokenizer"], config["model"]["vocab_size"]) == (name, size)


def test_a_run_goes_on_where_its_folder_of_ids_was_moved_and_only_there(whole, tmp_path, capsys):
    shutil.copytree(whole[0], tmp_path / "ids")
    words = ["train", "--out", str(tmp_path / "run"), "--dry-run"]
    assert main([*words, "--data", str(tmp_path / "ids"), "--preset", "debug"]) == 0
    (tmp_path / "run" / "checkpoints").mkdir()  # as if it had begun
    (tmp_path / "ids").rename(tmp_path / "moved")
    again = [*words, "--resume-or-start"]
    assert main([*again, "--data", str(tmp_path / "moved")]) == 0
    quietly([str(whole[0] / "tokenizer.json")], tmp_path / "other", vocab_size=280)
    capsys.readouterr()
    assert main([*again, "--data", str(tmp_path / "other"), "--allow-other-data"]) == 2
    assert f"{tmp_path / 'run' / 'tokenizer.json'} is not what made" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on_and_ends_with_the_same_files(text, whole, tmp_path, number):
    code = (
        "import sys, time; from lehr.train import shards; from lehr.cli import main\n"
        "write = shards._write_array\n"
        "shards._write_array = lambda path, ids: (write(path, ids), time.sleep(0.2))\n"  # time for the signal
        "sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    options = ["tokenize", str(text), "--vocab-size", "300", "--shard-tokens", "10k", "--out", str(out)]
    with subprocess.Popen([sys.executable, "-c", code, *options], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (out / "tokens-00001.npy").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert number == signal.SIGKILL or "the same command goes on from here" in err
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number]
    assert not json.loads((out / "tokens.json").read_text())["complete"]
    with pytest.raises(ValueError, match="is not finished; go on with the same `lehr tokenize`"):
        load_corpus([str(out)], "", 0.1)
    said = []
    tokenize([str(text)], out, vocab_size=300, shard_tokens=10_000, say=said.append)
    assert said[0].startswith("going on after ")
    assert files(out) == files(whole[0])


def test_it_can_be_ended_while_it_learns(text, tmp_path):
    sent = []

    def ended(what, done, total):
        if not sent:
            sent.append(what)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)  # this is the library's thread; the handler runs in the main one

    with pytest.raises(Stopped):
        quietly([str(text)], tmp_path / "out", vocab_size=300, shard_tokens=10_000, watch=ended)
    # on a busy machine the learning may be over before the main thread hears of it; the shards are not begun
    assert sent == ["learning"] and not json.loads((tmp_path / "out" / "tokens.json").read_text())["complete"]
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"tokens.json", "tokenizer.json"}


def test_what_is_complete_is_left_and_what_is_another_text_is_refused(text, whole, tmp_path):
    out, facts = whole
    before, said = files(out), []
    assert tokenize([str(text)], out, vocab_size=300, shard_tokens=10_000, say=said.append) == facts
    assert files(out) == before and "complete already" in said[0]
    with pytest.raises(ValueError, match="was made with another tokenizer or --vocab-size; write another --out"):
        quietly([str(text)], out, vocab_size=301, shard_tokens=10_000)
    with pytest.raises(ValueError, match="was made with another --shard-tokens"):
        quietly([str(text)], out, vocab_size=300)
    with pytest.raises(ValueError, match="was made from another text, or one that was changed since"):
        quietly([str(text / "a.txt")], out, vocab_size=300, shard_tokens=10_000)
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match="is not an empty folder"):
        quietly([str(text)], tmp_path, vocab_size=300)
    assert files(out) == before and (tmp_path / "mine").read_text() == "x"


def test_a_text_that_changes_while_it_is_read_is_noticed(tmp_path):
    source = tmp_path / "a.txt"
    source.write_text(words(5000))

    def meddle(what, done, total):
        if what == "tokenizing":
            os.utime(source, (0, 0))

    with pytest.raises(ValueError, match=r"a\.txt was changed while it was read"):
        quietly([str(source)], tmp_path / "out", vocab_size=300, watch=meddle)


def test_damage_to_a_shard_is_named_by_train(whole, text, tmp_path):
    out = tmp_path / "out"
    quietly([str(text)], out, vocab_size=300, shard_tokens=10_000)
    table = out / "tokenizer.json"
    before = table.read_text()
    table.write_text(learn(iter(["another"]), 300))
    with pytest.raises(ValueError, match=r"is damaged: its tokenizer\.json is not what was written"):
        load_corpus([str(out)], "", 0.1)
    table.write_text(before)
    shard = out / "tokens-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-2] + b"\0\1")
    with pytest.raises(ValueError, match=r"is damaged: tokens-00001\.npy is not what was written"):
        load_corpus([str(out)], "", 0.1)
    shard.unlink()
    with pytest.raises(ValueError, match=r"is damaged: tokens-00001\.npy is missing"):
        load_corpus([str(out)], "", 0.1)
    (out / "tokens.json").write_text("{")
    with pytest.raises(ValueError, match=r"its tokens\.json cannot be read"):
        load_corpus([str(out)], "", 0.1)


def test_a_given_tokenizer_is_used_and_noted_if_it_loses_something(text, tmp_path):
    given = tmp_path / "given.json"
    given.write_text(learn(iter([words(500)]), 280))
    said = []
    facts = tokenize([str(text / "c.txt")], tmp_path / "one", tokenizer=str(given), say=said.append)
    assert facts["vocab_size"] == 280 and said == []
    inner = Tokenizer.from_file(str(given))
    inner.normalizer = normalizers.Lowercase()
    inner.save(str(given))
    (tmp_path / "A.txt").write_text("The End")
    tokenize([str(tmp_path / "A.txt")], tmp_path / "two", tokenizer=str(given), say=said.append)
    assert said == ["note: the tokenizer does not give the text back as it was: 'The End' comes back as 'the end'"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.txt"], "no such file or folder: none.txt"),
        (["TEXT", "--vocab-size", "200"], "--vocab-size is 257 or more, not 200"),
        (["TEXT", "--vocab-size", "0"], "--vocab-size is 257 or more, not 0"),
        (["TEXT", "--tokenizer", "bytes"], "--tokenizer is a file of the tokenizers library, not 'bytes'"),
        (["TEXT", "--tokenizer", "x.json", "--vocab-size", "300"], "leave --vocab-size out"),
        (["TEXT", "--shard-tokens", "0"], "a shard has 1 token or more"),
        (["TOKENS"], "holds token ids already; give text"),
        (["EMPTY"], "has no text in it"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_leaves_nothing(text, whole, tmp_path, capsys, options, message):
    (tmp_path / "empty.txt").touch()
    names = {"TEXT": str(text), "TOKENS": str(whole[0]), "EMPTY": str(tmp_path / "empty.txt")}
    status = main(["tokenize", *(names.get(word, word) for word in options), "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert status == 2 and message in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="getrusage counts the parent's memory before exec")
def test_memory_does_not_grow_with_the_text(tmp_path):
    # buffers of a hundredth of their size, so that a text of some megabytes goes around them often
    code = (
        "import sys; from pathlib import Path; from lehr.train import corpus, shards, sources\n"
        "sources.chunks.__defaults__ = (*sources.chunks.__defaults__[:-1], 2**13)\n"
        "sources.CHUNK = 2**13\n"
        "shards.tokenize([sys.argv[1]], Path(sys.argv[2]), 300, shard_tokens=2**15, learn_from=2**17)\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for count in (100_000, 1_000_000):
        source = tmp_path / f"{count}.txt"
        source.write_text(words(count))
        command = [sys.executable, "-c", code, str(source), str(tmp_path / f"{count}")]
        env = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout) / 1024)
    size = (tmp_path / "1000000.txt").stat().st_size / 2**20
    assert size > 5 and peaks[1] - peaks[0] < size / 2, peaks


def test_after_an_input_that_could_not_be_read_the_mended_request_begins_anew(tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes("caf\u00e9 ".encode("latin-1") * 500)
    with pytest.raises(ValueError, match="UTF-8"):
        quietly([str(text)], tmp_path / "out", vocab_size=300)
    text.write_text("caf\u00e9 " * 500, encoding="utf-8")
    quietly([str(text)], tmp_path / "out", vocab_size=300)
    assert json.loads((tmp_path / "out" / "tokens.json").read_text())["complete"]
