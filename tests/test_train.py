"""`lehr train` as a whole: real processes on a small text, and what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lehr
from lehr.cli import main
from lehr.nn import TransformerLM
from lehr.train.checkpoint import load_checkpoint
from lehr.train.config import Config, assign, config_of, read
from lehr.train.finish import show_sample
from lehr.train.loop import loop, validation
from lehr.train.metrics import Log, is_evaluation, read_rows
from lehr.train.report import Report
from lehr.train.setup import build, choose_precision, new_folder

SMALL = (
    *("model.d_model=32", "model.num_heads=2", "model.num_layers=2", "model.d_ff=64", "model.context_length=32"),
    *(
        "train.device=cpu",
        "train.batch_size=8",
        "train.eval_every=10",
        "train.eval_batches=2",
        "train.checkpoint_every=10",
    ),
)
STEPS = 40


def command(text, out, *words, settings=SMALL):
    sets = [word for setting in settings for word in ("--set", setting)]
    options = ("--data", text, "--out", out, "--steps", STEPS, "--lr", "1e-2")
    return [sys.executable, "-m", "lehr", "train", *map(str, options), *sets, *map(str, words)]


def run(*args, **kwargs):
    # one thread, so that runs side by side do not wait for each other
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(*args, **kwargs), capture_output=True, text=True, env=env, timeout=180)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    verse = "Tiger Tiger, burning bright,\nIn the forests of the night;\nWhat immortal hand or eye,\n"
    path.write_text("".join(f"{i}. {verse}" for i in range(200)))
    return path


@pytest.fixture(scope="session")
def whole(text, tmp_path_factory):
    """One uninterrupted run, looked at by most tests."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run(text, folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def updates(folder):
    return [row for row in read_rows(folder / "metrics.jsonl") if not is_evaluation(row)]


def evaluations(folder):
    return [row for row in read_rows(folder / "metrics.jsonl") if is_evaluation(row)]


def timeless(rows):
    return [{key: value for key, value in row.items() if key not in ("time", "tokens_per_s")} for row in rows]


def weights(folder, step):
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def test_a_run_leaves_what_the_plan_says(whole):
    folder, done = whole
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "metrics.jsonl", "checkpoints", "curves.png", "sample.txt", "log.txt")
    }
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == [f"step-{s:08d}" for s in (20, 30, 40)]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "sample.txt").read_text()) > 100
    assert done.stderr == ""


def test_it_says_what_it_does(whole):
    folder, done = whole
    log = (folder / "log.txt").read_text()
    for line in ("warmup complete at step 2\n", "training complete\n"):
        assert line in done.stdout and line in log
    assert "schedule 0.01 * (linear 2 to 1, cosine 38 to 0.1)" in done.stdout
    for name in ("first update", "end of warmup", "half way", "last update", "parameters", "held out", "float32"):
        assert name in done.stdout
    assert "step 39/40  decay     lr 1.000e-03" in done.stdout
    assert "\x1b" not in done.stdout and "\r" not in done.stdout, "no colours and no bar without a terminal"
    assert max(map(len, done.stdout.splitlines())) < 200


def test_every_step_is_logged_once_with_the_lr_of_the_schedule(whole):
    folder, _ = whole
    config = json.loads((folder / "config.json").read_text())
    schedule, peak = lehr.parse(config["schedule"]["lr"]), config["optimizer"]["lr"]
    rows = updates(folder)
    assert [row["step"] for row in rows] == list(range(STEPS))
    for row in rows:
        assert row["lr"] == peak * schedule(row["step"]) and row["phase"] == schedule.phase(row["step"])
        assert row["tokens"] == (row["step"] + 1) * 8 * 32 and row["tokens_per_s"] > 0 and row["grad_norm"] > 0
        assert set(row) == {"step", "lr", "phase", "loss", "grad_norm", "tokens", "tokens_per_s", "time"}
    times = [row["time"] for row in read_rows(folder / "metrics.jsonl")]
    assert times == sorted(times)


def test_it_evaluates_before_the_first_update_between_and_at_the_end(whole):
    folder, _ = whole
    rows = evaluations(folder)
    assert [row["step"] for row in rows] == [0, 10, 20, 30, 40]
    assert abs(rows[0]["val_loss"] - 5.545) < 1, "a fresh model knows nothing: ln(256)"
    assert rows[-1]["val_loss"] < 0.6 * rows[0]["val_loss"]
    for row in rows:
        assert row["val_tokens"] == 2 * 8 * 32
        assert row["val_bpb"] == pytest.approx(row["val_loss"] / 0.6931471805599453)


