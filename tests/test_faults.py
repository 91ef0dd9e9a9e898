"""Every fault we can inject, into real processes: what becomes of the run, and that it goes on bit for bit.

docs/reliability.md has the table. Processes are forked from one that has imported torch (tests/forks.py).
"""

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from processes import (
    KILLED,
    Forks,
    resume,
    same_end,
    steps,
    timeless,
    train,
    updates,
    wait_for_rows,
)

from lehr.train.folders import all_folders, read, verify

END = 12


@pytest.fixture(scope="session")
def whole(forks, text, tmp_path_factory):
    """The uninterrupted run that others are compared with: dropout, and gradients added up over two micro-batches."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = forks.run(*hard(text, folder))
    assert done.status == 0, done.err
    return folder


def hard(text, folder, *words, **settings):
    return train(text, folder, *words, **{"model__dropout": 0.2, "train__micro_batch_size": 2, **settings})


def equals(folder, whole):
    return timeless(folder) == timeless(whole) and same_end(folder, whole, END)


# ---------------------------------------------------------------------------------------------------------------------
# killed


def test_killed_before_any_write_fsync_or_rename_a_run_resumes_bit_for_bit(forks, text, whole, tmp_path):
    counted = forks.run(*hard(text, tmp_path / "counted", train__keep=2), plain=True, count=str(tmp_path / "count"))
    assert counted.status == 0 and equals(tmp_path / "counted", whole)
    assert steps(tmp_path / "counted") == [8, 12], "a removal is among the calls"
    calls = int((tmp_path / "count").read_text())
    assert calls > 60
    cut_short = 0
    for kill_at in range(1, calls + 1):
        folder = tmp_path / str(kill_at)
        command = hard(text, folder, train__keep=2)
        killed = forks.run(*command, plain=True, kill_at=kill_at)
        assert killed.status == KILLED, (kill_at, killed.err)
        for _, path in all_folders(folder / "checkpoints"):
            verify(path)  # what is visible is whole
        resumed = forks.run(*command, "--resume-or-start", plain=True)
        assert resumed.status == 0, (kill_at, resumed.err)
        cut_short += "a save was cut short" in resumed.out
        assert equals(folder, whole), kill_at
        assert not list(folder.glob("**/.*")), f"{kill_at}: what was half-written is swept away"
    assert cut_short > 10
    folder = tmp_path / "drawing"  # a run that draws its curves renames them where the other removes its lock
    killed = forks.run(*hard(text, folder, train__keep=2), kill_at=calls)
    assert killed.status == KILLED and list(folder.glob(".curves.png.*"))
    assert forks.run(*resume(folder), plain=True).status == 0
    assert not list(folder.glob("**/.*"))


def killed_at_each(forks, tmp_path, command_for, same, every=3):
    """Kill a command before every so many of its writes, give the same again, and see that its end is the same."""
    folder = tmp_path / "counted"
    counted = forks.run(*command_for(folder), plain=True, count=str(tmp_path / "count"))
    assert counted.status == 0, counted.err
    calls = int((tmp_path / "count").read_text())
    assert calls > 40
    for kill_at in range(1, calls + 1, every):
        folder = tmp_path / str(kill_at)
        command = command_for(folder)
        killed = forks.run(*command, plain=True, kill_at=kill_at)
        assert killed.status == KILLED, (kill_at, killed.err)
        again = forks.run(*command, plain=True)
        assert again.status == 0, (kill_at, again.err)
        assert same(folder, tmp_path / "counted"), kill_at
        assert not list(folder.glob("**/.*")), f"{kill_at}: what was half-written is swept away"


def test_a_cooldown_that_is_killed_before_any_write_comes_to_the_same_end(forks, text, tmp_path):
    parent = tmp_path / "parent"
    done = forks.run(*hard(text, parent, schedule__lr="linear 4 to 1, hold rest"), plain=True)
    assert done.status == 0, done.err
    before = {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}
    words = ["--cooldown-from", parent, "--over", "50%", "--set", "train.keep=1", "--resume-or-start"]

    def same(one, two):
        assert [row["step"] for row in updates(one)] == list(range(12, 18))
        plan = [json.loads((folder / "config.json").read_text()) for folder in (one, two)]
        return timeless(one) == timeless(two) and same_end(one, two, 18) and plan[0] == plan[1]

    killed_at_each(forks, tmp_path, lambda folder: ["train", "--out", folder, *words], same)
    assert before == {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}


def test_a_changed_plan_that_is_killed_before_any_write_comes_to_the_same_end(forks, whole, tmp_path):
    words = ("--steps", 18, "--lr", "2e-2", "--on-mismatch", "extend", "--set", "train.keep=1")

    def command(folder):
        if not folder.exists():
            shutil.copytree(whole, folder)
        return resume(folder, *words)

    def same(one, two):
        plans = [json.loads((folder / "config.json").read_text())["plans"] for folder in (one, two)]
        return timeless(one) == timeless(two) and same_end(one, two, 18) and plans[0] == plans[1] and len(plans[0]) == 1

    killed_at_each(forks, tmp_path, command, same)


def test_killed_at_random_moments_a_run_resumes_bit_for_bit(forks, text, whole, tmp_path):
    rng, folder, kills = random.Random(int.from_bytes(os.urandom(2), "little")), tmp_path / "run", 0
    while True:
        process = forks.start(*hard(text, folder), "--resume-or-start", plain=True)
        if kills < 12:
            time.sleep(rng.uniform(0, 0.08))
            with contextlib.suppress(ProcessLookupError):  # on a fast machine the run may be over by now
                process.send(signal.SIGKILL)
        kills += 1
        if process.wait() == 0:
            break
    assert equals(folder, whole)


# ---------------------------------------------------------------------------------------------------------------------
# asked to stop, or to save


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_signal_finishes_the_step_saves_and_exits(forks, text, whole, tmp_path, signum, status):
    folder = tmp_path / "run"
    process = forks.start(*hard(text, folder, train__steps=100_000, train__checkpoint_every=0))
    wait_for_rows(process, folder, 5)
    process.send(signum)
    assert process.wait(20) == status and process.err == ""
    done = len(updates(folder))
    assert steps(folder) == [done] and f"stopped by {signum.name} after {done:,} updates" in process.out
    verify(folder / "checkpoints" / f"step-{done:08d}")


def test_a_second_interrupt_stops_at_once(forks, text, tmp_path):
    folder, beats = tmp_path / "run", tmp_path / "beats"
    # an update that takes minutes, so that the first one cannot be obeyed
    slow = {"train__batch_size": 16384, "train__micro_batch_size": 1, "train__eval_every": 0}
    process = forks.start(*hard(text, folder, **slow), beat=str(beats))
    Forks.until(lambda: beats.exists())
    process.send(signal.SIGINT)
    heard = beats.stat().st_size + 20  # micro-batches: by then Python has called its handler
    Forks.until(lambda: beats.stat().st_size > heard or not process.running)
    assert process.running and beats.stat().st_size < 16384
    process.send(signal.SIGINT)
    assert process.wait(10) == 130
    assert "stopped at once by SIGINT, without a last save" in process.err
    assert steps(folder) == [] and not (folder / ".lock").exists()


def test_sigusr1_saves_and_the_run_goes_on(forks, text, whole, tmp_path):
    folder = tmp_path / "run"
    process = forks.start(*hard(text, folder, train__steps=100_000, train__checkpoint_every=0))
    wait_for_rows(process, folder, 5)
    process.send(signal.SIGUSR1)
    Forks.until(lambda: steps(folder))
    saved = steps(folder)[0]
    Forks.until(lambda: "as SIGUSR1 asked" in process.out)
    wait_for_rows(process, folder, saved + 10)
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert f"checkpoint after {saved:,} updates written, as SIGUSR1 asked" in process.out
    verify(folder / "checkpoints" / f"step-{saved:08d}")


# ---------------------------------------------------------------------------------------------------------------------
# the disk


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limit of another process is set")
def test_a_full_disk_does_not_end_the_run_and_is_retried(forks, text, whole, tmp_path):
    folder = tmp_path / "run"
    command = hard(text, folder, train__keep=5, train__checkpoint_every=2, train__steps=100_000, train__eval_every=1000)
    process = forks.start(*command)
    Forks.until(lambda: len(steps(folder)) >= 4)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))  # no file may grow beyond
    Forks.until(lambda: "could not be written" in process.err)
    # said once what was removed to make room, and never fewer than two are left
    assert re.search(r"no room for the checkpoint of step .* removed step", process.err)
    kept = steps(folder)
    assert len(kept) >= 2
    for _, path in all_folders(folder / "checkpoints"):
        verify(path)
    assert f"the newest is that of step {kept[-1]:,}" in process.err
    # it trains on, also where its terminal is a file that has no room either
    Forks.until(lambda: len(process.err) > 9_000)
    time.sleep(0.5)
    assert process.running
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Forks.until(lambda: "there is room again" in process.err)
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    newest, path = all_folders(folder / "checkpoints")[-1]
    assert newest > kept[-1], process.err[-2000:]
    verify(path)
    rows = [row["step"] for row in updates(folder)]
    assert rows == list(range(newest)), (
        process.err[-1500:] + process.out[-500:] + "rows that had to wait are written, each once and in order"
    )


def test_a_disk_that_stays_full_fails_the_run_only_at_its_end(forks, text, whole, tmp_path):
    folder = tmp_path / "run"
    command = hard(text, folder)
    done = forks.run(*command, plain=True, file_limit=20_000)
    assert done.status == 1 and steps(folder) == []
    assert "all updates are done, but the checkpoint after the last one could not be written" in done.err
    assert (
        "the checkpoint of step 4 could not be written (File too large)" in done.err and "there is none yet" in done.err
    )
    assert len(updates(folder)) == END
    again = forks.run(*command, "--resume-or-start", plain=True)
    assert again.status == 0 and equals(folder, whole)


def test_a_stop_on_a_full_disk_says_what_is_lost(forks, text, tmp_path):
    folder = tmp_path / "run"
    command = hard(text, folder, train__steps=100_000, train__checkpoint_every=0)
    process = forks.start(*command, file_limit=20_000)
    wait_for_rows(process, folder, 5)
    process.send(signal.SIGTERM)
    assert process.wait(20) == 143
    assert "could not be saved" in process.err


# ---------------------------------------------------------------------------------------------------------------------
# damaged


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the whole run, to be damaged."""
    target = tmp_path / "copy"
    os.system(f"cp -r '{whole}' '{target}'")
    return target


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "random-00000.json", "manifest.json"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(forks, copy, whole, damage, name):
    hurt(copy / "checkpoints" / "step-00000012" / name, damage)
    done = forks.run(*resume(copy), plain=True)
    assert done.status == 0
    assert re.search(r"step-00000012 is (damaged|not whole): .*left for inspection as step-00000012.damaged", done.err)
    assert "resumed from" in done.out and "step-00000008" in done.out and "data position (window 32)" in done.out
    assert (copy / "checkpoints" / "step-00000012.damaged").is_dir(), "left for inspection"
    assert equals(copy, whole)


