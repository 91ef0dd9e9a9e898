"""The commands about one schedule: show, plot, check, convert. With `--json` each prints one object:

* `show`: `schedule` (its text, in steps), `fingerprint`, `sample`, `total`, `peak`, `lr` (what the multipliers are
  multiplied by), `updates` (of the run), `points` (`name`, `step`, `lr`, `phase`) and `ramps`;
* `plot`: `out` (the picture) and `schedules`, for each its `schedule`, `fingerprint`, `sample`, `total` and `peak`;
* `check`: the same five, `updates`, `passed`, and `findings` (`code`, `severity`, `step`, `message`, `instead`);
* `convert`: the same five, `lr` (what `--normalized` divided by, else 1), `name`, `arguments` and `ramps`.

Where a run's folder was given, `run` names it.
"""

import argparse
import sys
import textwrap
from collections import Counter
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.cli.options import Commands, Parser, add_clock, count, number
from lehr.words import read_number

if TYPE_CHECKING:
    from lehr.lint import Finding


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    by_name = {"show": _add_show(commands), "plot": _add_plot(commands)}
    by_name |= {"check": _add_check(commands), "convert": _add_convert(commands)}
    return by_name


def _add_options(command: Parser) -> None:
    command.add_argument("--lr", type=number, help="the peak learning rate")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    add_clock(command)


def _add_show(commands: Commands) -> Parser:
    command = commands.add_parser("show", help="a schedule's curve and key points in the terminal", allow_abbrev=False)
    command.add_argument("what", metavar="SPEC|RUN", help='such as "linear 2%% to 1, cosine rest to 0.1", or a run')
    _add_options(command)
    command.set_defaults(run=_show)
    return command


def _show(options: argparse.Namespace) -> None:
    from lehr import plot
    from lehr.cli.subject import print_json, subject
    from lehr.schedule import to_dict

    it = subject(options.what, options)
    schedule, lr = it.schedule, 1.0 if it.lr is None else it.lr
    points = plot.key_points(schedule, it.total)
    if options.json:
        rows = [{"name": p.name, "step": p.step, "lr": lr * p.value, "phase": p.phase} for p in points]
        updates = points[-1].step + 1
        print_json(it.facts() | {"lr": lr, "updates": updates, "points": rows, "ramps": to_dict(schedule)["ramps"]})
        return
    print(f"{schedule}  [{schedule.fingerprint}]")
    print()
    try:
        "\u2800".encode(sys.stdout.encoding or "utf-8")
        print(plot.terminal({it.label: lr * schedule}, it.total))
    except UnicodeEncodeError:  # a terminal without the dots that curves are made of
        print(plot.in_letters({"*": lr * schedule}, it.total))
    print()
    width = max(10, len(f"{points[-1].step:,}") + 2)
    print(f"{'':15}{'step':>{width}}{'lr':>12}  phase")
    for point in points:
        print(f"{point.name:15}{point.step:>{width},}{lr * point.value:>12.4g}  {point.phase}")


def _add_plot(commands: Commands) -> Parser:
    command = commands.add_parser("plot", help="schedules, or runs, over each other as a picture", allow_abbrev=False)
    command.add_argument("what", metavar="SPEC|RUN", nargs="+", help="schedule texts, or the folders of runs")
    command.add_argument("--by", choices=("step", "tokens", "time"), help="what runs are laid over each other by")
    command.add_argument("--log", action="store_true", help="a logarithmic LR axis")
    command.add_argument("--out", type=Path, default=Path("schedules.png"), help="the file (default schedules.png)")
    _add_options(command)
    command.set_defaults(run=_plot)
    return command


def _plot(options: argparse.Namespace) -> None:
    from lehr import plot
    from lehr.cli.subject import is_run, print_json, subject

    folders = [word for word in options.what if is_run(word)]
    if folders and len(folders) < len(options.what):
        text = next(word for word in options.what if word not in folders)
        raise ValueError(f"{folders[0]} is a run's folder and {text!r} a schedule's text; give one or the other")
    if options.by and not folders:
        raise ValueError("--by is for runs; a schedule's text is drawn by step")
    subjects = [subject(word, options) for word in options.what]
    if len(folders) > 1 or options.by:
        from lehr.train.overlay import draw_runs

        draw_runs([Path(folder) for folder in folders], options.out, options.by or "step", options.log)
    elif folders:
        from lehr.train.finish import draw

        draw(Path(folders[0]), options.out, options.log)
    else:
        lr = 1.0 if options.lr is None else options.lr
        schedules = {it.label: lr * it.schedule for it in subjects}
        plot.save_schedules(schedules, options.out, options.total, options.log)
    if options.json:
        print_json({"out": str(options.out), "schedules": [it.facts() for it in subjects]})
    else:
        print(options.out)


