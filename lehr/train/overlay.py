"""The curves of several runs over each other: `lehr plot RUN RUN ...`."""

from collections.abc import Sequence
from pathlib import Path

from lehr import plot
from lehr.spec import parse
from lehr.train.config import read
from lehr.train.metrics import read_rows


def draw_runs(folders: Sequence[Path], out: Path, by: str = "step", log: bool = False) -> None:
    """Draw the LR and the loss of runs into one picture, by step, tokens or time (`by`); `log`: the LR's axis.

    Raises ValueError for a folder that holds no run.
    """
    curves = []
    for folder in folders:
        facts = read(folder)
        try:
            tokens = facts["train"]["batch_size"] * facts["model"]["context_length"]
            schedule = facts["optimizer"]["lr"] * parse(facts["schedule"]["lr"])
            curves.append(
                plot.Curves(
                    label=_label(folder, folders),
                    rows=read_rows(folder / "metrics.jsonl"),
                    planned=schedule,
                    steps=facts["train"]["steps"],
                    tokens_per_step=tokens,
                )
            )
        except (KeyError, TypeError):
            raise ValueError(f"{folder} holds no run: its config.json is not one of lehr train") from None
    plot.save_runs(curves, out, by, log)


def _label(folder: Path, folders: Sequence[Path]) -> str:
    """The folder's name, or its path where another has the same name."""
    name = folder.resolve().name
    return name if [other.resolve().name for other in folders].count(name) == 1 else str(folder)