def hurt(file, damage):
    raw = file.read_bytes()
    middle = len(raw) // 2
    if damage == "remove":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(raw[:middle])
    else:
        file.write_bytes(raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :])


def test_a_damaged_checkpoint_counts_for_none_of_those_that_are_kept(forks, copy, text):
    hurt(copy / "checkpoints" / "step-00000012" / "model.safetensors", "flip")
    # it does not come past step 12 on a multiple: 8, then 13, 18, 20
    done = forks.run(
        *resume(copy, "--on-mismatch", "new", "--steps", 20, "--set", "train.checkpoint_every=5"), plain=True
    )
    assert done.status == 0, done.err
    assert set(steps(copy)) >= {10, 15, 20} and 12 not in steps(copy)
    assert (copy / "checkpoints" / "step-00000012.damaged").is_dir()


def test_all_damaged_is_an_error_and_none_is_taken_for_a_fresh_start(forks, copy):
    for path in (copy / "checkpoints").iterdir():
        hurt(path / "model.safetensors", "cut")
    for words in (["--resume"], ["--resume-or-start"]):
        done = forks.run("train", "--out", copy, *words, plain=True)
        assert done.status == 2 and "has no whole checkpoint to resume from" in done.err.splitlines()[-1]


def test_no_checkpoint_is_a_clear_error_and_resume_or_start_starts(forks, text, whole, tmp_path):
    folder = tmp_path / "run"
    none = forks.run(*hard(text, folder), "--resume")
    assert none.status == 2 and "holds no run to resume; write --resume-or-start" in none.err
    started = forks.run(*hard(text, folder), "--resume-or-start", plain=True)
    assert started.status == 0 and equals(folder, whole)


