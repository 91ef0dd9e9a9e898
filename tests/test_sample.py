"""`lehr sample` on runs of every tokenizer: what is printed, and that a terminal survives it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from lehr.cli import main
from lehr.cli.tools import _show
from lehr.train.bpe import learn
from lehr.train.runs import open_run

SMALL = (
    *("model.d_model=32", "model.num_heads=2", "model.num_layers=1", "model.d_ff=64", "model.context_length=32"),
    *("train.device=cpu", "train.batch_size=8", "train.eval_every=0", "train.checkpoint_every=20"),
)
TEXT = "".join(f"{i}. Tiger Tiger, burning bright!\n" for i in range(300))


def train(folder, *settings, name="text.txt", steps=40):
    rows = [json.dumps({"text": line}) for line in TEXT.splitlines()]
    (folder / name).write_text(TEXT if name.endswith("txt") else "\n".join(rows))
    sets = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    words = ["train", "--data", folder / name, "--out", folder / "run", "--steps", steps, "--lr", "1e-2", *sets]
    assert main(list(map(str, words))) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by tokenizer; the tokenizers file is gone afterwards."""
    made = {name: train(tmp_path_factory.mktemp(name), f"data.tokenizer={name}") for name in ("bytes", "char")}
    folder = tmp_path_factory.mktemp("bpe")
    (folder / "tokenizer.json").write_text(learn(iter([TEXT]), 280))
    made["bpe"] = train(folder, f"data.tokenizer={folder / 'tokenizer.json'}", "model.vocab_size=300", name="a.jsonl")
    (folder / "tokenizer.json").unlink()
    return made


def sampled(capsys, *words):
    capsys.readouterr()
    status = main(["sample", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("name", ["bytes", "char", "bpe"])
def test_it_goes_on_from_a_prompt_and_says_how_fast(runs, capsys, name):
    status, out, err = sampled(capsys, runs[name], "--prompt", "12. Tiger", "--no-stop", "--tokens", 30)
    assert status == 0 and out.startswith("12. Tiger") and out.endswith("\n") and len(out) > 20
    assert err.startswith("30 tokens, ") and err.endswith(" a second\n")
    assert sampled(capsys, runs[name], "--prompt", "12. Tiger", "--no-stop", "--tokens", 30)[1] == out, "the seed is 0"
    assert sampled(capsys, runs[name], "--prompt", "12. Tiger", "--no-stop", "--tokens", 30, "--no-cache")[1] == out
    assert sampled(capsys, runs[name], "--prompt", "12. Tiger", "--no-stop", "--tokens", 30, "--seed", 1)[1] != out
    assert sampled(capsys, runs[name], "--tokens", 5)[0] == 0, "without a prompt from a beginning"


def test_it_says_what_generate_returns(runs, capsys):
    import torch

    run = open_run(str(runs["bpe"]))
    ids = torch.tensor(run.tokenizer.encode("12. Ti"))
    expected = run.model.generate(ids, 40, temperature=0, vocab_size=run.tokenizer.vocab_size)
    _, out, _ = sampled(capsys, runs["bpe"], "--prompt", "12. Ti", "--tokens", 40, "--temperature", 0, "--no-stop")
    assert out == run.tokenizer.decode(expected.tolist()) + "\n"


def test_several_samples_have_seeds_of_their_own(runs, capsys):
    _, out, err = sampled(capsys, runs["char"], "--samples", 3, "--tokens", 9, "--seed", 5)
    assert [line for line in out.splitlines() if line.startswith("---")] == [
        f"--- sample {n} of 3, seed {n + 4}" for n in (1, 2, 3)
    ]
    assert err.count("a second") == 3
    _, alone, _ = sampled(capsys, runs["char"], "--tokens", 9, "--seed", 6)
    assert f"--- sample 2 of 3, seed 6\n{alone}" in out


def test_it_stops_at_the_end_of_text(runs, capsys):
    outcomes = [sampled(capsys, runs["bpe"], "--seed", seed, "--tokens", 40) for seed in range(4)]
    ended = [out for _, out, err in outcomes if not err.startswith("40 tokens")]
    assert ended and all("<|endoftext|>" not in out for out in ended)
    going_on = sampled(capsys, runs["bpe"], "--tokens", 40, "--no-stop")
    assert going_on[2].startswith("40 tokens")


def test_an_earlier_checkpoint_is_named_by_its_step(runs, capsys):
    assert open_run(f"{runs['char']}@20").step == 20 and open_run(str(runs["char"])).step == 40
    assert sampled(capsys, f"{runs['char']}@20", "--tokens", 3)[0] == 0


def test_a_damaged_checkpoint_is_passed_over_or_named(tmp_path):
    run = train(tmp_path)
    weights = run / "checkpoints" / "step-00000040" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert open_run(str(run)).step == 20
    with pytest.raises(ValueError, match=r"step-00000040 is damaged: model\.safetensors"):
        open_run(f"{run}@40")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "no such run: none"),
        (["RUN@7"], "has no checkpoint after 7 updates; it has 20, 40"),
        (["RUN", "--prompt", "漢"], "the character '漢' does not occur in the training text"),
        (["RUN", "--top-p", "2"], "top_p is above 0 and at most 1, not 2.0"),
        (["RUN", "--seed", str(2**64)], "--seed is a whole number below 2**64, with --samples added, not 184467"),
        (["RUN", "--seed", str(2**64 - 2), "--samples", "3"], "--seed is a whole number below 2**64"),
        (["RUN", "--prompt", "Tig\udcff"], "--prompt is not UTF-8 text: the byte ff after 'Tig' belongs to none"),
        (["RUN", "--tokenizer", "a.json"], "has its own tokenizer, char; leave --tokenizer out"),
        (["RUN", "--tokens", "1.5"], "'1.5' is not a whole number"),
        (["RUN", "--device", "tpu"], "no such device: tpu"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(runs, capsys, words, message):
    status, out, err = sampled(capsys, *(word.replace("RUN", str(runs["char"])) for word in words))
    assert status == 2 and out in ("", "\n") and message in err and err.count("\n") == 1


def test_the_terminal_is_left_alone(capsys):
    _show("a\x1b[31mred\r\x07\x9b\u202e\tb\n\ufffdé漢")
    assert capsys.readouterr().out == "a\\x1b[31mred\\r\\x07\\x9b\\u202e\tb\n\ufffdé漢"


def test_it_streams_and_can_be_interrupted(runs):
    command = [sys.executable, "-m", "lehr", "sample", str(runs["char"]), "--prompt", "1.", "--tokens", "10M"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout.read(40).startswith(b"1."), "text before the end"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == b""
