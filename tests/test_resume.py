"""Resuming under another plan, and branching a cooldown off another run: real processes, and what they write."""

import json
import shutil

import pytest
from processes import resume, same_end, steps, timeless, train, updates

import lehr
from lehr.train.config import config_of, read
from lehr.train.durable import write_file
from lehr.train.folders import read as read_checkpoint

HALF, END = 12, 24
SPEC = "linear 25% to 1, cosine rest to 0.1"


@pytest.fixture(scope="session")
def half(forks, text, tmp_path_factory):
    """A run of 12 updates under a cosine."""
    folder = tmp_path_factory.mktemp("half") / "run"
    assert forks.run(*train(text, folder, schedule__lr=SPEC, train__steps=HALF), plain=True).status == 0
    return folder


@pytest.fixture
def copy(half, tmp_path):
    import shutil

    return shutil.copytree(half, tmp_path / "copy")


def plan(folder):
    config = read(folder)
    return config["optimizer"]["lr"], lehr.parse(config["schedule"]["lr"])


def test_another_plan_is_refused_with_both_schedules_and_lrs(forks, copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for words, first in (
        (("--steps", END), "train.steps was 12 in"),
        (("--lr", "2e-2"), "optimizer.lr was 0.01 in"),
        (("--schedule", "linear 3 to 1, hold rest"), "schedule.lr was 'linear 3 to 1, cosine 9 to 0.1' in"),
    ):
        refused = forks.run(*resume(copy, *words))
        assert refused.status == 2 and refused.err.count("\n") == 1 and first in refused.err
        assert "saved is 0.01 * (linear 3 to 1, cosine 9 to 0.1), LR 0.001 at step 12; asked for is" in refused.err
        assert "write --on-mismatch saved, new or extend" in refused.err
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


@pytest.mark.parametrize("mode", ["saved", "new", "extend"])
def test_the_chosen_plan_goes_on_and_is_recorded(forks, copy, half, mode):
    words = ("--steps", END, "--lr", "2e-2", "--schedule", SPEC, "--on-mismatch", mode)
    done = forks.run(*resume(copy, *words), plain=True)
    assert done.status == 0, done.err
    old_peak, old = plan(half)
    new = lehr.parse(SPEC, total=END)
    expected = {
        "saved": (0.01, old),
        "new": (0.02, new),
        "extend": (0.02, (old_peak / 0.02 * old).extend(new, at=HALF)),
    }[mode]
    assert plan(copy) == expected
    rows = updates(copy)
    assert [row["step"] for row in rows] == list(range(END))
    for row in rows:
        peak, schedule = (old_peak, old) if row["step"] < HALF else expected
        assert row["lr"] == peak * schedule(row["step"]) and row["phase"] == schedule.phase(row["step"])
    if mode == "extend":  # no jump, and the updates before are those of the old plan
        assert rows[HALF]["lr"] == pytest.approx(rows[HALF - 1]["lr"], rel=0.1)
        assert all(expected[0] * expected[1](step) == pytest.approx(rows[step]["lr"]) for step in range(HALF))
    [record] = read(copy)["plans"]
    assert record["step"] == HALF and record["on_mismatch"] == mode
    assert record["before"]["train.steps"] == HALF and record["now"]["schedule.lr"] == str(expected[1])
    state = read_checkpoint(copy / "checkpoints" / f"step-{END:08d}")
    assert state["schedule"] == str(expected[1]) and state["fingerprint"] == expected[1].fingerprint
    # the choice is kept: from now on it resumes without a word
    assert config_of(read(copy)).schedule.lr == str(expected[1])
    assert forks.run(*resume(copy), plain=True).status == 0 and plan(copy) == expected
    assert read(copy)["plans"] == [record]
    # a requeued job writes the same arguments again, and nothing is extended a second time
    assert forks.run(*resume(copy, *words), plain=True).status == 0 and plan(copy) == expected
    assert read(copy)["plans"] == [record]


def test_fewer_steps_than_are_done_are_refused(forks, copy):
    done = forks.run(*resume(copy, "--steps", 5, "--on-mismatch", "new"))
    assert done.status == 2 and "has 12 updates already, and train.steps is 5; write --steps 12 or more" in done.err


def test_a_dry_run_of_a_resume_changes_nothing(forks, copy):
    (copy / "checkpoints" / "step-00000012" / "model.safetensors").write_bytes(b"")
    (copy / "checkpoints" / ".step-00000012.1.tmp").mkdir()

    def there():
        return {path: path.is_file() and path.read_bytes() for path in copy.rglob("*")}

    before = there()
    done = forks.run(*resume(copy, "--steps", END, "--on-mismatch", "new", "--dry-run"), no_capabilities=True)
    assert done.status == 0 and "config.json is left as it is" in done.out and "cosine 18 to 0.1" in done.out
    assert "step-00000012 is damaged" in done.err and "it is left where it is" in done.err
    assert there() == before


def test_another_size_of_micro_batches_is_refused_where_dropout_would_draw_otherwise(forks, text, copy, tmp_path):
    dropped = tmp_path / "dropped"
    assert forks.run(*train(text, dropped, model__dropout=0.1), plain=True).status == 0
    refused = forks.run(*resume(dropped, "--set", "train.micro_batch_size=2"))
    assert refused.status == 2 and "train.micro_batch_size was 4 in" in refused.err
    assert forks.run(*resume(copy, "--set", "train.micro_batch_size=2"), plain=True).status == 0


def test_a_checkpoint_of_a_newer_lehr_is_left_alone_and_said(forks, copy):
    newest = copy / "checkpoints" / "step-00000012"
    state = json.loads((newest / "state.json").read_text())
    (newest / "state.json").unlink()
    fact = write_file(newest / "state.json", [json.dumps(state | {"format": 2}).encode()])
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["files"]["state.json"] = fact
    for format_ in (1, 2):  # said by the state alone, and by the manifest, whose files may be quite other ones
        (newest / "manifest.json").write_text(json.dumps(manifest | {"format": format_}))
        for words in (resume(copy), ["export", copy, "--out", copy / "hf"]):
            done = forks.run(*words)
            if format_ == 1 and words[0] == "export":  # the weights are what it wants, and they are listed
                continue
            assert done.status == 2 and done.err.count("\n") == 1
            assert f"{newest} was written by a newer lehr, in format 2; this one reads format 1" in done.err
        assert steps(copy) == [4, 8, 12], "it is not damaged"
        manifest["files"] = {}


# ---------------------------------------------------------------------------------------------------------------------
# a cooldown from another run


@pytest.fixture(scope="session")
def stable(forks, text, tmp_path_factory):
    """A run in its stable phase, with checkpoints after 4, 8, ... 20 updates."""
    folder = tmp_path_factory.mktemp("stable") / "run"
    command = train(text, folder, schedule__lr="linear 6 to 1, hold rest", train__steps=20, train__keep=9)
    assert forks.run(*command, plain=True).status == 0
    return folder


@pytest.mark.parametrize(
    ("at", "over", "text_of"),
    [
        ("@16", "25%", "linear 6 to 1, hold 14, at 16 sqrt 4 to 0"),
        ("", "3", "linear 6 to 1, hold 14, sqrt 3 to 0"),
        ("@12", "linear 128 tokens to 0.25", "linear 6 to 1, hold 14, at 12 linear 2 to 0.25"),
    ],
)
def test_a_cooldown_branches_off_into_a_run_of_its_own(forks, stable, tmp_path, at, over, text_of):
    before = {path: path.read_bytes() for path in stable.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    done = forks.run("train", "--cooldown-from", f"{stable}{at}", "--over", over, "--out", out, plain=True)
    assert done.status == 0, done.err
    start = int(at[1:] or 20)
    config = read(out)
    assert config["schedule"]["lr"] == text_of and config["parent"] == {
        "run": str(stable.resolve()), "step": start, "over": over,
    }  # fmt: skip
    end = config["train"]["steps"]
    assert end == lehr.parse(text_of).total and steps(out)[0] == start and steps(out)[-1] == end
    rows = updates(out)
    assert [row["step"] for row in rows] == list(range(start, end)) and {row["phase"] for row in rows} == {"cooldown"}
    # the first update is that of the parent at that step, but for the LR
    parent = {row["step"]: row for row in updates(stable)}
    if start in parent:
        assert rows[0]["loss"] == parent[start]["loss"] and rows[0]["lr"] < parent[start]["lr"]
    assert before == {path: path.read_bytes() for path in stable.rglob("*") if path.is_file()}
    # it is a run like any other: killed early it goes on, without its parent's help
    again = tmp_path / "again"
    command = ("train", "--cooldown-from", f"{stable}{at}", "--over", over, "--out", again)
    assert forks.run(*command, plain=True, kill_at=30).status == -9
    assert forks.run(*command, "--resume-or-start", plain=True).status == 0
    assert timeless(again) == timeless(out) and same_end(again, out, end)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("@15", "--over", "10%"), "has no checkpoint of step 15; the nearest to write are {run}@12 and {run}@16"),
        (("@4", "--over", "10%"), "is in the phase 'warmup' of 'linear 6 to 1, hold 14', not in a stable one: write"),
        (("@16", "--over", "0"), "--over is how long the cooldown lasts, at least one update"),
        (("@16", "--over", "10% to 0, hold 5"), "--over is how long the cooldown lasts"),
        (("@16", "--over", "fast"), "--over 'fast': in 'fast to 0': unknown shape 'fast'"),
        (("@16",), "--cooldown-from needs the cooldown's length; write --over 10%"),
        (("@16", "--over", "10%", "--steps", "9"), "takes its plan from the other run; leave out --steps 9"),
        (("@16", "--over", "10%", "--set", "train.steps=9"), "leave out --set train.steps"),
        (("@16", "--over", "10%", "--preset", "debug"), "leave out --preset debug"),
        (("@last", "--over", "10%"), "'last' is not a step; write --cooldown-from {run}@500, say"),
        (("@16", "--over", "10%", "--set", "train.seed=4"), "train.seed was 0"),
        (("-none", "--over", "10%"), "holds no run"),
    ],
)
def test_a_cooldown_that_cannot_be_is_refused_in_one_line(forks, stable, tmp_path, words, message):
    out = tmp_path / "out"
    done = forks.run("train", "--cooldown-from", f"{stable}{words[0]}", *words[1:], "--out", out)
    assert done.status == 2 and done.err.count("\n") == 1
    assert message.format(run=stable) in done.err and not out.exists()


