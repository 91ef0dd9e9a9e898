"""The commands before and after training: tokenize, sample, export, runs."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.cli.options import Commands, Parser, number
from lehr.words import printable, read_number

if TYPE_CHECKING:
    from lehr.train.runs import Run, Summary

# Below it a token is too little work to share: waiting for other threads costs more, far more on a busy machine.
FEW_PARAMETERS = 5_000_000


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    by_name = {"tokenize": _add_tokenize(commands), "sample": _add_sample(commands), "export": _add_export(commands)}
    return by_name | {"runs": _add_runs(commands)}


def whole(text: str) -> int:
    """A whole number, 0 or more: 200, 10k."""
    number(text)  # refuses what is none
    value = read_number(text)  # exact, beyond what a float can hold
    if value.denominator != 1 or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return value.numerator


# ---------------------------------------------------------------------------------------------------------------------
# tokenize


def _add_tokenize(commands: Commands) -> Parser:
    command = commands.add_parser("tokenize", help="text of any size to token ids on the disk", allow_abbrev=False)
    command.add_argument(
        "paths", metavar="PATH", nargs="+", help="text, JSON lines, datasets: files, folders, patterns"
    )
    command.add_argument("--out", type=Path, metavar="DIR", required=True, help="a new folder, for lehr train --data")
    command.add_argument("--vocab-size", type=whole, metavar="N", help="of the BPE that is learnt (default 8192)")
    command.add_argument("--tokenizer", metavar="FILE", help="a tokenizers file to use instead of learning one")
    command.add_argument("--field", default="text", metavar="NAME", help="of JSON lines and datasets (default text)")
    command.add_argument(
        "--learn-from", type=whole, default=2**28, metavar="BYTES", help="learn from so much text (default 268M)"
    )
    command.add_argument(
        "--shard-tokens", type=whole, default=2**24, metavar="N", help="about so many ids a file (default 16.8M)"
    )
    command.set_defaults(run=_tokenize)
    return command


def _tokenize(options: argparse.Namespace) -> None:
    from lehr.train.progress import Bar
    from lehr.train.shards import tokenize

    if options.tokenizer and options.vocab_size is not None:
        raise ValueError("--tokenizer has a vocabulary already; leave --vocab-size out")
    with Bar() as bar:
        facts = tokenize(
            options.paths,
            options.out,
            8192 if options.vocab_size is None else options.vocab_size,
            options.tokenizer,
            options.field,
            options.shard_tokens,
            options.learn_from,
            watch=bar.watch,
            say=bar.say,
        )
    print(
        f"{facts['tokens']:,} tokens of {facts['vocab_size']:,} kinds from {facts['bytes']:,} bytes in "
        f"{facts['documents']:,} documents: {facts['bytes'] / max(facts['tokens'], 1):.2f} bytes a token"
    )
    print(f"train on them with: lehr train --data {options.out}")


# ---------------------------------------------------------------------------------------------------------------------
# sample


def _add_sample(commands: Commands) -> Parser:
    command = commands.add_parser("sample", help="text out of a run's model", allow_abbrev=False)
    command.add_argument("folder", metavar="RUN", help="a run's folder; RUN@STEP for an earlier checkpoint")
    command.add_argument("--prompt", metavar="TEXT", help="what to go on from (default: the beginning of a document)")
    command.add_argument("--tokens", type=whole, default=200, metavar="N", help="at most so many (default 200)")
    command.add_argument("--temperature", type=number, default=0.8, metavar="T", help="0: the likeliest (default 0.8)")
    command.add_argument("--top-k", type=whole, metavar="K", help="draw from the K likeliest tokens")
    command.add_argument("--top-p", type=number, metavar="P", help="draw from the likeliest that hold this share")
    command.add_argument("--seed", type=whole, default=0, metavar="N", help="the first sample's (default 0)")
    command.add_argument("--samples", type=whole, default=1, metavar="N", help="how many, each with the next seed")
    command.add_argument("--no-stop", action="store_true", help="go on after an end of text")
    command.add_argument("--no-cache", action="store_true", help="work all positions out anew for each token")
    _add_tokenizer(command)
    command.add_argument("--device", default="", metavar="NAME", help="cpu, cuda or mps (default: cuda if it is there)")
    command.set_defaults(run=_sample)
    return command


def _add_tokenizer(command: Parser) -> None:
    command.add_argument(
        "--tokenizer", default="", metavar="FILE", help="that of a run which was trained on ids (data.tokenizer=none)"
    )


def _sample(options: argparse.Namespace) -> None:
    import torch

    from lehr.train.runs import open_run

    if options.seed + options.samples > 2**64:
        raise ValueError(f"--seed is a whole number below 2**64, with --samples added, not {options.seed}")
    try:
        (options.prompt or "").encode()
    except UnicodeEncodeError as error:
        byte = options.prompt[error.start].encode("utf-8", "surrogateescape")
        raise ValueError(
            f"--prompt is not UTF-8 text: the byte {byte.hex()} after {options.prompt[: error.start]!r} belongs to none"
        ) from None
    run = open_run(options.folder, options.device, options.tokenizer)
    if sum(weight.numel() for weight in run.model.parameters()) < FEW_PARAMETERS:
        torch.set_num_threads(1)
    prompt, shown = _prompt(run, options.prompt)
    if max(prompt) >= (known := run.facts["model"]["vocab_size"]):
        raise ValueError(
            f"the token {max(prompt)} of {options.prompt!r} is beyond the model's {known:,}; give another --prompt, or "
            "the --tokenizer that made the ids"
            if options.prompt
            else f"the tokenizer's end of text, {max(prompt)}, is beyond the model's {known:,}; give a --prompt"
        )
    for index in range(options.samples):
        seed = options.seed + index
        if options.samples > 1:
            print(f"--- sample {index + 1} of {options.samples}, seed {seed}", flush=True)
        _one_sample(run, prompt, shown, seed, options)


def _prompt(run: "Run", text: str | None) -> tuple[list[int], str]:
    """The ids to go on from, and what of them to show."""
    from lehr.train.tokenizer import Numbers

    tokenizer = run.tokenizer
    if text:
        ids = tokenizer.encode(text).tolist()
        if not ids:
            raise ValueError(f"the run's tokenizer makes no token of the prompt {text!r}; leave --prompt out")
        return ids, text
    if tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text], ""
    if isinstance(tokenizer, Numbers):
        return [0], "0"  # which id a document begins with is not known
    alphabet = getattr(tokenizer, "alphabet", "\n")
    first = "\n" if "\n" in alphabet else alphabet[0]
    return tokenizer.encode(first).tolist(), ""


def _one_sample(run: "Run", prompt: list[int], shown: str, seed: int, options: argparse.Namespace) -> None:
    import torch

    from lehr.nn.generation import stream

    stop = None if options.no_stop else run.tokenizer.end_of_text
    ids = stream(
        run.model,
        torch.tensor([prompt]),
        options.tokens,
        options.temperature,
        options.top_k,
        options.top_p,
        stop=stop,
        seed=seed,
        vocab_size=min(run.tokenizer.vocab_size, run.facts["model"]["vocab_size"]),
        cache=not options.no_cache,
    )
    after = [] if prompt == [run.tokenizer.end_of_text] else prompt  # a document begins, or its text goes on
    text, count, began = run.tokenizer.stream(after), 0, time.perf_counter()
    _show(shown)
    for new in ids:
        count += 1
        if int(new) != stop:
            _show(text.push(int(new)))
    _show(text.end() + "\n")
    seconds = time.perf_counter() - began
    print(f"{count} tokens, {count / max(seconds, 1e-9):,.0f} a second", file=sys.stderr)


def _show(text: str) -> None:
    """Print a piece at once; what would move the cursor or change the terminal's colours is shown, not done."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# export