def test_the_configuration_rebuilds_the_model_and_the_weights_are_safetensors(whole):
    folder, _ = whole
    config = json.loads((folder / "config.json").read_text())
    model = TransformerLM(**config["model"])
    saved = weights(folder, STEPS)
    assert set(saved) == set(model.state_dict())
    model.load_state_dict(saved)
    assert load_checkpoint(folder / "checkpoints" / "step-00000040", model) == STEPS
    assert config["train"]["precision"] == "float32" and config["versions"]["lehr"] == lehr.__version__


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(whole, text, tmp_path):
    folder, _ = whole
    first = run(text, tmp_path / "run", "--set", "train.checkpoint_every=0")  # an independent, equal run
    assert first.returncode == 0
    assert timeless(updates(tmp_path / "run")) == timeless(updates(folder))

    process = subprocess.Popen(
        command(text, tmp_path / "stopped", "--set", "train.checkpoint_every=1"), stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    wait_for_rows(tmp_path / "stopped", 17)
    process.kill()
    process.communicate()
    resumed = run(text, tmp_path / "stopped", "--resume")
    assert resumed.returncode == 0 and "resumed from" in resumed.stdout
    assert timeless(read_rows(tmp_path / "stopped" / "metrics.jsonl")) == timeless(read_rows(folder / "metrics.jsonl"))
    one, two = weights(folder, STEPS), weights(tmp_path / "stopped", STEPS)
    assert all(torch.equal(one[name], two[name]) for name in one)
    times = [row["time"] for row in updates(tmp_path / "stopped")]
    assert times == sorted(times)


def wait_for_rows(folder, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(read_rows(folder / "metrics.jsonl")) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("the run did not get there")


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_can_be_resumed(whole, text, tmp_path, signum, status):
    folder, _ = whole
    process = subprocess.Popen(
        # a save after every step, so that there is time to be stopped in
        command(text, tmp_path / "run", "--set", "train.checkpoint_every=1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    wait_for_rows(tmp_path / "run", 3)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status and err == ""
    done = len(updates(tmp_path / "run"))
    assert done < STEPS and f"stopped by {signum.name} after {done} updates" in out
    assert (tmp_path / "run" / "checkpoints" / f"step-{done:08d}").is_dir()
    # without any other argument: the run's own configuration is taken
    resumed = subprocess.run(
        [sys.executable, "-m", "lehr", "train", "--out", str(tmp_path / "run"), "--resume"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=180,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert timeless(read_rows(tmp_path / "run" / "metrics.jsonl")) == timeless(read_rows(folder / "metrics.jsonl"))


def copy_run(folder, to):
    subprocess.run(["cp", "-r", str(folder), str(to)], check=True)
    return to


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(whole, text, tmp_path):
    folder, _ = whole
    copy = copy_run(folder, tmp_path / "copy")
    file = copy / "checkpoints" / "step-00000040" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    done = run(text, copy, "--resume")
    assert done.returncode == 0
    assert "step-00000040 is damaged: model.safetensors" in done.stderr and "step-00000030" in done.stdout
    assert timeless(read_rows(copy / "metrics.jsonl")) == timeless(read_rows(folder / "metrics.jsonl"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "holds a run; write --resume"),
        (("--resume", "--lr", "0.02"), "optimizer.lr was 0.01"),
        (("--resume", "--steps", "80"), "train.steps was 40"),
        (("--resume", "--schedule", "linear 40 to 1"), "schedule.lr was 'linear 2 to 1, cosine 38 to 0.1'"),
        (("--resume", "--set", "train.seed=1"), "train.seed was 0"),
        (("--resume", "--set", "model.d_model=64"), "model.d_model was 32"),
    ],
)
def test_what_would_change_the_run_is_refused(whole, text, words, message):
    folder, _ = whole
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = run(text, folder, *words)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_another_text_on_resume_is_refused(whole, text, tmp_path):
    copy = copy_run(whole[0], tmp_path / "copy")
    other = tmp_path / "other.txt"
    other.write_text(text.read_text().replace("night", "NIGHT"))
    done = run(other, copy, "--resume")
    assert done.returncode == 2 and "the text is not the one" in done.stderr
    text_before = text.read_text()
    try:
        text.write_text(text_before + "\nmore")
        done = run(text, copy, "--resume")
    finally:
        text.write_text(text_before)
    assert done.returncode == 2 and "the text is not the one" in done.stderr


def test_resume_or_start_starts_where_there_is_nothing(text, tmp_path):
    out = tmp_path / "run"
    done = run(text, out, "--resume-or-start", "--steps", 3, "--set", "train.eval_every=0")
    assert done.returncode == 0 and len(updates(out)) == 3 and not evaluations(out)


def test_a_run_killed_before_its_first_checkpoint_can_be_started_over(text, tmp_path):
    out = tmp_path / "run"
    assert run(text, out, "--steps", 3, "--set", "train.checkpoint_every=0").returncode == 0
    refused = run(text, out, "--resume", "--steps", 3, "--set", "train.checkpoint_every=0")
    assert refused.returncode == 2 and "write --resume-or-start" in refused.stderr and refused.stdout == ""
    again = run(text, out, "--resume-or-start", "--steps", 3, "--set", "train.checkpoint_every=0")
    assert again.returncode == 0 and [row["step"] for row in updates(out)] == [0, 1, 2]


def test_a_loss_that_is_not_finite_ends_the_run_before_it_touches_the_weights(text, tmp_path):
    done = run(text, tmp_path / "run", "--lr", "1e30", "--set", "train.checkpoint_every=1")
    assert done.returncode == 1
    assert "gradient norm" in done.stderr and "the weights are still those before it" in done.stderr
    assert done.stderr.count("\n") == 1 and "try a lower --lr" in done.stderr


def test_micro_batches_give_the_gradient_of_the_whole_batch(text, tmp_path):
    def two_updates(name, micro):
        config = assign(small_config(text), "train.steps=2", f"train.micro_batch_size={micro}", "train.eval_every=0")
        parts = build(config)
        folder = tmp_path / name
        folder.mkdir()
        with closing(Log(folder / "metrics.jsonl", 0)) as log, closing(Report(folder / "log.txt", 2)) as report:
            loop(parts, folder, 0, log, report)
        return parts.model.state_dict(), log.rows

    (whole_weights, whole_rows), (micro_weights, micro_rows) = two_updates("whole", 8), two_updates("micro", 2)
    for name, value in whole_weights.items():
        torch.testing.assert_close(micro_weights[name], value, atol=2e-5, rtol=1e-4)
    for one, two in zip(whole_rows, micro_rows, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-6)
        assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-5)


def test_a_sample_is_shown_without_what_would_move_the_cursor(text, tmp_path, capsys):
    with closing(Report(tmp_path / "log.txt", 2)) as report:
        show_sample(report, build(small_config(text)), tmp_path, [])
    said = (tmp_path / "sample.txt").read_text()
    assert any(not c.isprintable() and c not in "\n\t" for c in said), "bytes of a model that has learnt nothing"
    assert all(c.isprintable() or c in "\n\t" for c in capsys.readouterr().out)


def small_config(text):
    return assign(Config(), *SMALL, f"data.path={text}", "train.checkpoint_every=0", "optimizer.lr=1e-2")


def test_weight_decay_is_on_matrices_only(text):
    parts = build(small_config(text))
    names = {id(p): name for name, p in parts.model.named_parameters()}
    for group in parts.optimizer.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] > 0) == (parameter.ndim >= 2), names[id(parameter)]
    assert sum(len(group["params"]) for group in parts.optimizer.param_groups) == len(names)


def test_the_whole_held_out_split_is_evaluated_when_asked(text):
    parts = build(assign(small_config(text), "train.eval_batches=0"))
    length = len(Path(text).read_bytes())
    assert validation(parts)["val_tokens"] == length - int(length * 0.9) - 1


def test_precision_is_a_fixed_rule_and_is_kept(whole, monkeypatch):
    assert choose_precision("cpu", 32) == "float32" and choose_precision("mps", 4096) == "float32"
    # no GPU here: the rule reads nothing of one but its capability
    for capability, width, precision in (((9, 0), 64, "bfloat16"), ((7, 5), 4096, "float32"), ((9, 0), 32, "float32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert choose_precision("cuda", width) == precision
    assert config_of(read(whole[0])).train.precision == "float32"


def test_bfloat16_trains_too(text, tmp_path):
    done = run(text, tmp_path / "run", "--steps", 20, "--set", "train.precision=bfloat16")
    assert done.returncode == 0, done.stderr
    losses = [row["val_loss"] for row in evaluations(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


def test_a_vocabulary_larger_than_the_tokenizers_is_fine(text, tmp_path):
    done = run(text, tmp_path / "run", "--steps", 2, "--set", "model.vocab_size=5000")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "sample.txt").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.val_fraction=0.00001", "the held-out split has 1 tokens and needs 2"),
        ("train.device=cuda:99999999999", "which this machine lacks; write --set train.device=cpu"),
        *(
            []
            if torch.cuda.is_available()
            else [("train.device=cuda", "which this machine lacks; write --set train.device=cpu")]
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(text, tmp_path, setting, message):
    done = run(text, tmp_path / "run", "--set", setting)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_plain_lines_come_whatever_the_logging_interval(text, tmp_path):
    done = run(text, tmp_path / "run", "--set", "train.log_every=3")
    assert len([line for line in done.stdout.splitlines() if line.startswith("step ")]) > 10


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [new_folder() for _ in range(3)]
    assert len(set(folders)) == 3 and all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("out", [("--out", "a/b/run"), ()], ids=["named", "by the time"])
def test_the_names_of_a_new_runs_folder_and_of_those_above_are_on_the_disk(text, tmp_path, monkeypatch, out):
    flushed, real = [], os.fsync

    def fsync(handle):
        flushed.append(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)  # nothing but a power cut would show it otherwise
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--preset", "debug", "--data", str(text), "--dry-run", *out]) == 0
    above = ["", "a", "a/b"] if out else ["", "runs"]
    assert {(tmp_path / folder).stat().st_ino for folder in above} <= set(flushed)
