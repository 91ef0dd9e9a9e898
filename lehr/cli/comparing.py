"""The commands that hold a schedule against something: diff, extend."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lehr.cli.options import Commands, Parser, add_clock, clock, count, number

if TYPE_CHECKING:
    from lehr.schedule import Schedule


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    return {"diff": _add_diff(commands), "extend": _add_extend(commands)}


def _add_diff(commands: Commands) -> Parser:
    command = commands.add_parser(
        "diff",
        help="where two schedules differ, and by how much",
        allow_abbrev=False,
        epilog="Exits with 1 if they do.",
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
    from lehr.compare import diff

    read = [_schedule(word, options) for word in (options.a, options.b)]
    texts = [schedule for schedule, _ in read]
    # beside a run a text is taken at that run's peak
    default = next((lr for _, lr in read if lr is not None), 1.0)
    peaks = [default if lr is None else lr for _, lr in read]
    a, b = (peak * schedule for peak, schedule in zip(peaks, texts, strict=True))
    found = diff(a, b, options.tolerance)
    if options.out is not None:
        plot.save_schedules({f"A: {texts[0]}": a, f"B: {texts[1]}": b}, options.out, options.total)
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
        print(plot.in_letters({"A": a, "B": b}, options.total))
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


def _schedule(word: str, options: argparse.Namespace) -> "tuple[Schedule, float | None]":
    """A schedule text, or that of a run's folder with its peak LR."""
    from lehr.spec import parse

    if Path(word).is_dir():
        from lehr.train.config import read

        facts = read(Path(word))
        lr = float(facts["optimizer"]["lr"]) if options.lr is None else options.lr
        return parse(facts["schedule"]["lr"]), lr
    return parse(word, clock(options)), options.lr


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

    schedule, lr = _schedule(options.spec, options)
    peak, at = 1.0 if lr is None else lr, options.at
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
            "jump": peak * way(at) / before - 1 if before else None,
            "update_sum": peak * way.update_sum(),
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
        f"{'':12}{'LR at ' + format(at - 1, ','):>18}{'LR at ' + format(at, ','):>18}{'jump':>10}{'sum of updates':>18}"
    )
    for name, fact in facts.items():
        jump = "from 0" if fact["jump"] is None else f"{100 * fact['jump']:+.3g} %"
        print(f"{name:12}{fact['before']:>18.4g}{fact['after']:>18.4g}{jump:>10}{fact['update_sum']:>18,.4g}")
    if options.out is not None:
        print(options.out)