def _add_export(commands: Commands) -> Parser:
    command = commands.add_parser("export", help="a run's model as a folder for other libraries", allow_abbrev=False)
    command.add_argument("folder", metavar="RUN", help="a run's folder; RUN@STEP for an earlier checkpoint")
    command.add_argument(
        "--format", choices=("hf",), default="hf", help="hf: LlamaForCausalLM of transformers (default)"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default RUN/hf)")
    _add_tokenizer(command)
    command.set_defaults(run=_export)
    return command


def _export(options: argparse.Namespace) -> None:
    from lehr.train.export import export_hf
    from lehr.train.runs import open_run

    run = open_run(options.folder, "cpu", options.tokenizer)
    out = run.folder / "hf" if options.out is None else options.out
    export_hf(run, out)
    print(out)


# ---------------------------------------------------------------------------------------------------------------------
# runs


def _add_runs(commands: Commands) -> Parser:
    command = commands.add_parser("runs", help="a list of runs: state, steps, loss, schedule, size", allow_abbrev=False)
    command.add_argument("folders", metavar="DIR", nargs="*", help="runs, or folders that hold some (default runs)")
    command.add_argument("--json", action="store_true", help="print a list of objects")
    command.set_defaults(run=_runs)
    return command


def _runs(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from lehr.cli.subject import print_json
    from lehr.train.runs import list_runs

    missing = [name for name in options.folders if not Path(name).is_dir()]
    if missing:
        raise FileNotFoundError(f"no such folder: {missing[0]}")
    found = [run for name in options.folders or ["runs"] for run in list_runs(Path(name))]
    if options.json:
        print_json([asdict(run) for run in found])
    elif found:
        _show_runs(found)
    else:
        print(f"no runs in {', '.join(options.folders) or 'runs'}; lehr train begins one")


def _show_runs(found: "list[Summary]") -> None:
    """A row for each run; the schedule takes the width that is left, and goes on below."""
    from rich.console import Console
    from rich.table import Table

    from lehr.train.report import count, size

    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("run", overflow="fold", ratio=2)
    table.add_column("state", no_wrap=True)
    for name in ("steps", "loss", "params", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("schedule", overflow="fold", ratio=3)
    for run in found:
        loss = "" if run.best is None else f"{run.best:.3f}"
        steps = f"{run.step:,}/{run.steps:,}"
        table.add_row(str(run.folder), run.state, steps, loss, count(run.parameters), size(run.size), run.schedule)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 80)
    console.print(table)
