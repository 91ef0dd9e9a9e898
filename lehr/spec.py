"""The text form of a schedule, read: items such as `linear 2% to 1, cosine rest to 0.1`.

    spec = item ("," item)* [", sampled at start"]
    item = ["at" step] ( "hold" duration ["from" value] | shape duration ["from" value] "to" value )
    duration = "rest" | NUMBER[k|M|B] [steps|tokens|samples|epochs] | NUMBER%

`str(schedule)` writes it, in steps.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import floor

from lehr.schedule import LATEST, Ramp, Sample, Schedule
from lehr.shapes import RESERVED, TABLE
from lehr.words import is_number, nearest, read_number, write_number

UNITS = {"steps": None, "tokens": "tokens_per_step", "samples": "samples_per_step", "epochs": "steps_per_epoch"}
FIGURES = {
    "tokens": "the tokens of one update over all processes",
    "samples": "the samples of one update over all processes",
    "epochs": "the updates of one pass over the data, whose length lehr does not know",
}
_JOINED = re.compile(rf"([\d_.]+[kMB]?)({'|'.join(unit + '?' for unit in UNITS)})")  # 10epochs
_SINGULAR = {unit.removesuffix("s"): unit for unit in UNITS}


@dataclass(frozen=True)
class Clock:
    """What turns units into steps: each figure may be left out if no duration needs it.

    `total_steps` is the length of the run in updates, `tokens_per_step` and `samples_per_step` count what one update
    sees over all processes, `steps_per_epoch` the updates of one pass over the data. Raises ValueError for a figure
    that is not above 0.

    >>> print(parse("linear 1M tokens to 1, cosine rest to 0.1", Clock(total_steps=1000, tokens_per_step=8192)))
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


def parse(text: str, clock: Clock | None = None, total: float | None = None) -> Schedule:
    """Return the schedule that a text describes.

    `total` (the run's length in updates, short for `Clock(total_steps=total)`) or `clock` is needed for `%`, `rest` and
    units other than steps. Without `from` an item goes on from where the curve is; the first starts at 0 and goes to 1,
    and a first `hold` is at 1. `at` begins an item after that many updates. Durations in steps are taken as they are;
    in every other unit the joints are rounded to whole steps, half up. Raises ValueError, one line that names the word
    at fault and what to write instead.

    >>> parse("linear 2% to 1, hold rest, sqrt 20% to 0", total=1000)
    lehr.parse('linear 20 to 1, hold 780, sqrt 200 to 0')
    >>> parse("linear 100 to 1, cosine 900 to 0.1, at 800 linear 200 to 0").total
    1000
    """
    items, joints, sample = _read(text, clock, total)
    return Schedule(tuple(_ramps(items, joints)), sample)


def vanished(text: str, clock: Clock | None = None, total: float | None = None) -> list[tuple[str, str, float, float]]:
    """The items of a text whose length, a share or in a unit other than steps, rounds to no update at all.

    Each with that length as written, where it would begin and how long it would be, in steps. Arguments and errors are
    those of `parse`.

    >>> vanished("linear 1% to 1, cosine rest to 0.1", total=40)
    [('linear 1% to 1', '1%', 0, 0.4)]
    """
    items, joints, _ = _read(text, clock, total)
    found = []
    for item, (begin, duration) in zip(items, joints, strict=True):
        if not duration and item.duration.unit not in ("steps", "rest") and item.duration.number:
            found.append((item.text, item.duration.text, begin, float(item.duration.steps(_clock(clock, total)))))
    return found


def _read(
    text: str, clock: Clock | None, total: float | None
) -> tuple[list["_Item"], list[tuple[float, float]], Sample]:
    if not isinstance(text, str):
        raise TypeError(f"a schedule's text is a string, not {text!r}")
    clock = _clock(clock, total)
    items, sample = _items(text)
    return items, _joints(items, clock), sample


