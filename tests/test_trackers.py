"""Trackers that need no package (CSV and JSONL), the log behind them all, and `lehr train` with `track.*`.

Those that do are in tests/integrations/test_real_trackers.py.
"""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

import lehr
from lehr.integrations import stores, trackers
from lehr.integrations.torch import Scheduler
from lehr.train import config as configs


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def logged(folder):
    return [json.loads(line) for line in (folder / "tracked.jsonl").read_text().splitlines()]


def steps(rows):
    return [int(row["step"]) for row in rows]


def test_a_row_is_flat_numbers_and_texts(tmp_path):
    with trackers.open(tmp_path, csv=True) as tracker:
        tracker.log(0, {"lr": {"body": 0.1, "head": torch.tensor(0.5)}, "betas": (0.9, 0.95), "phase": "warmup"})
        tracker.log(1, {"lr": {"body": 0.2}, "loss": None, "phase": None})
    assert logged(tmp_path) == [
        {"step": 0, "lr/body": 0.1, "lr/head": 0.5, "betas/0": 0.9, "betas/1": 0.95, "phase": "warmup"},
        {"step": 1, "lr/body": 0.2},
    ]
    rows = table(tmp_path / "metrics.csv")
    assert rows[0]["lr/head"] == "0.5" and rows[1]["lr/head"] == "" and rows[1]["lr/body"] == "0.2"


def test_a_new_name_becomes_a_column_of_all_rows(tmp_path):
    with trackers.open(tmp_path, csv=True) as tracker:
        tracker.log(0, {"loss": 2.0})
        tracker.log(1, {"val_loss": 3.0})
        tracker.log(2, {"loss": 1.0})
    assert (tmp_path / "metrics.csv").read_text() == "step,loss,val_loss\n0,2.0,\n1,,3.0\n2,1.0,\n"


def test_a_table_of_another_run_is_not_written_over(tmp_path):
    own = tmp_path / "mine.csv"
    own.write_text("step,lr\n0,1\n")
    with pytest.raises(ValueError, match=r"mine\.csv is there already, and not of this run; write another file"):
        trackers.open(tmp_path / "run", csv=str(own))
    assert own.read_text() == "step,lr\n0,1\n"


def test_a_number_that_is_not_finite_is_null_in_json(tmp_path):
    with trackers.open(tmp_path) as tracker:
        tracker.log(0, {"loss": math.nan, "grad_norm": math.inf, "lr": 0.1})
    assert logged(tmp_path) == [{"step": 0, "loss": None, "grad_norm": None, "lr": 0.1}]


@pytest.mark.parametrize("start", [0, 3, 5])
def test_the_log_is_cut_back_to_the_start_of_the_next_session(tmp_path, start):
    for first, last, offset in ((0, 5, 0.0), (start, 8, 0.5)):
        with trackers.open(tmp_path, start=first, csv=True) as tracker:
            for step in range(first, last):
                tracker.log(step, {"loss": step + offset})
    wanted = [float(step) for step in range(start)] + [step + 0.5 for step in range(start, 8)]
    for rows in (logged(tmp_path), table(tmp_path / "metrics.csv")):
        assert steps(rows) == list(range(8)) and [float(row["loss"]) for row in rows] == wanted


