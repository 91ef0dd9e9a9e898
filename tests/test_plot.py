"""Pictures: drawn from real schedules and logs, and read back as pixels or text."""

import subprocess
import sys

import pytest
from matplotlib import image

import lehr
from lehr import plot


def test_key_points_name_the_updates_worth_reading():
    end = {p.name: (p.step, p.value, p.phase) for p in plot.key_points(lehr.cosine(1000, 100, 0.1))}
    assert end["first update"] == (0, 0.01, "warmup") and end["end of warmup"] == (99, 1.0, "warmup")
    assert end["last update"] == (999, 0.1, "decay") and end["half way"][0] == 500
    start = {p.name: (p.step, p.value) for p in plot.key_points(lehr.cosine(1000, 100, 0.1, sample="start"))}
    assert start["first update"] == (0, 0.0) and start["end of warmup"] == (100, 1.0)
    assert "end of warmup" not in {p.name for p in plot.key_points(lehr.cosine(1000))}


def test_warmup_end_counts_the_updates_of_the_warmup():
    assert plot.warmup_end(lehr.cosine(1000, 100)) == 100
    assert plot.warmup_end(lehr.cosine(1000)) == 0
    assert plot.warmup_end(lehr.parse("linear 10 to 1, hold 5, cosine 10 to 0, linear 5 to 1")) == 10


def test_the_terminal_curve_fits_80_columns_and_shows_the_peak():
    text = plot.terminal({"wsd": 6e-4 * lehr.wsd(10_000, 1000, 2000)})
    lines = text.split("\n")
    assert max(map(len, lines)) <= 80
    endless = plot.terminal({"cosine": lehr.parse("linear 1B to 1, cosine 999B to 0.1")}).split("\n")
    assert [len(line) for line in endless[1:-1]] == [len(line) for line in lines[1:-1]]
    assert endless[-1].split() == ["|", "0", "2e+11", "4e+11", "6e+11", "8e+11", "1e+12"]
    peak_line = next(line for line in lines if line.strip().startswith("0.0006 "))
    assert peak_line.count("⣀") > 20, "the stable phase stands on the line of its label"


def test_schedules_are_drawn_over_each_other(tmp_path):
    out = tmp_path / "curves.png"
    plot.save_schedules({"a": lehr.cosine(100, 10), "b": lehr.wsd(100, 10, 20)}, out, title="two")
    assert image.imread(out).shape[1] > 800
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    plot.save_schedules({"a": lehr.cosine(100, 10)}, tmp_path / "log.svg", log=True)
    assert "<svg" in (tmp_path / "log.svg").read_text()


def test_pyplot_and_its_backend_are_left_alone(tmp_path):
    code = """if True:
    import sys, pathlib, lehr, lehr.plot
    lehr.plot.save_schedules({"a": lehr.cosine(9)}, pathlib.Path(sys.argv[1]))
    print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_a_runs_log_is_drawn_with_its_phases(tmp_path):
    schedule = lehr.wsd(100, 10, 20)
    rows = [{"step": step, "lr": schedule(step), "loss": 5 - step / 50} for step in range(100)]
    rows += [{"step": 0, "val_loss": 5.0}, {"step": 100, "val_loss": 3.2}]
    plot.save_run(rows, schedule, tmp_path / "run.svg", "a run")
    # matplotlib writes text as paths by default; the shades of the three phases are there by their colours
    svg = (tmp_path / "run.svg").read_text()
    for phase in ("warmup", "stable", "cooldown"):
        assert plot.PHASE_COLORS[phase] in svg


def test_an_unfinished_run_and_an_empty_log_can_be_drawn(tmp_path):
    plot.save_run([], lehr.cosine(10), tmp_path / "empty.png")
    plot.save_run([{"step": 0, "lr": 0.1, "loss": 5.0}], lehr.cosine(10, 5), tmp_path / "one.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_type_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"curves\.xyz' does not name a kind of picture; write a name that ends in \.png"
    ):
        plot.save_schedules({"a": lehr.cosine(100)}, tmp_path / "curves.xyz")
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*none"):
        plot.save_schedules({"a": lehr.cosine(100)}, tmp_path / "none" / "curves.png")
    assert not list(tmp_path.iterdir())


def test_the_terminal_needs_no_numpy_and_leaves_it_as_it_is():
    code = """if True:
    import sys, lehr, lehr.plot
    drawn = lehr.plot.terminal({"a": lehr.cosine(9)})
    print("numpy" in sys.modules)
    import numpy
    print(numpy.arange(3).sum(), lehr.plot.terminal({"a": lehr.cosine(9)}) == drawn, sys.modules["numpy"] is numpy)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n3 True True\n", "")
