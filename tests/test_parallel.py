"""Several processes, one run: the same curve as of one, checkpoints for any number of them, and their faults.

Most processes are forked as the other fault tests' are, with the environment that torchrun gives; its store is this
process's, as it is torchrun's there. The tests with torchrun itself are in test_torchrun.py.
"""

import functools
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from processes import KILLED, resume, same_end, steps, timeless, train, updates

from lehr.train.data import Windows
from lehr.train.folders import read
from lehr.train.parallel import World

END = 60
SIZES = {
    "model__num_layers": 2, "train__batch_size": 8, "train__steps": END, "train__eval_every": 20,
    "train__eval_batches": 3, "train__checkpoint_every": 20, "train__keep": 10,
}  # fmt: skip


def curve(text, out, *words, **settings):
    return train(text, out, *words, **{**SIZES, **settings})


@contextmanager
def launched(forks, words, size=2, faults=None, words_of=None):
    """Start `size` processes of a run; `faults`, and other `words_of`, are by rank."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # any free port
    env = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(size),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_RUN_ID": "t",
    }  # fmt: skip
    ranks = []
    for rank in range(size):
        own = {**env, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        ranks.append(
            forks.start(*(words_of or {}).get(rank, words), plain=True, env=own, **(faults or {}).get(rank, {}))
        )
    try:
        yield ranks
    finally:
        for process in ranks:
            if process.running:
                process.send(signal.SIGKILL)
                process.wait()


def together(forks, words, size=2, faults=None):
    """Run them to their end: exit statuses, and what they said on stderr."""
    with launched(forks, words, size, faults) as ranks:
        return [process.wait(180) for process in ranks], [process.err for process in ranks], ranks


def same_curve(one, other, tolerance=1e-5):
    """Whether two runs logged the same: floats of the losses within `tolerance`, everything else the same."""
    rows, others = timeless(one), timeless(other)
    assert len(rows) == len(others)
    for row, that in zip(rows, others, strict=True):
        close = {key for key in row if key in ("loss", "grad_norm", "val_loss", "val_bpb")}
        assert {key: row[key] for key in row if key not in close} == {k: that[k] for k in that if k not in close}
        for key in close:
            assert row[key] == pytest.approx(that[key], rel=tolerance), (row, that)
    return True


@pytest.fixture(scope="session")
def alone(forks, text, tmp_path_factory):
    """The runs of one process that the others are compared with, by the size of their micro-batches."""

    @functools.cache
    def run(micro=8, dropout=0.0):
        folder = tmp_path_factory.mktemp("alone") / "run"
        settings = {"train__micro_batch_size": micro, "model__dropout": dropout}
        done = forks.run(*curve(text, folder, **settings), plain=True)
        assert done.status == 0, done.err
        return folder

    return run


# ---------------------------------------------------------------------------------------------------------------------
# the same curve


@pytest.mark.parametrize(
    ("mode", "size", "micro", "checkpointed"),
    [("ddp", 2, 2, True), ("fsdp", 2, 2, False), ("fsdp", 2, 2, True), ("ddp", 4, 8, False)],
)
def test_the_curve_is_that_of_one_process(forks, text, alone, tmp_path, mode, size, micro, checkpointed):
    out = tmp_path / "run"
    settings = {"train__parallel": mode, "train__micro_batch_size": micro}
    settings["model__checkpoint_activations"] = str(checkpointed).lower()
    status, said, ranks = together(forks, curve(text, out, **settings), size)
    assert status == [0] * size, said
    assert same_curve(out, alone(micro))
    assert f"{size} processes ({mode})" in ranks[0].out
    assert all(not rank.out and not rank.err for rank in ranks[1:]), "process 0 alone has a say"
    ours, theirs = (read(folder / "checkpoints" / f"step-{END:08d}") for folder in (out, alone(micro)))
    for name, weight in theirs["model"].items():
        assert (ours["model"][name] - weight).abs().max() < 1e-4, name
    assert len(ours["random"]) == size


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**32))
def test_the_rows_of_all_processes_are_the_batch_whatever_their_number(step, size, share, seed):
    tokens, batch_size = np.arange(1000, dtype=np.uint16), size * share
    whole = Windows(tokens, 7, batch_size, seed).batch(step)
    parts = [
        Windows(tokens, 7, batch_size, seed, World(rank, size).rows(batch_size)).batch(step) for rank in range(size)
    ]
    for half, halves in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(half, torch.cat(halves))


def back_to(folder, step, copy):
    """A copy of a run as it was after `step` updates, which is all that a killed one leaves."""
    shutil.copytree(folder, copy)
    for later in (copy / "checkpoints").glob("step-*"):
        if int(later.name[5:]) > step:
            shutil.rmtree(later)
    return copy


def test_any_number_of_processes_goes_on_with_what_another_began(forks, alone, tmp_path):
    """One process, then two under DDP, two under FSDP, and one again, 20 updates each (the last 0: it evaluates)."""
    ddp = back_to(alone(), 20, tmp_path / "ddp")
    status, said, _ = together(forks, resume(ddp, "--set", "train.parallel=ddp"))
    assert status == [0, 0], said
    assert same_curve(ddp, alone())
    fsdp = back_to(ddp, 40, tmp_path / "fsdp")
    status, said, ranks = together(forks, resume(fsdp, "--set", "train.parallel=fsdp"))
    assert status == [0, 0], said
    assert "data position (window 320)" in ranks[0].out
    assert same_curve(fsdp, alone())
    one = back_to(fsdp, 40, tmp_path / "one")
    done = forks.run(*resume(one), plain=True)
    assert done.status == 0, done.err
    assert same_curve(one, alone())


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_the_same_number_of_processes_goes_on_bit_for_bit_with_dropout(forks, text, tmp_path, mode):
    whole = tmp_path / "whole"
    settings = {"train__parallel": mode, "model__dropout": 0.2, "train__steps": 12, "train__checkpoint_every": 6}
    status, said, _ = together(forks, curve(text, whole, **settings))
    assert status == [0, 0], said
    first, second = read(whole / "checkpoints" / "step-00000012")["random"]
    assert first["torch"] != second["torch"], "processes do not drop the same"
    again = back_to(whole, 6, tmp_path / "again")
    status, said, _ = together(forks, resume(again))
    assert status == [0, 0], said
    assert timeless(again) == timeless(whole) and same_end(again, whole, 12)


# ---------------------------------------------------------------------------------------------------------------------
# faults


def test_what_is_not_finite_on_one_process_stops_all_with_one_message(forks, text, tmp_path):
    status, said, _ = together(forks, curve(text, tmp_path / "run"), faults={1: {"nonfinite": {"calls": [7]}}})
    assert status == [1, 1]
    assert "step 6 has the loss nan" in said[0] and said[0].count("\n") == 1 and not said[1]


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_what_is_not_finite_on_one_process_is_skipped_on_all(forks, text, tmp_path, mode):
    out = tmp_path / "run"
    words = curve(text, out, "--on-nonfinite", "skip", train__parallel=mode, train__steps=12)
    status, said, ranks = together(forks, words, faults={1: {"nonfinite": {"calls": [7]}}})
    assert status == [0, 0], said
    assert [row["step"] for row in updates(out) if row.get("skipped")] == [6]
    assert [row["step"] for row in updates(out)] == list(range(12))
    assert len((out / "nonfinite.jsonl").read_text().splitlines()) == 1
    assert ranks[0].err.count("skipped") == 1 and not ranks[1].err


@pytest.mark.parametrize(("every", "back_to"), [(4, 4), (200, 6)], ids=["a checkpoint", "none yet"])
def test_what_is_not_finite_on_one_process_rolls_all_back(forks, text, tmp_path, every, back_to):
    out = tmp_path / "run"
    words = curve(text, out, "--on-nonfinite", "rollback", train__parallel="fsdp", train__steps=12)
    status, said, ranks = together(
        forks, [*words, "--set", f"train.checkpoint_every={every}"], faults={1: {"nonfinite": {"calls": [7]}}}
    )
    assert status == [0, 0], said
    assert "rolled back to" in ranks[0].out and f"step-{back_to:08d}" in ranks[0].out and not ranks[1].out
    assert [row["step"] for row in updates(out)] == list(range(12))


def test_a_process_that_hangs_ends_the_run_and_is_named(forks, text, tmp_path):
    words = curve(text, tmp_path / "run", train__timeout=4, train__checkpoint_every=0)
    with launched(forks, words, faults={1: {"stop_at": 5}}) as ranks:
        assert ranks[0].wait(180) == 1
        assert ranks[0].err.count("\n") == 1
        assert f"rank 1 (process {ranks[1].pid} on " in ranks[0].err
        assert "did not answer for 4 seconds (train.timeout)" in ranks[0].err
        assert ranks[1].running


def test_process_0_that_hangs_is_named_by_another(forks, text, tmp_path):
    words = curve(text, tmp_path / "run", train__timeout=4, train__checkpoint_every=0, train__parallel="fsdp")
    with launched(forks, words, faults={0: {"stop_at": 5}}) as ranks:
        assert ranks[1].wait(180) == 1
        assert f"rank 0 (process {ranks[0].pid} on " in ranks[1].err and ranks[1].err.count("\n") == 1


def test_a_process_that_is_killed_ends_the_run_and_it_goes_on_from_its_checkpoint(forks, text, alone, tmp_path):
    out = tmp_path / "run"
    status, said, ranks = together(forks, curve(text, out), faults={1: {"die_at": 30}})
    assert status == [1, KILLED]
    assert f"rank 1 (process {ranks[1].pid} on " in said[0] and "ended without saying why" in said[0]
    assert said[0].count("\n") == 1
    status, said, _ = together(forks, resume(out))
    assert status == [0, 0], said
    assert same_curve(out, alone())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all_with_one_save(forks, text, alone, tmp_path, rank):
    out = tmp_path / "run"
    words = curve(text, out, train__checkpoint_every=1000)
    status, said, ranks = together(forks, words, faults={rank: {"term_at": 7}})
    assert status == [143, 143], said
    assert steps(out) == [7]
    assert ranks[0].out.count("stopped by SIGTERM") == 1 and not ranks[1].out
    status, said, _ = together(forks, [*resume(out), "--set", "train.checkpoint_every=20"])
    assert status == [0, 0], said
    assert same_curve(out, alone())


two_gpus = pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are as many GPUs as processes")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer__name": "muon", "train__parallel": "fsdp"}, "write --set train.parallel=ddp"),
        ({"train__device": "mps"}, "2 processes cannot share train.device=mps"),
        pytest.param({"train__device": "cuda"}, "write --set train.device=cpu", marks=two_gpus),
        ({"train__parallel": "none"}, "torchrun has begun 2 processes, and train.parallel is none"),
        ({"train__batch_size": 5}, "train.batch_size=5 sequences, which all processes share, do not divide by 2"),
        ({"train__batch_size": 12, "train__micro_batch_size": 4}, "write --set train.micro_batch_size=3, say"),
        ({"model__vocab_size": 3}, "model.vocab_size=3 is smaller than the tokenizer's 256"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_of_one_process(forks, text, tmp_path, settings, message):
    status, said, _ = together(forks, curve(text, tmp_path / "run", **settings))
    assert status[0] == 2 and 0 not in status
    assert message in said[0] and said[0].count("\n") == 1
    assert said[1] == ""


@pytest.mark.parametrize(
    ("other", "message"),
    [("other.txt", "the text of rank 1 is another than that of rank 0"), ("none.txt", "rank 1: no such file")],
)
def test_a_text_that_differs_or_is_missing_on_one_process_is_said_with_its_rank(forks, text, tmp_path, other, message):
    """As where machines do not see the same files."""
    words = curve(text, tmp_path / "run")
    (tmp_path / "other.txt").write_text("another text on the second machine " * 50)
    elsewhere = [str(tmp_path / other) if word == str(text) else word for word in words]
    with launched(forks, words, words_of={1: elsewhere}) as ranks:
        assert [process.wait(180) for process in ranks] == [2, 1]
    assert message in ranks[0].err and ranks[0].err.count("\n") == 1 and ranks[1].err == ""


def test_muon_goes_on_with_what_one_process_began(forks, text, tmp_path):
    whole = tmp_path / "whole"
    settings = {"optimizer__name": "muon", "train__steps": 12, "train__checkpoint_every": 6}
    assert forks.run(*curve(text, whole, **settings), plain=True).status == 0
    again = back_to(whole, 6, tmp_path / "again")
    status, said, _ = together(forks, resume(again))
    assert status == [0, 0], said
    assert same_curve(again, whole, 1e-4)


def test_a_dry_run_ends_on_all(forks, text, tmp_path):
    status, said, ranks = together(forks, curve(text, tmp_path / "run", "--dry-run", train__parallel="fsdp"))
    assert status == [0, 0], said
    assert "dry run" in ranks[0].out and not ranks[1].out


def test_a_cooldown_of_two_processes_is_a_run_of_its_own(forks, text, tmp_path):
    stable, cooled = tmp_path / "stable", tmp_path / "cooled"
    hold = ("--schedule", "linear 2 to 1, hold rest")
    assert forks.run(*curve(text, stable, *hold, train__steps=12, train__checkpoint_every=6), plain=True).status == 0
    status, said, _ = together(forks, ["train", "--out", cooled, "--cooldown-from", f"{stable}@6", "--over", "4"])
    assert status == [0, 0], said
    assert steps(cooled) == [6, 10]