def test_a_cooldown_begins_with_the_plan_of_its_checkpoint_whatever_the_run_did_later(forks, stable, tmp_path):
    parent, out = tmp_path / "parent", tmp_path / "out"
    shutil.copytree(stable, parent)
    peak, schedule = plan(stable)
    words = ("--steps", 24, "--lr", 10 * peak, "--schedule", "linear 24 to 1", "--on-mismatch", "new")
    done = forks.run(*resume(parent, *words), plain=True)
    assert done.status == 0, done.err
    done = forks.run("train", "--cooldown-from", f"{parent}@16", "--over", "4", "--out", out, plain=True)
    assert done.status == 0, done.err
    assert plan(out) == (peak, schedule.cooldown(at=16, over=4))


def test_a_cooldown_that_was_ended_before_its_first_checkpoint_does_not_begin_from_nothing(forks, stable, tmp_path):
    out = tmp_path / "out"
    command = ("train", "--cooldown-from", f"{stable}@16", "--over", "4", "--out", out)
    assert forks.run(*command, plain=True).status == 0
    shutil.rmtree(out / "checkpoints")
    (out / "checkpoints").mkdir()
    done = forks.run("train", "--out", out, "--resume-or-start")
    assert done.status == 2 and "was ended before its first checkpoint; to begin it once more, write" in done.err
    done = forks.run(*command, "--resume-or-start", plain=True)
    assert done.status == 0 and "cooling down from" in done.out and steps(out) == [16, 20]