# ---------------------------------------------------------------------------------------------------------------------
# not finite


def nonfinite_records(folder):
    return [json.loads(line) for line in (folder / "nonfinite.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_not_finite_by_default_stops_the_run_before_the_weights_are_touched(forks, text, tmp_path, value):
    folder = tmp_path / "run"
    command = train(text, folder, train__checkpoint_every=1, train__keep=20)
    done = forks.run(*command, nonfinite={"calls": [7], "value": value})
    assert done.status == 1 and "step 6 has the loss" in done.err and done.err.count("\n") == 1
    assert steps(folder)[-1] == 6 and len(updates(folder)) == 6
    [record] = nonfinite_records(folder)
    assert record["step"] == 6 and record["loss"] == value and record["then"] == "stop" and len(record["windows"]) == 4
    resumed = forks.run(*resume(folder), plain=True)  # a fault of the machine, that does not come again
    assert resumed.status == 0 and [row["step"] for row in updates(folder)] == list(range(END))


def test_not_finite_saves_before_it_stops_and_goes_on_bit_for_bit(forks, text, whole, tmp_path):
    folder = tmp_path / "run"
    command = hard(text, folder, train__checkpoint_every=200)  # beyond its end: there is no other checkpoint
    done = forks.run(*command, nonfinite={"calls": [13], "value": "nan"})
    assert done.status == 1 and done.err.count("\n") == 1 and steps(folder) == [6]
    assert "the weights are still those before it, and they are saved: --resume with --on-nonfinite" in done.err
    again = forks.run(*resume(folder), nonfinite={"calls": [1], "value": "nan"})
    assert (
        again.status == 1
        and "and they are saved" in again.err
        and os.listdir(folder / "checkpoints") == ["step-00000006"]
    )
    resumed = forks.run(*resume(folder), plain=True)
    assert resumed.status == 0 and equals(folder, whole), "the draws of dropout are those of the update left out"
    first = forks.run(*hard(text, tmp_path / "first"), nonfinite={"calls": [1]})
    assert first.status == 1 and steps(tmp_path / "first") == [0]
    full = forks.run(*hard(text, tmp_path / "full"), nonfinite={"calls": [1]}, file_limit=20_000)
    assert full.status == 1 and "before it, but they could not be saved" in full.err


def test_not_finite_limits_hold_over_resumes(forks, text, tmp_path):
    skipping = tmp_path / "skipping"
    command = train(text, skipping, "--on-nonfinite", "skip", train__checkpoint_every=4, train__steps=30)
    killed = forks.run(*command, nonfinite={"calls": [*range(3, 99)]}, plain=True)
    assert killed.status == 1 and "step 11 has the loss nan" in killed.err
    assert "nor was any of the 9 updates before it finite" in killed.err
    assert [row["step"] for row in updates(skipping) if row.get("skipped")] == [*range(2, 12)], "the tenth has its row"
    assert steps(skipping)[-1] == 12
    shutil.rmtree(skipping / "checkpoints" / "step-00000012")
    again = forks.run(*resume(skipping), nonfinite={"calls": [*range(1, 99)]})  # from step 8, after six of them
    assert again.status == 1 and "step 11 has the loss nan" in again.err
    rolling = tmp_path / "rolling"
    command = train(text, rolling, "--on-nonfinite", "rollback")
    often = forks.run(*command, nonfinite={"calls": [*range(6, 99)]})
    assert often.status == 1 and "3 times before, on other batches" in often.err
    again = forks.run(*resume(rolling), nonfinite={"calls": [*range(2, 99)]})
    assert again.status == 1 and "3 times before, on other batches" in again.err
    assert again.err.count("going back") == 1


def test_not_finite_skip_leaves_weights_and_state_as_they_were(forks, text, tmp_path):
    folder = tmp_path / "run"
    command = train(text, folder, "--on-nonfinite", "skip", train__checkpoint_every=1, train__keep=20)
    done = forks.run(*command, plain=True, nonfinite={"calls": [7], "value": "nan"})
    assert done.status == 0 and "step 6 has the loss nan" in done.err and "skipped" in done.err
    before, after = (read(folder / "checkpoints" / f"step-{step:08d}") for step in (6, 7))
    assert all((before["model"][name] == after["model"][name]).all() for name in before["model"])
    for index, state in before["optimizer"]["state"].items():
        assert all((state[key] == after["optimizer"]["state"][index][key]).all() for key in state)
    rows = updates(folder)
    assert [row["step"] for row in rows] == list(range(END))
    assert [row["step"] for row in rows if row.get("skipped")] == [6] and rows[6]["loss"] is None
    many = forks.run(
        *train(text, tmp_path / "many", "--on-nonfinite", "skip"), nonfinite={"calls": [*range(1, 99)]}, plain=True
    )
    assert many.status == 1 and "nor was any of the 9 updates before it finite" in many.err


def test_not_finite_rollback_goes_on_from_the_checkpoint_with_the_batches_after(forks, text, tmp_path):
    folder = tmp_path / "run"
    command = train(text, folder, "--on-nonfinite", "rollback")
    done = forks.run(*command, plain=True, nonfinite={"calls": [7]}, count=str(tmp_path / "count"))
    assert done.status == 0, done.err
    assert "step 6 has the loss nan" in done.err and "going back to the newest checkpoint" in done.err
    assert [row["step"] for row in updates(folder)] == list(range(END))
    saved = [read(path)["data"]["shift"] for _, path in all_folders(folder / "checkpoints")]
    assert saved == [0, 3, 3], "updates 4 and on take the batches 7 and on"
    # and it is exact too: stopped in the middle, it is the same run
    command = train(text, tmp_path / "again", "--on-nonfinite", "rollback")
    again = forks.run(*command, nonfinite={"calls": [7]}, kill_at=int((tmp_path / "count").read_text()) - 10)
    assert again.status == KILLED and steps(tmp_path / "again") == [4, 8]
    resumed = forks.run(*resume(tmp_path / "again"), plain=True)
    assert resumed.status == 0 and timeless(tmp_path / "again") == timeless(folder)
    assert same_end(tmp_path / "again", folder, END)


def test_not_finite_rollback_before_the_first_checkpoint_loses_nothing(forks, text, tmp_path):
    folder, other = tmp_path / "run", tmp_path / "other"
    never = {"train__checkpoint_every": 200}  # beyond its end
    done = forks.run(*hard(text, folder, "--on-nonfinite", "rollback", **never), plain=True, nonfinite={"calls": [13]})
    assert done.status == 0 and "step 6 has the loss nan" in done.err
    assert "there is no checkpoint to go back to yet" in done.out and "step-00000006: weights" in done.out
    assert [row["step"] for row in updates(folder)] == list(range(END)) and steps(folder) == [6, 12]
    assert [read(path)["data"]["shift"] for _, path in all_folders(folder / "checkpoints")] == [0, 1]
    # it is what `stop` saves, and what a rollback from there comes to, bit for bit
    stopped = forks.run(*hard(text, other, **never), plain=True, nonfinite={"calls": [13]})
    assert stopped.status == 1 and same_end(other, folder, 6)
    again = forks.run(*resume(other, "--on-nonfinite", "rollback"), plain=True, nonfinite={"calls": [1]})
    assert again.status == 0 and equals(other, folder)


def test_not_finite_rollback_gives_up_where_it_does_not_help(forks, text, tmp_path):
    full = tmp_path / "full"
    done = forks.run(
        *train(text, full, "--on-nonfinite", "rollback"), plain=True, nonfinite={"calls": [2]}, file_limit=20_000
    )
    assert done.status == 1 and steps(full) == []
    assert "could not be saved: free some room for" in done.err and "--resume-or-start to start over" in done.err
    often = forks.run(
        *train(text, tmp_path / "often", "--on-nonfinite", "rollback"), nonfinite={"calls": [*range(6, 99)]}
    )
    assert often.status == 1 and "3 times before, on other batches" in often.err


# ---------------------------------------------------------------------------------------------------------------------
# the folder


def test_a_second_run_on_one_folder_is_refused_and_a_killed_one_locks_nothing(forks, text, tmp_path):
    folder = tmp_path / "run"
    command = train(text, folder, train__steps=100_000)
    first = forks.start(*command)
    wait_for_rows(first, folder, 10)
    second = forks.run(*command, "--resume")
    assert second.status == 2 and second.err.count("\n") == 1
    assert f"is in use by process {first.pid} on {os.uname().nodename}" in second.err
    first.send(signal.SIGKILL)
    assert first.wait() == KILLED and (folder / ".lock").exists()
    third = forks.start(*command, "--resume")
    Forks.until(lambda: "resumed from" in third.out)
    third.send(signal.SIGTERM)
    assert third.wait() == 143 and not (folder / ".lock").exists()


def test_a_folder_that_vanishes_ends_the_run_with_a_clear_error(forks, text, tmp_path):
    folder = tmp_path / "run"
    process = forks.start(*train(text, folder, train__steps=100_000, train__log_every=100_000))
    Forks.until(lambda: steps(folder))
    folder.rename(tmp_path / "elsewhere")
    assert process.wait() == 1 and "has vanished: was it moved, removed or unmounted?" in process.err
    assert process.err.count("\n") == 1 and not folder.exists(), "it is not made anew, half of it"


def test_memory_that_is_full_is_one_line_and_the_run_goes_on(forks, text, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert forks.run(*train(text, whole), plain=True).status == 0
    process = forks.run(*train(text, out), crowd_at=11, plain=True)
    assert process.status == 1 and process.err.count("\n") == 1, process.err
    assert "the memory of this machine does not suffice" in process.err and "train.micro_batch_size=" in process.err
    assert steps(out) and forks.run(*resume(out), plain=True).status == 0
    assert same_end(whole, out, steps(whole)[-1])


def test_a_model_that_this_machine_cannot_hold_is_refused_before_it_is_made(forks, text, tmp_path):
    large = train(text, tmp_path / "large", model__d_ff=10**13)
    refused = forks.run(*large, plain=True)
    assert refused.status == 2 and refused.err.count("\n") == 1 and "and this machine has" in refused.err
    planned = forks.run(*large, "--dry-run", plain=True)  # of any size
    assert planned.status == 0 and "the run would be refused here" in planned.out + planned.err


def test_a_folder_that_cannot_be_written_is_refused(forks, text, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        done = forks.run(*train(text, out))
        assert done.status == 2 and done.err.count("\n") == 1 and str(tmp_path / "file") in done.err
    (tmp_path / "locked").mkdir(mode=0o555)
    done = forks.run(*train(text, tmp_path / "locked" / "run"), no_capabilities=True)
    assert done.status == 2 and "cannot be written (Permission denied); write another --out" in done.err


def test_a_folder_that_may_be_written_and_not_read_has_runs_all_the_same(forks, text, tmp_path):
    above = tmp_path / "above"
    above.mkdir(mode=0o300)
    try:
        done = forks.run(*train(text, above / "run", "--dry-run"), no_capabilities=True)
        assert done.status == 0, done.err
    finally:
        above.chmod(0o700)


def test_a_folder_that_turns_read_only_ends_the_run_with_a_clear_error(forks, text, tmp_path):
    folder = tmp_path / "run"
    process = forks.start(*train(text, folder, train__steps=100_000), no_capabilities=True)
    Forks.until(lambda: steps(folder))
    os.chmod(folder / "checkpoints", 0o555)
    assert process.wait() == 1
    assert "checkpoints cannot be written (Permission denied); mend that and write --resume" in process.err


# ---------------------------------------------------------------------------------------------------------------------
# the table


def test_the_reliability_page_names_tests_that_exist():
    here = Path(__file__).parent
    page, scale = ((here.parent / "docs" / name).read_text() for name in ("reliability.md", "scale.md"))
    named = set(re.findall(r"`(test_\w+)`", page + scale))
    defined = {
        name for file in here.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    assert named and named <= defined, f"named, but not there: {sorted(named - defined)}"
    faults = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(), re.M))
    assert faults - named == {"test_the_reliability_page_names_tests_that_exist"}, "a fault is missing in the table"