def _clock(clock: Clock | None, total: float | None) -> Clock:
    if clock is None:
        clock = Clock()
    elif not isinstance(clock, Clock):
        raise TypeError(f"clock is a lehr.Clock, not {clock!r}; for the run's length write total={clock!r}")
    if total is not None:
        if clock.total_steps not in (None, total):
            raise ValueError(f"total={total!r} and the clock's total_steps={clock.total_steps!r} differ; give one")
        clock = Clock(total, clock.tokens_per_step, clock.samples_per_step, clock.steps_per_epoch)
    return clock


class _Word(str):
    """A word of the text that knows where it stands: "column 12", or "line 2, column 4" of a text of several lines."""

    place: str

    def __new__(cls, word: str, text: str, at: int) -> "_Word":
        self = super().__new__(cls, word)
        before = text[:at].split("\n")
        column = f"column {len(before[-1]) + 1}"
        self.place = f"line {len(before)}, {column}" if "\n" in text.strip() else column
        return self


@dataclass(slots=True)
class _Item:
    text: str
    words: tuple[_Word, ...]
    shape: str  # "hold" too
    duration: "_Duration"
    at: "_Duration | None" = None
    values: dict[str, float] = field(default_factory=dict)  # "from" and "to", as far as given

    def error(self, message: str, word: str = "") -> ValueError:
        """The error of an item, with the place of the word at fault (the first word if none is named)."""
        at = word if isinstance(word, _Word) else self.words[0]
        return ValueError(f"in {self.text!r}: {message} ({at.place})")


@dataclass(frozen=True, slots=True)
class _Duration:
    text: str
    number: Fraction
    unit: str  # a key of UNITS, "%" or "rest"
    word: str = ""  # its first word, with its place

    def steps(self, clock: Clock) -> Fraction:
        """The length in steps, exact. Raises ValueError that names the figure the clock lacks."""
        if self.unit == "%":
            if clock.total_steps is None:
                raise ValueError(f"{self.text!r} is a share of the run; say how long it is: total=10000 (--total 10k)")
            return self.number * Fraction(clock.total_steps) / 100
        figure = UNITS[self.unit]
        if figure is None:
            return self.number
        per = getattr(clock, figure)
        if per is None:
            option = "--" + figure.replace("_", "-")
            raise ValueError(
                f"{self.text!r} needs {figure}; write clock=Clock({figure}=...) ({option} N), {FIGURES[self.unit]}"
            )
        return self.number * Fraction(per) if self.unit == "epochs" else self.number / Fraction(per)


# ---------------------------------------------------------------------------------------------------------------------
# text to items


def _items(text: str) -> tuple[list[_Item], Sample]:
    if comma := re.search(r"\d,(?=\d{3}(\D|$))", text):
        place = _Word(",", text, comma.start() + 1).place
        raise ValueError(
            f"the comma in {text[comma.start() : comma.start() + 5]!r} ({place}) ends an item; "
            f"write 1_000 or 1000, not 1,000"
        )
    parts: list[list[_Word]] = [[]]
    commas: list[_Word] = []
    for match in re.finditer(r",|[^\s,]+", text):
        if match[0] == ",":
            parts.append([])
            commas.append(_Word(",", text, match.start()))
        else:
            parts[-1].append(_Word(match[0], text, match.start()))
    sample: Sample = "end"
    if parts[-1][:1] == ["sampled"]:
        ending = " ".join(parts[-1])
        if ending not in ("sampled at start", "sampled at end") or len(parts) == 1:
            raise ValueError(
                f"unknown ending {ending!r}; write ', sampled at start' after the last item, or nothing "
                f"({parts[-1][0].place})"
            )
        sample = "start" if ending == "sampled at start" else "end"
        parts.pop()
    if parts == [[]]:
        raise ValueError("the schedule is empty; write for example 'linear 2% to 1, cosine rest to 0.1'")
    for number, part in enumerate(parts, 1):
        if not part:
            place = commas[max(number - 2, 0)].place
            raise ValueError(f"item {number} of {text!r} is empty; write one comma between two items ({place})")
    return [_item(part) for part in parts], sample


