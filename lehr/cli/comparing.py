"""The commands that hold a schedule against something: diff, extend, identify."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lehr.cli.options import Commands, Parser, add_clock, count, number

if TYPE_CHECKING:
    from lehr.schedule import Schedule


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    return {"diff": _add_diff(commands), "extend": _add_extend(commands), "identify": _add_identify(commands)}


def _add_diff(commands: Commands) -> Parser:
    command = commands.add_parser(
        "diff",
        help="where two schedules differ, and by how much",
        allow_abbrev=False,
        epilog="Exits with 1 if they differ.",
    )
    command.add_argument("a", metavar="A", help="a schedule text, or a run's folder")
    command.add_argument("b", metavar="B", help="another")
    command.add_argument("--lr", type=number, help="the peak learning rate (default 1, or the run's)")
    command.add_argument(
        "--tolerance",
        type=number,
        default=1e-12,
        metavar="SHARE",
        help="of the peak: what is no further apart counts as equal (default 1e-12)",
    )
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    command.add_argument("--out", type=Path, metavar="PNG", help="draw both into this file too")
    add_clock(command)
    command.set_defaults(run=_diff)
    return command


def _diff(options: argparse.Namespace) -> int:
    from lehr import plot
    from lehr.cli.subject import is_run, subject
    from lehr.compare import diff

    words = (options.a, options.b)
    # beside a run a text is taken at that run's length and peak
    run = next((subject(word, options) for word in words if is_run(word)), None)
    known = (run.total, run.lr) if run else (None, None)
    read = [subject(word, options, *known) for word in words]
    texts = [it.schedule for it in read]
    peaks = [1.0 if it.lr is None else it.lr for it in read]
    total = max((it.total for it in read if it.total is not None), default=None)
    a, b = (peak * schedule for peak, schedule in zip(peaks, texts, strict=True))
    found = diff(a, b, options.tolerance)
    if options.out is not None:
        plot.save_schedules({f"A: {texts[0]}": a, f"B: {texts[1]}": b}, options.out, total)
    if options.json:
        head = {"a": str(texts[0]), "b": str(texts[1]), "lr": peaks, "differ": bool(found)}
        print(json.dumps({**head, **asdict(found)}, indent=2))
        return int(bool(found))
    for letter, peak, schedule in zip("AB", peaks, texts, strict=True):
        print(_filled(f"{letter}  {schedule}" + (f"  [times {peak:g}]" if peak != 1 else ""), 3))
    if not found:
        print("\nequal at every update" + ("" if texts[0] == texts[1] else ", though written differently"))
    else:
        print()
        print(plot.in_letters({"A": a, "B": b}, total))
        print()
        _print_difference(a, b, found)
        if a.ramps == b.ramps:
            early, late = ("A", "B") if a.sample == "end" else ("B", "A")
            print(f"\nThe same ramps, sampled differently: {late} uses what {early} used one update before.")
    if options.out is not None:
        print(options.out)
    return int(bool(found))


def _print_difference(a: "Schedule", b: "Schedule", found: Any) -> None:
    print(f"{'':17}{'update':>13}{'A':>13}{'B':>13}{'B - A':>12}")

    def row(name: str, at: str, x: float, y: float) -> None:
        change = f"{100 * (y / x - 1):+.3g} %" if x else "from 0" if y else ""
        print(f"{name:17}{at:>13}{x:>13.7g}{y:>13.7g}{y - x:>+12.3g}{change:>12}")

    named = {"first difference": found.first, "greatest": found.absolute_at, "greatest in %": found.relative_at}
    for name, step in named.items():
        if step is not None:
            row(name, f"{step:,}", a(step), b(step))
    row("area", "", *found.areas)
    row("sum of updates", "", *found.update_sums)
    if a.total != b.total:
        print(f"{'ends at':17}{'':13}{a.total:>13,}{b.total:>13,}{b.total - a.total:>+12,}")


def _filled(text: str, indent: int) -> str:
    """The text in lines of 80, those after the first indented."""
    import textwrap

    return textwrap.fill(text, 80, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


# ---------------------------------------------------------------------------------------------------------------------


def _add_extend(commands: Commands) -> Parser:
    command = commands.add_parser(
        "extend",
        help="another horizon for a run under way: extend and rescale, and the jump each causes",
        allow_abbrev=False,
    )
    command.add_argument("spec", metavar="SPEC", help="the schedule's text, or the run's folder")
    command.add_argument("--at", type=count, required=True, metavar="STEP", help="the updates done so far")
    command.add_argument("--to", type=count, required=True, metavar="N", help="the new total, such as 20k")
    command.add_argument("--lr", type=number, help="the peak learning rate (default 1, or the run's)")
    command.add_argument("--json", action="store_true", help="print the same as JSON")
    command.add_argument("--out", type=Path, metavar="PNG", help="draw all three into this file too")
    add_clock(command)
    command.set_defaults(run=_extend)
    return command


def _extend(options: argparse.Namespace) -> None:
    from lehr import plot
    from lehr.cli.subject import subject

    it = subject(options.spec, options)
    schedule, peak, at = it.schedule, 1.0 if it.lr is None else it.lr, options.at
    if it.run and at > (it.total or 0):
        raise ValueError(f"--at {at} lies after the {it.total:,} updates of {it.run}")
    if at >= options.to:
        raise ValueError(f"--to {options.to} is the new total and lies after --at {at}; the run is past it")
    ways: dict[str, Schedule] = {"as planned": schedule}
    changes: dict[str, Callable[[], Schedule]] = {
        "extend": lambda: schedule.extend(options.to, at),
        "rescale": lambda: schedule.rescale(options.to),
    }
    refused = {}
    for name, change in changes.items():
        try:
            ways[name] = change()
        except ValueError as error:
            refused[name] = str(error)
    if len(refused) == 2:
        raise ValueError(refused["extend"])
    before = peak * schedule(at - 1)
    facts = {
        name: {
            "text": str(way),
            "total": way.total,
            "before": before,
            "after": peak * way(at),
            "jump": peak * way(at) / before - 1 if before else None if way(at) else 0.0,
            "update_sum": peak * way.update_sum(0, it.total if name == "as planned" else options.to),
        }
        for name, way in ways.items()
    }
    if options.out is not None:
        plot.save_schedules({f"{name}: {way}": peak * way for name, way in ways.items()}, options.out)
    if options.json:
        print(json.dumps({"at": at, **facts, **{name: {"refused": text} for name, text in refused.items()}}, indent=2))
        return
    for name in ("as planned", "extend", "rescale"):
        print(_filled(f"{name:12}{ways.get(name, refused.get(name))}", 12))
    print()
    print(
        f"{'':12}{'LR at ' + format(at - 1, ','):>17}{'LR at ' + format(at, ','):>17}{'jump':>12}{'sum of updates':>20}"
    )
    for name, fact in facts.items():
        jump = "from 0" if fact["jump"] is None else f"{100 * fact['jump']:+.2f} %"
        added = fact["update_sum"]
        added = f"{added:,.0f}" if added >= 1000 else f"{added:.4g}"
        print(f"{name:12}{fact['before']:>17.4g}{fact['after']:>17.4g}{jump:>12}{added:>20}")
    if options.out is not None:
        print(options.out)


# ---------------------------------------------------------------------------------------------------------------------


def _add_identify(commands: Commands) -> Parser:
    command = commands.add_parser(
        "identify",
        help="the schedule behind a logged learning rate",
        allow_abbrev=False,
        epilog="Exits with 1 if no schedule fits.",
    )
    command.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="a JSONL or CSV log, a trainer_state.json (- for standard input), or a run's folder",
    )
    command.add_argument("--column", metavar="NAME", help="of the learning rates (default lr, or the only one like it)")
    command.add_argument("--step-column", metavar="NAME", help="of the steps (default step, or the only one like it)")
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    command.set_defaults(run=_identify)
    return command


def _identify(options: argparse.Namespace) -> int:
    from lehr.cli.logs import read_log
    from lehr.fit import identify

    steps, lrs = read_log(options.file, options.step_column, options.column)
    found = identify(steps, lrs)
    if options.json:
        facts = {name: getattr(found, name) for name in (*found.__slots__, "error_share")}
        facts = {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in facts.items()}
        facts["schedule"] = None if found.schedule is None else str(found.schedule)
        print(json.dumps({"fits": bool(found), **facts}, indent=2, allow_nan=False))
        return 0 if found else 1
    if not found:
        best = f"no schedule fits {options.file}: the best one is left at step {found.departs_at:,}"
        print(_filled(f"{options.file} cannot tell: {found.note}" if found.note else best, 3))
        print()
    print(_filled(found.text, 3))
    print()
    unseen = bool(found) and found.note is not None
    rows = [
        ("peak", f"{found.peak:.12g}"),
        ("family", found.family),
        ("warmup", f"{found.warmup:,} updates" if found.warmup else "not in the log" if unseen else "none"),
        ("total", f"{found.total:,} updates"),
        ("floor", f"{found.floor:.6g} of the peak"),
        ("convention", found.convention),
        ("log", f"{len(set(steps)):,} points, steps {min(steps):,} to {max(steps):,}"),
    ]
    if found:
        share = found.error_share
        rows.append(("error", f"at most {share:.1e} of the peak (step {found.error_at:,})" if share else "none"))
    if found.from_zero:
        text = f"the log seems to count from 1; with the first update at step 0 it is {found.from_zero}"
        rows.append(("count", text))
    if found.departures:
        rows.append(("departures", f"a curve is left before its end at {_steps(found.departures)}"))
    if found.overlaps:
        again = f"the log goes back to {_steps(found.overlaps)} with other values"
        rows.append(("overlap", f"{again}: the later rows count"))
    if unseen:
        rows.append(("beginning", str(found.note)))
    for name, text in rows:
        print(_filled(f"{name:12}{text}", 12))
    return 0 if found else 1


def _steps(steps: tuple[int, ...]) -> str:
    """`step 500`, or `steps 500 and 1,200`."""
    *others, last = (f"{step:,}" for step in steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"
