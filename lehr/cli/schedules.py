"""The commands about schedules: show, plot, convert."""

import argparse
from pathlib import Path

from lehr.cli.options import Commands, Parser, add_clock, clock, count, number


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    return {"show": _add_show(commands), "plot": _add_plot(commands), "convert": _add_convert(commands)}


def _add_show(commands: Commands) -> Parser:
    command = commands.add_parser("show", help="a schedule's curve and key points in the terminal", allow_abbrev=False)
    command.add_argument("spec", metavar="SPEC", help='such as "linear 2%% to 1, cosine rest to 0.1"')
    command.add_argument("--lr", type=number, default=1.0, help="the peak learning rate (default 1)")
    add_clock(command)
    command.set_defaults(run=_show)
    return command


def _show(options: argparse.Namespace) -> None:
    from lehr import plot
    from lehr.spec import parse

    schedule = parse(options.spec, clock(options))
    print(f"{schedule}  [{schedule.fingerprint}]")
    print()
    print(plot.terminal({options.spec: options.lr * schedule}, options.total))
    print()
    print(f"{'':15}{'step':>10}{'lr':>12}  phase")
    for point in plot.key_points(schedule, options.total):
        print(f"{point.name:15}{point.step:>10,}{options.lr * point.value:>12.4g}  {point.phase}")


def _add_plot(commands: Commands) -> Parser:
    command = commands.add_parser("plot", help="schedules over each other, or a run, as a picture", allow_abbrev=False)
    command.add_argument("what", metavar="SPEC|RUN", nargs="+", help="schedule texts, or the folder of one run")
    command.add_argument("--lr", type=number, default=1.0, help="the peak learning rate (default 1)")
    command.add_argument("--log", action="store_true", help="a logarithmic LR axis")
    command.add_argument("--out", type=Path, default=Path("schedules.png"), help="the file (default schedules.png)")
    add_clock(command)
    command.set_defaults(run=_plot)
    return command


def _plot(options: argparse.Namespace) -> None:
    from lehr import plot
    from lehr.spec import parse

    folders = [word for word in options.what if Path(word).is_dir()]
    if folders:
        if len(options.what) > 1:
            raise ValueError(f"{folders[0]} is a run's folder, which is drawn alone; give one run, or schedule texts")
        from lehr.train.finish import draw

        draw(Path(folders[0]), options.out)
    else:
        schedules = {text: options.lr * parse(text, clock(options)) for text in options.what}
        plot.save_schedules(schedules, options.out, options.total, options.log)
    print(options.out)


def _add_convert(commands: Commands) -> Parser:
    command = commands.add_parser("convert", help="another system's schedule as a text of lehr's", allow_abbrev=False)
    command.add_argument("name", metavar="SYSTEM.FUNCTION", help="such as torch.OneCycleLR")
    command.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="its arguments, under that system's names")
    command.add_argument("--lr", type=number, help="the optimizer's base LR, where that system reads it from there")
    command.add_argument("--total", type=count, metavar="N", help="the run's length, where the curve never ends")
    command.add_argument("--output", choices=("text", "shell", "python"), default="text", help="what to print")
    command.set_defaults(run=_convert)
    return command


def _convert(options: argparse.Namespace) -> None:
    import ast
    import shlex

    from lehr.conventions import convert

    arguments = {}
    for word in options.arguments:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise ValueError(f"{word!r} is no argument; write key=value, such as num_warmup_steps=100")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = value  # a word, such as linear
    text = str(convert(options.name, lr=options.lr, total=options.total, **arguments))
    print({"text": text, "shell": f"lehr show {shlex.quote(text)}", "python": f"lehr.parse({text!r})"}[options.output])