def _item(written: Sequence[_Word]) -> _Item:
    text, words = " ".join(written), list(written)
    item = _Item(text, tuple(written), "", _Duration("", Fraction(0), "steps"))
    if words[0] == "at":
        item.at = _take_duration(item, words)
        if item.at.unit == "rest":
            raise item.error("'at' takes a number of steps, such as 'at 800'", item.at.word)
    if not words:
        raise item.error("a shape is missing, such as 'linear 200 to 0'", written[-1])
    item.shape = words[0]
    if item.shape != "hold" and item.shape.partition(":")[0] not in TABLE:
        names = ["hold", *TABLE]
        raise item.error(
            f"unknown shape {item.shape!r}{nearest(item.shape, names) or '; known are ' + ', '.join(names)}", words[0]
        )
    item.duration = _take_duration(item, words)
    while words:
        key = words.pop(0)
        if key not in ("from", "to") or key in item.values or (key == "to" and item.shape == "hold"):
            raise item.error(_unexpected(key, item), key)
        item.values[key] = _value(item, key, words)
    if item.shape != "hold" and "to" not in item.values:
        raise item.error(f"where does it go? write '{text} to 0' (as a first item '{text} from 1 to 0')", written[-1])
    return item


def _unexpected(word: str, item: _Item) -> str:
    if word == "to" and item.shape == "hold":
        return "a hold stays where it is; write 'hold ... from VALUE' or a shape such as 'linear'"
    if word in item.values:
        return f"{word!r} stands twice; write it once"
    if word in RESERVED or word in TABLE:
        return f"{word!r} is out of place; is a comma missing before it?"
    if word in UNITS or word in _SINGULAR:
        return f"a share takes no unit; write '10%' or '1000 {_SINGULAR.get(word, word)}', not both"
    return f"{word!r} is not understood; write 'from VALUE' or 'to VALUE'{nearest(word, ['from', 'to', *UNITS])}"


def _take_duration(item: _Item, words: list[_Word]) -> _Duration:
    """Take the first word, `at` or the shape's name, and the duration behind it."""
    before = words.pop(0)
    if not words or words[0] in ("from", "to"):
        raise item.error("a duration is missing, such as 2000, 2% or rest", before)
    word = words.pop(0)
    if word == "rest":
        return _Duration(word, Fraction(0), "rest", word)
    if word.startswith("-"):
        raise item.error(f"the duration {word!r} is negative; write a number >= 0", word)
    try:
        number = read_number(word.removesuffix("%"))
    except ValueError as error:
        if joined := _JOINED.fullmatch(word):
            raise item.error(f"the duration {word!r} lacks a space; write '{joined[1]} {joined[2]}'", word) from None
        raise item.error(f"the duration {error}", word) from None
    text, unit = str(word), "%" if word.endswith("%") else "steps"
    if unit != "%" and words and (words[0] in UNITS or words[0] in _SINGULAR):
        text, unit = f"{word} {words[0]}", _SINGULAR.get(words[0], words[0])
        del words[0]
    if number > LATEST:
        raise item.error(f"the duration {text!r} is beyond what a run can last", word)
    return _Duration(text, number, unit, word)


def _value(item: _Item, key: _Word, words: list[_Word]) -> float:
    if not words:
        raise item.error(f"a value is missing after {key!r}, such as '{key} 0.1'", key)
    word = words.pop(0)
    if word.endswith("%"):
        raise item.error(f"values are plain numbers; write '{key} 0.1' for 10%, not {word!r}", word)
    if word.startswith("-"):
        raise item.error(f"the value {word!r} is negative; write a number >= 0", word)
    try:
        if word[-1] in "kMB":
            raise ValueError(f"{word!r} has a suffix; write the value out")
        return float(read_number(word))
    except OverflowError:
        raise item.error(f"the value {word!r} is beyond what a float can hold", word) from None
    except ValueError as error:
        raise item.error(f"the value {error}", word) from None


# ---------------------------------------------------------------------------------------------------------------------
# items to ramps