def test_a_cooldown_is_resumed_as_what_it_is(forks, stable, tmp_path):
    out = tmp_path / "out"

    def run(at, over, *words):
        return forks.run("train", "--cooldown-from", f"{stable}{at}", "--over", over, "--out", out, *words, plain=True)

    assert run("@16", "25%").status == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = run("@12", "25%", "--resume-or-start")
    assert other.status == 2 and f"{out} is the cooldown from step 16 of {stable}, not from 12; write" in other.err
    longer = run("@16", "50%", "--resume")
    assert longer.status == 2 and f"{out} is a cooldown over '25%', not '50%'; write --over '25%'" in longer.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert run("", "25%", "--resume").status == 0, "without a step it is the one that was taken"
    assert run("@16", " 25% ", "--resume-or-start").status == 0


def test_a_run_without_a_stable_phase_is_named(forks, half, tmp_path):
    done = forks.run("train", "--cooldown-from", half, "--over", "10%", "--out", tmp_path / "out")
    assert done.status == 2 and "it has no stable phase; train one with --schedule" in done.err


def test_options_without_what_they_belong_to_are_refused(forks, tmp_path):
    for words, message in (
        (("--over", "10%"), "write --cooldown-from RUN@STEP as well"),
        (("--on-mismatch", "new"), "write --resume as well"),
        (("--on-mismatch", "old"), "invalid choice: 'old'"),
    ):
        done = forks.run("train", *words, "--out", tmp_path / "out")
        assert done.status == 2 and message in done.err and done.err.count("\n") == 1


def test_the_configuration_of_an_older_run_can_lack_a_key(forks, copy):
    config = json.loads((copy / "config.json").read_text())
    del config["model"]["dropout"], config["train"]["on_nonfinite"]
    (copy / "config.json").write_text(json.dumps(config))
    assert forks.run(*resume(copy), plain=True).status == 0
    assert read(copy)["model"]["dropout"] == 0.0
