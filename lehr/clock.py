"""What turns the units of a text, tokens, samples and epochs, into steps."""

from dataclasses import dataclass, fields

from lehr.schedule import LATEST
from lehr.words import is_number

UNITS = {"steps": None, "tokens": "tokens_per_step", "samples": "samples_per_step", "epochs": "steps_per_epoch"}
FIGURES = {
    "tokens": "the tokens of one update over all processes",
    "samples": "the samples of one update over all processes",
    "epochs": "the updates of one pass over the data, whose length lehr does not know",
}


@dataclass(frozen=True)
class Clock:
    """What turns units into steps: each figure may be left out if no duration needs it.

    `total_steps` is the length of the run in updates, `tokens_per_step` and `samples_per_step` count what one update
    sees over all processes, `steps_per_epoch` the updates of one pass over the data. Raises ValueError for a figure
    that is not above 0.

    >>> import lehr
    >>> print(lehr.parse("linear 1M tokens to 1, cosine rest to 0.1", Clock(total_steps=1000, tokens_per_step=8192)))
    linear 122 to 1, cosine 878 to 0.1
    """

    total_steps: float | None = None
    tokens_per_step: float | None = None
    samples_per_step: float | None = None
    steps_per_epoch: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not (is_number(value) and 0 < value <= LATEST):
                raise ValueError(f"{f.name} is a number above 0, not {value!r}")
        if self.total_steps is not None and self.total_steps != int(self.total_steps):
            raise ValueError(f"total_steps is a whole number of updates, not {self.total_steps!r}")