def _joints(items: list[_Item], clock: Clock) -> list[tuple[float, float]]:
    """Begin and duration of each item in steps: exact positions run along, joints of other units are rounded."""
    rests = [index for index, item in enumerate(items) if item.duration.unit == "rest"]
    if len(rests) > 1:
        again = items[rests[1]]
        raise again.error("'rest' stands twice in one schedule; give one of them a length", again.duration.word)
    joints: list[tuple[float, float]] = []
    exact, begin = Fraction(0), _step(Fraction(0), rounded=True)
    for index, item in enumerate(items):
        word = item.at.word if item.at is not None else ""
        try:
            if item.at is not None:
                exact = item.at.steps(clock)
                begin = _step(exact, rounded=item.at.unit != "steps")
            word = item.duration.word
            if item.duration.unit == "steps":
                exact += item.duration.number
                duration = _step(item.duration.number, rounded=False)
            else:
                if item.duration.unit == "rest":
                    exact, rounded = _rest(items, index, exact, clock)
                else:
                    exact, rounded = exact + item.duration.steps(clock), True
                duration = max(0, _step(exact, rounded) - begin)
        except ValueError as error:
            raise item.error(str(error), word) from None
        joints.append((begin, duration))
        begin += duration
    return joints


def _rest(items: list[_Item], index: int, begin: Fraction, clock: Clock) -> tuple[Fraction, bool]:
    """Where a `rest` ends, and whether that is to be rounded: what follows ends at the next `at` or with the run."""
    exact: Fraction | None = None if clock.total_steps is None else Fraction(clock.total_steps)
    rounded = False
    follow = []
    for item in items[index + 1 :]:
        if item.at is not None:
            exact, rounded = item.at.steps(clock), rounded or item.at.unit != "steps"
            break
        follow.append(item.duration.steps(clock))
        rounded = rounded or item.duration.unit != "steps"
    if exact is None:
        raise ValueError("'rest' needs the run's length; say how long it is: total=10000 (--total 10k)")
    end = exact - sum(follow)
    if end < begin:
        raise ValueError(
            f"no steps are left for 'rest': what stands around it takes {_show(begin + sum(follow))} "
            f"of {_show(exact)} steps; shorten it"
        )
    return end, rounded


def _step(exact: Fraction, rounded: bool) -> float:
    if rounded:
        return floor(exact + Fraction(1, 2))
    return int(exact) if exact.denominator == 1 else float(exact)


def _show(steps: Fraction) -> str:
    return write_number(_step(steps, rounded=False))


def _first(item: _Item, to: float, alone: bool) -> str:
    """What to write for a first item that does not go to 1: a decay, or a warmup to a learning rate."""
    if alone or item.shape != "linear" or not to:
        return f"a first item starts at 0 and goes to 1; write 'from 1 to {write_number(to)}'"
    return (
        f"values are multiples of the peak, and a warmup goes 'to 1'; give {write_number(to)} as the peak (--lr), or "
        f"write 'from 0 to {write_number(to)}' (a decay: 'from 1 to {write_number(to)}')"
    )


def _ramps(items: list[_Item], joints: list[tuple[float, float]]) -> list[Ramp]:
    ramps: list[Ramp] = []
    vanished: float | None = None  # the end value of an item of length 0 that another follows
    for index, (item, (begin, duration)) in enumerate(zip(items, joints, strict=True)):
        if ramps and begin <= ramps[-1].begin:
            at = item.at.word if item.at is not None else ""
            raise item.error(
                f"it begins at {write_number(begin)}, not after what stands before it; begins must rise", at
            )
        to = item.values.get("to")
        if "from" in item.values:
            start = item.values["from"]
        elif vanished is not None:
            start = vanished
        elif ramps:
            start = ramps[-1].at(begin)
        elif item.shape == "hold":
            start = 1.0
        elif to == 1:
            start = 0.0
        else:
            raise item.error(_first(item, to or 0.0, alone=len(items) == 1))
        vanished = start if to is None else to
        if not duration and index + 1 < len(items) and joints[index + 1][0] == begin:
            continue
        vanished = None
        shape = "linear" if item.shape == "hold" else item.shape
        try:
            ramps.append(Ramp(begin, duration, start, start if to is None else to, shape))
        except ValueError as error:  # it names the ramp already
            raise ValueError(f"{error} ({item.words[0].place})") from None
    return ramps
