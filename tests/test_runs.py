"""Runs listed and laid over each other: real runs, small ones, and what is left of some."""

import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest
from matplotlib import image

from lehr import plot
from lehr.cli import main
from lehr.nn import TransformerLM
from lehr.spec import parse
from lehr.train import lock
from lehr.train.runs import count_parameters, list_runs, summary

SMALL = (
    *("model.d_model=16", "model.num_heads=2", "model.num_layers=1", "model.d_ff=16", "model.context_length=16"),
    *("train.device=cpu", "train.eval_every=5", "train.eval_batches=1", "train.checkpoint_every=0"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs that are done, of 10 and 20 updates, and one that was only planned."""
    path = tmp_path_factory.mktemp("runs")
    (path / "text.txt").write_text("Tiger Tiger, burning bright\n" * 100)
    for name, *words in (("long", "--steps", 20), ("short", "--steps", 10), ("plan", "--steps", 9, "--dry-run")):
        batch = {"long": 4, "short": 8, "plan": 8}[name]
        sets = [word for setting in (*SMALL, f"train.batch_size={batch}") for word in ("--set", setting)]
        out = path / "runs" / name
        assert main(list(map(str, ["train", "--data", path / "text.txt", "--out", out, *words, *sets]))) == 0
        os.utime(out / "config.json", (1, 1)) if name == "plan" else None
    return path / "runs"


def test_runs_are_listed_with_what_they_are_and_have_reached(folder, capsys):
    found = {run.folder.name: run for run in list_runs(folder)}
    assert list(found) == ["plan", "long", "short"], "the newest last"
    long, plan = found["long"], found["plan"]
    assert (long.state, long.step, long.steps) == ("done", 20, 20)
    rows = [json.loads(line) for line in (folder / "long" / "metrics.jsonl").read_text().splitlines()]
    assert long.best == min(row["val_loss"] for row in rows if "val_loss" in row)
    assert long.schedule == "0.003 * (linear 1 to 1, cosine 19 to 0.1)"
    assert long.size == sum(path.stat().st_size for path in (folder / "long").rglob("*") if path.is_file())
    sizes = json.loads((folder / "long" / "config.json").read_text())["model"]
    assert long.parameters == count_parameters(sizes) == sum(p.numel() for p in TransformerLM(**sizes).parameters())
    assert (plan.state, plan.step, plan.steps, plan.best) == ("planned", 0, 9, None)
    assert list_runs(folder / "long") == [long], "a run's own folder"

    capsys.readouterr()
    assert main(["runs", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "20/20" in out and "planned" in out and f"{long.best:.3f}" in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["runs", str(folder), "--json"]) == 0
    assert [run["state"] for run in json.loads(capsys.readouterr().out)] == ["planned", "done", "done"]


def test_a_run_that_is_not_done_runs_while_a_process_holds_it(tmp_path, folder, monkeypatch):
    (tmp_path / "config.json").write_bytes((folder / "long" / "config.json").read_bytes())
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 0, "val_loss": 5.5, "time": 1}\n{"step": 0, "loss": 5.4, "time": 2}\n{"step": 1, "lo')
    with lock.held(tmp_path):
        assert (summary(tmp_path).state, summary(tmp_path).step) == ("running", 1)
    assert summary(tmp_path).state == "stopped"
    monkeypatch.setattr(lock, "fcntl", None)  # as on Windows: the log's age has to tell
    assert summary(tmp_path).state == "running"
    past = time.time() - 3600
    os.utime(log, (past, past))
    assert summary(tmp_path).state == "stopped"
    log.write_text('{"step": 0, "lo\n{"step": 1, "loss": 5.4}\n')
    assert summary(tmp_path).state == "damaged"
    log.unlink()
    (tmp_path / "config.json").write_text('{"model": {}}')
    assert summary(tmp_path).state == "damaged"


def test_there_may_be_no_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "no runs in runs; lehr train begins one\n"
    assert main(["runs", "none"]) == 2
    assert capsys.readouterr().err == "lehr: no such folder: none\n"


@pytest.mark.parametrize("by", ["step", "tokens", "time"])
def test_runs_are_laid_over_each_other(folder, tmp_path, capsys, by):
    out = tmp_path / "both.png"
    capsys.readouterr()
    assert main(["plot", str(folder / "long"), str(folder / "short"), "--by", by, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n" and image.imread(out).shape[1] > 800


def test_rows_stand_at_their_step_tokens_or_time(folder):
    rows = [json.loads(line) for line in (folder / "short" / "metrics.jsonl").read_text().splitlines()]
    run = plot.Curves("short", rows, parse("hold 10"), 10, tokens_per_step=8 * 16)
    for row in rows:
        assert run.along(row, "step") == row["step"] and run.along(row, "time") == row["time"]
        assert run.along(row, "tokens") == row.get("tokens", row["step"] * 8 * 16)


def test_used_and_planned_learning_rates_are_both_drawn(tmp_path):
    rows = [{"step": step, "lr": 1.0, "loss": None if step == 3 else 5.0, "time": step} for step in range(5)]
    rows.append({"step": 5, "val_loss": 4.0, "time": 6})
    drawn = {}
    save = plot._save
    try:  # the figure is looked at before it is closed
        plot._save = lambda figure, out: drawn.update(axes=figure.axes) or save(figure, out)
        plot.save_runs([plot.Curves("a", rows, 2 * parse("linear 10 to 1"), 10, 8)], tmp_path / "a.svg", "tokens")
    finally:
        plot._save = save
    used, planned = drawn["axes"][0].lines
    assert used.get_xdata().tolist() == [8, 16, 24, 32, 40] and set(used.get_ydata()) == {1.0}
    assert planned.get_xdata().tolist() == [8 * n for n in range(1, 11)]
    assert planned.get_ydata().tolist() == pytest.approx([0.2 * n for n in range(1, 11)])
    assert planned.get_linestyle() != used.get_linestyle()


def test_a_run_with_one_row_is_seen_beside_others(tmp_path):
    pictures = []
    for lr in (0.5, 0.7):  # apart from the plan: a row that is drawn makes a difference
        rows = [{"step": 3, "lr": lr, "loss": 5.0, "time": 1}]
        plot.save_runs([plot.Curves("a", rows, parse("linear 10 to 1"), 10, 8)], tmp_path / "a.png")
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_the_readmes_commands_about_runs_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name, run in (("first", "long"), ("second", "short")):
        shutil.copytree(folder / run, tmp_path / "runs" / name)
    settings = [word for setting in (*SMALL, "train.checkpoint_every=10") for word in ("--set", setting)]
    words = ["train", "--data", str(folder.parent / "text.txt"), "--steps", "10", *settings]
    assert main([*words, "--out", "runs/with-a-checkpoint"]) == 0
    (tmp_path / "runs/with-a-checkpoint/checkpoints").rename(tmp_path / "runs/first/checkpoints")
    (tmp_path / "stories.jsonl").write_text('{"text": "Tiger Tiger, burning bright"}\n')
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    commands = re.findall(r"^    lehr (.*?) +#", readme, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["tokenize", "sample", "export", "plot"]
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    assert {"tokens", "first-hf", "compared.png"} <= {path.name for path in tmp_path.iterdir()}


def test_runs_and_texts_are_not_mixed(folder, capsys):
    capsys.readouterr()
    for words, message in (
        ([str(folder / "long"), "hold 10"], "give one or the other"),
        (["hold 10", "--by", "time"], "--by is for runs"),
        ([str(folder), str(folder / "long")], "holds no run"),
    ):
        assert main(["plot", *words]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


def test_a_folder_of_another_program_is_no_run(tmp_path):
    for name, text in (("export", '{"model_type": "llama"}'), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    assert [(found.folder.name, found.state) for found in list_runs(tmp_path)] == [("broken", "damaged")]