def _add_check(commands: Commands) -> Parser:
    command = commands.add_parser("check", help="what is probably not meant in a schedule", allow_abbrev=False)
    command.add_argument("what", metavar="SPEC|RUN", help="a schedule's text, or a run's folder")
    command.add_argument("--beta2", type=number, help="Adam's, for the length of the warmup")
    _add_options(command)
    command.set_defaults(run=_check)
    return command


def _check(options: argparse.Namespace) -> int:
    from lehr.cli.subject import print_json, subject
    from lehr.lint import check

    it = subject(options.what, options)
    findings = check(it.text or it.schedule, it.total, it.beta2, it.lr, it.time)
    updates = it.total or max(1, ceil(it.schedule.total))
    passed = all(finding.severity == "info" for finding in findings)
    if options.json:
        rows = [asdict(finding) for finding in findings]
        print_json(it.facts() | {"updates": updates, "passed": passed, "findings": rows})
    else:
        print(f"{it.schedule}  [{it.schedule.fingerprint}]")
        print(f"over {updates:,} updates: {_summary(findings)}")
        for finding in findings:
            print(f"\n{finding.severity:9}{finding.code}, step {finding.step:,}")
            for text in (finding.message, f"-> {finding.instead}"):
                print(textwrap.fill(text, 79, initial_indent=" " * 9, subsequent_indent=" " * 9))
    return 0 if passed else 1


def _summary(findings: "list[Finding]") -> str:
    """How many findings of each severity, in words."""
    counts = Counter(finding.severity for finding in findings)
    words = [f"{n} {severity}{'s' * (n > 1)}" for severity, n in counts.items()]
    return ", ".join(words) or "nothing found"


def _add_convert(commands: Commands) -> Parser:
    command = commands.add_parser("convert", help="another system's schedule as a text of lehr's", allow_abbrev=False)
    command.add_argument("name", metavar="SYSTEM.FUNCTION", help="such as torch.OneCycleLR")
    command.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="its arguments, under that system's names")
    command.add_argument("--lr", type=number, help="the optimizer's base LR, where that system reads it from there")
    command.add_argument("--total", type=count, metavar="N", help="the run's length, where the curve never ends")
    command.add_argument("--normalized", action="store_true", help="divided by its peak: multipliers, for --lr PEAK")
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--output", choices=("text", "shell", "python"), default="text", help="what to print")
    kind.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_convert)
    return command


def _number_or_word(text: str) -> float | str:
    """10k as a number, as everywhere on the command line; else a word, such as linear or 20ba."""
    try:
        number = read_number(text)
    except ValueError:
        return text
    return int(number) if number.denominator == 1 else float(number)


def _convert(options: argparse.Namespace) -> None:
    import ast
    import shlex

    from lehr.cli.subject import Subject, print_json
    from lehr.conventions import convert
    from lehr.schedule import to_dict

    arguments = {}
    for word in options.arguments:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise ValueError(f"{word!r} is no argument; write key=value, such as num_warmup_steps=100")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = _number_or_word(value)
    for key in ("lr", "total"):
        value = getattr(options, key)
        if value is not None and arguments.get(key, value) != value:
            raise ValueError(f"{key}={arguments[key]} and --{key} {value:g} differ; give one")
    given = {**arguments, "lr": arguments.get("lr", options.lr), "total": arguments.get("total", options.total)}
    schedule = convert(options.name, **given)
    peak, lr = 1.0, ""
    if options.normalized:
        peak, schedule = schedule.normalized()
        lr = f" --lr {peak:.12g}"
    text = str(schedule)
    if options.json:
        facts = Subject(options.name, schedule, options.total, options.lr).facts() | {"lr": peak}
        print_json(facts | {"name": options.name, "arguments": arguments, "ramps": to_dict(schedule)["ramps"]})
        return
    shell, python = f"lehr show {shlex.quote(text)}{lr}", f"{f'{peak:.12g} * ' if lr else ''}lehr.parse({text!r})"
    print({"text": text, "shell": shell, "python": python}[options.output])
