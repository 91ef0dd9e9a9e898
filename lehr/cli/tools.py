"""The commands before and after training: tokenize, sample, export, runs."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.cli.options import Commands, Parser, number

if TYPE_CHECKING:
    from lehr.train.runs import Run

# Below it a token is too little work to share: waiting for other threads costs more, far more on a busy machine.
FEW_PARAMETERS = 5_000_000


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    by_name = {"tokenize": _add_tokenize(commands), "sample": _add_sample(commands), "export": _add_export(commands)}
    return by_name


def whole(text: str) -> int:
    """A whole number, 0 or more: 200, 10k."""
    value = number(text)
    if value != int(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(value)


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

    if options.tokenizer and options.vocab_size:
        raise ValueError("--tokenizer has a vocabulary already; leave --vocab-size out")
    with Bar() as bar:
        facts = tokenize(
            options.paths,
            options.out,
            options.vocab_size or 8192,
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
    command.add_argument("--device", default="", metavar="NAME", help="cpu, cuda or mps (default: cuda if it is there)")
    command.set_defaults(run=_sample)
    return command


def _sample(options: argparse.Namespace) -> None:
    import torch

    from lehr.train.runs import open_run

    run = open_run(options.folder, options.device)
    if sum(weight.numel() for weight in run.model.parameters()) < FEW_PARAMETERS:
        torch.set_num_threads(1)
    prompt, shown = _prompt(run, options.prompt)
    for index in range(options.samples):
        seed = options.seed + index
        if options.samples > 1:
            print(f"--- sample {index + 1} of {options.samples}, seed {seed}", flush=True)
        _one_sample(run, prompt, shown, seed, options)


def _prompt(run: "Run", text: str | None) -> tuple[list[int], str]:
    """The ids to go on from, and what of them to show."""
    tokenizer = run.tokenizer
    if text:
        return tokenizer.encode(text).tolist(), text
    if tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text], ""
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
        vocab_size=run.tokenizer.vocab_size,
        cache=not options.no_cache,
    )
    text, count, began = run.tokenizer.stream(), 0, time.perf_counter()
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
    safe = "".join(letter if letter.isprintable() or letter in "\n\t" else _escape(letter) for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    print(safe.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


# ---------------------------------------------------------------------------------------------------------------------
# export


def _add_export(commands: Commands) -> Parser:
    command = commands.add_parser("export", help="a run's model as a folder for other libraries", allow_abbrev=False)
    command.add_argument("folder", metavar="RUN", help="a run's folder; RUN@STEP for an earlier checkpoint")
    command.add_argument(
        "--format", choices=("hf",), default="hf", help="hf: LlamaForCausalLM of transformers (default)"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default RUN/hf)")
    command.set_defaults(run=_export)
    return command


def _export(options: argparse.Namespace) -> None:
    from lehr.train.export import export_hf
    from lehr.train.runs import open_run

    run = open_run(options.folder, "cpu")
    out = run.folder / "hf" if options.out is None else options.out
    export_hf(run, out)
    print(out)