def test_a_half_written_last_line_is_dropped_and_damage_elsewhere_told(tmp_path):
    path = tmp_path / "tracked.jsonl"
    path.write_text('{"step": 0, "loss": 1.0}\n{"step": 1, "lo')
    with trackers.open(tmp_path, start=2) as tracker:
        tracker.log(2, {"loss": 3.0})
    assert steps(logged(tmp_path)) == [0, 2]
    path.write_text('{"step": 0, "lo\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        trackers.open(tmp_path, start=2)


def test_a_missing_package_is_told_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(stores.PACKAGES, "wandb", ("no_such_package",))
    message = r"^wandb needs no_such_package, which is not installed; pip install 'lehr\[wandb\]'$"
    with pytest.raises(ModuleNotFoundError, match=message):
        trackers.open(tmp_path / "run", wandb=True)
    assert not (tmp_path / "run").exists()
    trackers.check_installed({"wandb": False, "csv": True})


class Broken:
    """A service that goes down; it is written as anybody would write a store of their own."""

    where = id = "broken"

    def __init__(self, run, choice, id, before):
        if choice == "at once":
            raise OSError("no\nroute")

    def log(self, row):
        if row["step"] == 2:
            raise OSError("it is down")

    def close(self):
        pass


def test_a_service_that_fails_on_the_way_is_left_out_and_told(tmp_path, monkeypatch):
    monkeypatch.setitem(stores.STORES, "wandb", Broken)  # no network here to lose
    monkeypatch.setitem(stores.PACKAGES, "wandb", ())
    said = []
    with trackers.open(tmp_path, csv=True, wandb=True, warn=said.append) as tracker:
        for step in range(5):
            tracker.log(step, {"loss": 1.0})
        assert list(tracker.where) == ["csv"]
    assert (
        len(said) == 1 and "the tracker wandb failed and is left out from here on" in said[0] and "is down" in said[0]
    )
    assert steps(table(tmp_path / "metrics.csv")) == [0, 1, 2, 3, 4]
    state = json.loads((tmp_path / "trackers.json").read_text())
    assert state["csv"]["rows"] == 5 and state["wandb"]["rows"] is None, "the next session fills it anew"
    with pytest.raises(ValueError, match=r"^the tracker wandb does not start: no route$"):
        trackers.open(tmp_path, start=5, wandb="at once")


def test_planned_and_used_differ_where_something_else_set_the_group():
    parts = [{"params": [torch.nn.Parameter(torch.ones(1))], "name": name} for name in ("body", "head")]
    optimizer = torch.optim.AdamW(parts, lr=0.1, weight_decay=0.5)
    whole = lehr.cosine(total=10, warmup=2)
    scheduler = Scheduler(optimizer, {"head": 0.5 * whole, "*": whole}, weight_decay=whole)
    optimizer.param_groups[1]["lr"] = 7.0
    values = trackers.rates(scheduler)
    assert values["lr/body"] == values["lr_planned/body"] == values["lr_planned"] == 0.05
    assert values["lr/head"] == 7.0 and values["lr_planned/head"] == 0.025
    assert values["weight_decay/head"] == 0.25 and values["phase/head"] == values["phase"] == "warmup"
    alone = Scheduler(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1), whole)
    alone.step(skipped=True)
    assert trackers.rates(alone) == {"phase": "warmup", "lr": 0.1, "lr_planned": 0.1, "skipped": 1}


# lehr train -----------------------------------------------------------------------------------------------------------


def test_track_is_off_on_or_a_name():
    config = configs.assign(configs.Config(), "track.csv=true", "track.wandb=mine", "track.mlflow=false")
    assert config.track == configs.Track(csv=True, wandb="mine")
    assert configs.from_dict({"track": {"wandb": ""}}).track.wandb is False
    assert configs.Config().track == configs.Track(False, False, False, False, False), "never because it is installed"
    with pytest.raises(ValueError, match=r"track.wandb is true, false, or a name, not 3"):
        configs.from_dict({"track": {"wandb": 3}})
    with pytest.raises(ValueError, match=r"unknown key track.tensorbord; did you mean 'tensorboard'"):
        configs.assign(configs.Config(), "track.tensorbord=true")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"{i}. Tiger Tiger, burning bright,\n" for i in range(2000)))
    return path


STEPS = 400


