"""Schedules and runs drawn: PNG and other files by matplotlib, and curves in the terminal by plotille."""

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from lehr.schedule import Schedule

PHASE_COLORS = {
    "warmup": "#f2b134",
    "stable": "#9fb8ad",
    "cooldown": "#4c8dae",
    "decay": "#4c8dae",
    "rewarm": "#d95d39",
    "done": "#cccccc",
}
POINTS = 1000  # along a curve: more than a picture has pixels across its axes


class KeyPoint(NamedTuple):
    """A step worth reading off a schedule."""

    name: str
    step: int
    value: float
    phase: str


def key_points(schedule: Schedule, total: int | None = None) -> list[KeyPoint]:
    """The first update, the last of the warmup, half way, and the last of `total` updates (the schedule's own).

    >>> import lehr
    >>> for point in key_points(lehr.cosine(total=100, warmup=10, final=0)):
    ...     print(f"{point.name:15}{point.step:4}  {point.value:.3f}  {point.phase}")
    first update      0  0.100  warmup
    end of warmup     9  1.000  warmup
    half way         50  0.570  decay
    last update      99  0.000  decay
    """
    total = int(total or schedule.total) or 1
    named = [("first update", 0), ("half way", total // 2), ("last update", total - 1)]
    if 0 < (warmup := warmup_end(schedule)) <= total:
        # sampled at the start of an update's span, the first update after the warmup is the one at the peak
        named.insert(1, ("end of warmup", warmup - 1 if schedule.sample == "end" else min(warmup, total - 1)))
    return [KeyPoint(name, step, schedule(step), schedule.phase(step)) for name, step in named]


def warmup_end(schedule: Schedule) -> int:
    """The number of updates in the warmup, 0 if there is none."""
    steps = [int(joint) for joint in schedule.joints if joint >= 1 and schedule.phase(int(joint) - 1) == "warmup"]
    return max(steps, default=0)


def sample_steps(total: int) -> list[int]:
    """At most about a thousand whole steps from 0 to the last update."""
    count = min(total, POINTS)
    return [round(i * (total - 1) / max(count - 1, 1)) for i in range(count)]


# ---------------------------------------------------------------------------------------------------------------------
# in the terminal


def terminal(schedules: Mapping[str, Schedule], total: int | None = None, columns: int = 50, lines: int = 10) -> str:
    """Return the curves as text: LR over steps, in `columns` (and about 14 more for the axis) by `lines`."""
    import plotille

    total = int(total or max(schedule.total for schedule in schedules.values())) or 1
    with _numpy_left_out():
        figure = plotille.Figure()
    figure.width, figure.height = columns, lines + 1  # plotille labels a line by its lower edge: one more, for the peak
    figure.color_mode = "names"
    figure.with_colors = False
    figure.origin = False
    figure.x_label, figure.y_label = "step", "lr"
    figure.register_label_formatter(float, _tick)
    figure.register_label_formatter(int, _tick)
    top = max(schedule.peak for schedule in schedules.values()) or 1.0
    figure.set_x_limits(min_=0, max_=total)
    figure.set_y_limits(min_=0, max_=top * (lines + 1) / lines)
    steps = sample_steps(total)
    for label, schedule in schedules.items():
        figure.plot(steps, [schedule(step) for step in steps], label=label)
    return str(figure.show(legend=len(schedules) > 1))


@contextmanager
def _numpy_left_out() -> Iterator[None]:
    """plotille loads NumPy where there is one, to format its numbers, and there are none here: half of the time that
    `lehr show` took. Where it is loaded already nothing changes.
    """
    if "numpy" in sys.modules:
        yield
        return
    sys.modules["numpy"] = None  # type: ignore[assignment]  # what import takes for "there is none"
    try:
        yield
    finally:
        del sys.modules["numpy"]


def in_letters(schedules: Mapping[str, Schedule], total: int | None = None, columns: int = 64, lines: int = 12) -> str:
    """Return curves as text, each drawn with its own letter, and `=` where they lie on each other.

    >>> import lehr
    >>> print(in_letters({"A": lehr.linear(20, 0, 0), "B": lehr.constant(20)}, columns=20, lines=4))
             1 |====BBBBBBBBBBBBBBBB
               |    AAAAAA
               |          AAAAAA
             0 |                AAAA
                0           step  19
    """
    total = int(total or max(schedule.total for schedule in schedules.values())) or 1
    top = max(schedule.peak for schedule in schedules.values()) or 1.0
    canvas = [[" "] * columns for _ in range(lines)]
    for column in range(columns):
        step = round(column * (total - 1) / (columns - 1))
        for letter, schedule in schedules.items():
            line = canvas[round((1 - schedule(step) / top) * (lines - 1))]
            line[column] = letter if line[column] == " " else "="
    ticks = {0: f"{top:.4g}", (lines - 1) / 2: f"{top / 2:.4g}", lines - 1: "0"}
    rows = [f"{ticks.get(index, ''):>10} |{''.join(line).rstrip()}" for index, line in enumerate(canvas)]
    last = f"{total - 1:,}"
    return "\n".join([*rows, f"{'':12}0{'step  ' + last:>{columns - 1}}"])


def _tick(value: float, chars: int, delta: float, left: bool = False) -> str:
    text = f"{value:.0f}" if delta >= 10 else f"{value:.3g}"
    if len(text) >= chars:  # it would push the ones beside it away
        text = f"{value:.3g}"
    return text.ljust(chars) if left else text.rjust(chars)


# ---------------------------------------------------------------------------------------------------------------------
# in a file


def save_schedules(
    schedules: Mapping[str, Schedule], out: Path, total: int | None = None, log: bool = False, title: str = ""
) -> None:
    """Draw schedules over each other into `out` (its ending names the format); the end of a warmup is a dashed line.

    `total`: how many updates to draw, by default the longest schedule's; `log`: a logarithmic LR axis.
    Raises ModuleNotFoundError saying what to install where matplotlib is missing.
    """
    total = int(total or max(schedule.total for schedule in schedules.values())) or 1
    figure, axes = _figure(1)
    steps = sample_steps(total)
    for label, schedule in schedules.items():
        values = [schedule(step) for step in steps]
        (line,) = axes[0].plot(steps, values, label=label, linewidth=1.8)
        if 0 < (warmup := warmup_end(schedule)) < total:
            axes[0].axvline(warmup, color=line.get_color(), linestyle="--", linewidth=1, alpha=0.6)
    axes[0].set(xlabel="step", ylabel="learning rate", title=title)
    axes[0].set_yscale("log" if log else "linear")
    if not log:
        axes[0].set_ylim(bottom=0)
    columns = max(1, min(4, 110 // (max(map(len, schedules)) + 8)))
    figure.legend(loc="outside lower center", fontsize="small", ncols=columns)  # below, where it hides no curve
    _save(figure, out)


def save_run(
    rows: Sequence[Mapping[str, Any]], schedule: Schedule, out: Path, title: str = "", log: bool = False
) -> None:
    """Draw a run's log: the LR over its schedule's phases, and below it training and validation loss.

    `rows` are those of `metrics.jsonl`; `schedule` gives the LR of each step; `log`: a logarithmic LR axis.
    """
    updates = [row for row in rows if "loss" in row]
    evaluations = [row for row in rows if "val_loss" in row]
    figure, (upper, lower) = _figure(2)
    if updates:
        steps = [row["step"] for row in updates]
        dot = "o" if len(updates) == 1 else None  # a line of one point cannot be seen
        upper.plot(steps, [row["lr"] for row in updates], color="black", linewidth=1.8, marker=dot)
        losses = [math.nan if row["loss"] is None else row["loss"] for row in updates]  # skipped: a gap in the line
        lower.plot(steps, losses, color="#4c8dae", linewidth=0.9, marker=dot, label="training")
        last = steps[-1] + 1
        warmup = warmup_end(schedule)
        for axes in (upper, lower):
            _shade_phases(axes, schedule, last, named=axes is upper)
            if 0 < warmup < last:
                axes.axvline(warmup, color="black", linestyle="--", linewidth=1)
        if 0 < warmup < last:
            foot = upper.get_xaxis_transform()  # the axes' lower edge, at whatever LR it stands
            upper.annotate(
                f"end of warmup: {warmup}", (warmup, 0), xycoords=foot, xytext=(6, 6), textcoords="offset points"
            )
    if evaluations:
        steps = [row["step"] for row in evaluations]
        losses = [row["val_loss"] for row in evaluations]
        lower.plot(steps, losses, color="#d95d39", marker="o", markersize=4, linewidth=1.4, label="validation")
    upper.set(ylabel="learning rate", title=title)
    upper.set_yscale("log" if log else "linear")
    if not log:
        upper.set_ylim(bottom=0)
    lower.set(xlabel="step", ylabel="loss (nats per token)")
    handles, labels = upper.get_legend_handles_labels()
    if handles:
        upper.legend(handles, labels, loc="upper right", fontsize="small")
    if updates or evaluations:
        lower.legend(loc="upper right", fontsize="small")
    _save(figure, out)


class Curves(NamedTuple):
    """A run to be drawn: the rows of its `metrics.jsonl`, and its schedule in absolute learning rates."""

    label: str
    rows: Sequence[Mapping[str, Any]]
    planned: Schedule
    steps: int
    tokens_per_step: int

    def along(self, row: Mapping[str, Any], by: str) -> float:
        """Where a row stands: in steps, tokens or seconds."""
        if by != "step":
            completed = row["step"] + ("loss" in row)  # an evaluation is named by completed updates
            return float(row["time"] if by == "time" else completed * self.tokens_per_step)
        return float(row["step"])


AXES = {"step": "step", "tokens": "tokens", "time": "seconds since the process began"}


def save_runs(curves: Sequence[Curves], out: Path, by: str = "step", log: bool = False) -> None:
    """Draw runs over each other, a colour each: above the LR that was used, and the planned as dashes; below the loss.

    `by`: step, tokens or time; by time the planned LR stands only where something was logged. The training loss is the
    thin line, the validation loss the one with dots. `log`: a logarithmic LR axis.
    """
    figure, (upper, lower) = _figure(2)
    for run in curves:
        updates = [row for row in run.rows if "loss" in row]
        evaluations = [row for row in run.rows if "val_loss" in row]
        x = [run.along(row, by) for row in updates]
        dot = "o" if len(x) == 1 else None  # a line of one point cannot be seen
        (line,) = upper.plot(x, [row["lr"] for row in updates], linewidth=1.8, marker=dot, label=run.label)
        color = line.get_color()
        if by == "time":
            planned, lrs = x, [run.planned(row["step"]) for row in updates]
        else:
            steps = sample_steps(run.steps)
            planned = [run.along({"step": step, "loss": None}, by) for step in steps]
            lrs = [run.planned(step) for step in steps]
        upper.plot(planned, lrs, color="black", linewidth=0.9, linestyle=(0, (4, 4)))  # on top: seen where they agree
        losses = [float("nan") if row["loss"] is None else row["loss"] for row in updates]
        lower.plot(x, losses, color=color, linewidth=0.8, alpha=0.35, marker=dot)
        x = [run.along(row, by) for row in evaluations]
        lower.plot(x, [row["val_loss"] for row in evaluations], color=color, linewidth=1.5, marker="o", markersize=3)
    upper.set(ylabel="learning rate (dashes: planned)")
    upper.set_yscale("log" if log else "linear")
    if not log:
        upper.set_ylim(bottom=0)
    lower.set(xlabel=AXES[by], ylabel="loss (thin: training, dots: validation)")
    columns = max(1, min(4, 110 // (max(len(run.label) for run in curves) + 8)))
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", fontsize="small", ncols=columns)
    _save(figure, out)


def _shade_phases(axes: Any, schedule: Schedule, last: int, named: bool) -> None:
    """Colour the background by phase; `named` puts each phase into the legend once."""
    joints = [0, *(min(joint, last) for joint in schedule.joints if joint > 0), last]
    seen: set[str] = set()
    for begin, end in pairwise(joints):
        if end > begin:
            phase = schedule.phase(begin)
            label = phase if named and phase not in seen else None
            axes.axvspan(begin, end, color=PHASE_COLORS[phase], alpha=0.18, linewidth=0, label=label)
            seen.add(phase)


def _figure(rows: int) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pictures are drawn by matplotlib; write pip install 'lehr[plot]'") from None
    # not through pyplot, which would keep the figure alive and set the backend of the caller's notebook
    figure = Figure(figsize=(9, 3.2 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    for axis in axes[:, 0]:
        axis.grid(alpha=0.3)
    return figure, axes[:, 0]


def _save(figure: Any, out: Path) -> None:
    kind = out.suffix.lower().removeprefix(".")
    if kind not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{str(out)!r} does not name a kind of picture; write a name that ends in .png, .svg or .pdf")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {out.parent}")
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")  # a run sweeps away what is named so
    try:
        figure.savefig(beside, dpi=120, format=kind)
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)
