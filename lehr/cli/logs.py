"""Logs as trainers write them, read for `lehr identify`: two columns of JSONL, CSV or a trainer_state.json."""

import json
import sys
from pathlib import Path
from typing import Any

from lehr.words import nearest

# names under which trainers log the two columns, in lower case and without what stands before a slash
RATES = ("lr", "learning_rate", "learning rate", "learningrate")
STEPS = ("step", "_step", "global_step", "iter", "iteration", "steps", "update")
ABSENT = ("", "nan", "none", "null", "na", "n/a")


def read_log(path: Path, step: str | None, column: str | None) -> tuple[list[int], list[float]]:
    """Two columns of a JSONL, CSV or trainer_state.json file; rows that lack one of them are skipped."""
    if path.is_dir():
        path = path / "metrics.jsonl"
    try:
        text = (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; give a JSONL or CSV file") from None
    rows = _json_rows(path, text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text)
    names = list(dict.fromkeys(name for _, row in rows for name in row if isinstance(name, str)))
    column = _column(path, names, column, RATES, "--column")
    step = _column(path, names, step, STEPS, "--step-column")
    steps, lrs = [], []
    for number, row in rows:
        at, value = row.get(step), row.get(column)
        if any(x is None or str(x).strip().lower() in ABSENT for x in (at, value)):
            continue
        try:
            steps.append(int(str(at)) if isinstance(at, int) or str(at).strip().isdigit() else _whole(float(str(at))))
            lrs.append(float(str(value)))
        except (TypeError, ValueError):
            raise ValueError(f"{path}, line {number}: {step}={at!r}, {column}={value!r} are not two numbers") from None
    if not steps and rows:
        raise ValueError(f"{path}: no row has both {step} and {column}; write --column NAME or --step-column NAME")
    return steps, lrs


def _column(path: Path, names: list[str], asked: str | None, usual: tuple[str, ...], option: str) -> str:
    """The column asked for, or the only one with a usual name."""
    wanted = usual[0] if asked is None else asked
    if wanted in names:
        return wanted
    if asked is None:

        def plain(name: str) -> str:
            return name.lower().rpartition("/")[2]

        like = [name for name in names if plain(name) in usual or plain(name).startswith(f"{wanted}-")]
        if len(like) == 1:
            return like[0]
        if like:
            raise ValueError(f"{path} has the columns {', '.join(like[:20])}; write {option} with one of them")
    known = nearest(wanted, names) or f"; it has {', '.join(names[:20]) or 'none'}"
    raise ValueError(f"{path} has no column {wanted!r}{known}; write {option} NAME")


def _csv_rows(text: str) -> list[tuple[int, dict[str, Any]]]:
    import csv

    tab = "\t" in text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter="\t" if tab else ",", skipinitialspace=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    return [(reader.line_num, row) for row in reader]


def _json_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    """Objects a line each; a list of them; or the `log_history` of Hugging Face's trainer_state.json."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None  # lines, then
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        whole = whole["log_history"]
    if isinstance(whole, dict):
        whole = [whole]
    if isinstance(whole, list) and all(isinstance(row, dict) for row in whole):
        return list(enumerate(whole, 1))
    rows: list[tuple[int, dict[str, Any]]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            if number == len(lines):
                break  # half written
            raise ValueError(f"{path}, line {number}: this is not JSON") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: an object with columns is expected, not {line[:40]!r}")
        rows.append((number, row))
    return rows


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError
    return int(value)
