"""The run's log: each step once and in order, whatever interrupted it."""

import json

import pytest

from lehr.train.metrics import Log, read_rows


def update(step):
    return {"step": step, "loss": 1.0, "time": float(step)}


def write(path, rows, tail=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)


def test_a_new_log_starts_empty_and_times_its_rows(tmp_path):
    log = Log(tmp_path / "metrics.jsonl", 0)
    log.write({"step": 0, "loss": 1.0})
    log.write({"step": 1, "loss": 1.0})
    rows = read_rows(tmp_path / "metrics.jsonl")  # before it is closed: every row is flushed
    log.close()
    assert [row["step"] for row in rows] == [0, 1] and 0 < rows[0]["time"] <= rows[1]["time"]


def test_a_log_is_cut_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [update(0), update(1), {"step": 2, "val_loss": 2.0, "time": 2.0}, update(2), update(3)])
    log = Log(path, 2)
    assert [(row["step"], "val_loss" in row) for row in log.rows] == [(0, False), (1, False), (2, True)]
    assert log.evaluated(2) and not log.evaluated(1)
    log.write(update(2))
    log.close()
    assert read_rows(path) == log.rows
    assert log.rows[-1]["time"] > 2.0  # cumulative over resumes


def test_a_half_written_last_line_is_mended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [update(0), update(1)], tail='{"step": 2, "lo')
    assert len(read_rows(path)) == 2
    log = Log(path, 2)
    log.write(update(2))
    log.close()
    assert [row["step"] for row in read_rows(path)] == [0, 1, 2]


def test_damage_in_the_middle_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\nrubbish\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 2 is no row of a log"):
        read_rows(path)