def train(text, out, *words):
    command = [sys.executable, "-m", "lehr", "train", "--preset", "debug", "--data", text, "--out", out]
    command += ["--steps", STEPS, "--set", "train.checkpoint_every=20", "--set", "train.eval_every=20", *words]
    return list(map(str, command)), {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*args):
    command, env = train(*args)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def killed(text, tmp_path_factory):
    """The folder of a tracked run that was killed, with rows behind its last checkpoint."""
    out = tmp_path_factory.mktemp("killed") / "run"
    command, env = train(text, out, "--set", "track.csv=true")
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = out / "metrics.jsonl"

    def far_enough():  # a checkpoint to go on from, however long its writing took, and rows behind it
        saved = any((out / "checkpoints").glob("step-*"))
        return saved and log.read_bytes().count(b"\n") >= 30

    while process.poll() is None and not far_enough():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it was killed"
    return out


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def check_csv(folder, last):
    rows = table(folder / "metrics.csv")
    wanted = rows_of(folder)
    assert len(rows) == len(wanted)
    for row, log in zip(rows, wanted, strict=True):
        assert int(row["step"]) == log["step"]
        for key in ("lr", "loss", "grad_norm", "val_loss"):
            assert (float(row[key]) if row[key] else None) == log.get(key)
        if "loss" in log:
            assert row["lr"] == row["lr/decay"] == row["lr/no_decay"] == row["lr_planned"] and row["phase"]
    assert [int(row["step"]) for row in rows if row["loss"]] == list(range(last))


def test_lehr_train_is_tracked_and_goes_on_after_a_kill_without_holes_or_duplicates(text, killed, tmp_path):
    out = shutil.copytree(killed, tmp_path / "run")
    done = run(text, out, "--resume")  # the run's own settings track it
    assert done.returncode == 0, done.stderr
    assert f"track    csv: {out / 'metrics.csv'}" in done.stdout
    check_csv(out, STEPS)


def test_a_tracker_switched_on_later_gets_what_was_before(text, killed, tmp_path):
    out = shutil.copytree(killed, tmp_path / "run")
    (out / "metrics.csv").unlink()
    (out / "trackers.json").unlink()
    facts = json.loads((out / "config.json").read_text())
    del facts["track"]  # as an older run's
    (out / "config.json").write_text(json.dumps(facts))
    done = run(text, out, "--resume", "--set", "track.csv=true")
    assert done.returncode == 0, done.stderr
    check_csv(out, STEPS)


def test_a_missing_tracker_is_one_line_before_anything_is_trained(text, tmp_path):
    code = "import sys; from lehr.integrations import stores; stores.PACKAGES['wandb'] = ('no_such_package',);"
    code += "from lehr.cli import main; sys.exit(main(sys.argv[1:]))"
    command, env = train(text, tmp_path / "run", "--set", "track.wandb=true")
    command[1:3] = ["-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2 and done.stdout == "" and not (tmp_path / "run").exists()
    assert done.stderr == (
        "lehr: track.wandb needs no_such_package, which is not installed; pip install 'lehr[wandb]'\n"
    )


def test_a_log_that_is_cut_back_within_the_process_takes_the_trackers_with_it(text, tmp_path):
    from lehr.train import setup, tracking
    from lehr.train.metrics import Log
    from lehr.train.report import Report

    settings = configs.preset("debug", configs.from_dict({"data": {"path": [str(text)]}, "track": {"csv": True}}))
    parts, report = setup.build(settings), Report(tmp_path / "log.txt", 50)

    def update(log, step):
        lr = parts.config.optimizer.lr * parts.schedule(step)
        for group in parts.optimizer.param_groups:
            group["lr"] = lr
        log.write({"step": step, "lr": lr, "phase": "warmup", "loss": 1.0, "grad_norm": 2.0})

    log = Log(tmp_path / "metrics.jsonl", 0)
    with tracking.follow(log, parts, tmp_path, report):
        for step in range(8):
            update(log, step)
        del log.rows[5:]  # what a roll-back does
        for step in range(5, 10):
            update(log, step)
    log.close()
    report.close()
    assert steps(table(tmp_path / "metrics.csv")) == list(range(10))
