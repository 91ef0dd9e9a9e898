"""The words of a schedule's text, taken apart: each item with its shape, its durations and its values.

The grammar stands in `lehr.spec`, which makes ramps of the items.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lehr.clock import FIGURES, UNITS, Clock
from lehr.schedule import LATEST, Sample
from lehr.shapes import RESERVED, TABLE
from lehr.words import nearest, read_number

_JOINED = re.compile(rf"([\d_.]+[kMB]?)({'|'.join(unit + '?' for unit in UNITS)})")  # 10epochs
_SINGULAR = {unit.removesuffix("s"): unit for unit in UNITS}


class Word(str):
    """A word of the text that knows where it stands: "column 12", or "line 2, column 4" of a text of several lines."""

    place: str

    def __new__(cls, word: str, text: str, at: int) -> "Word":
        self = super().__new__(cls, word)
        before = text[:at].split("\n")
        column = f"column {len(before[-1]) + 1}"
        self.place = f"line {len(before)}, {column}" if "\n" in text.strip() else column
        return self


@dataclass(slots=True)
class Item:
    """A part of the text between two commas."""

    text: str
    words: tuple[Word, ...]
    shape: str  # "hold" too
    duration: "Duration"
    at: "Duration | None" = None
    values: dict[str, float] = field(default_factory=dict)  # "from" and "to", as far as given

    def error(self, message: str, word: str = "") -> ValueError:
        """The error of an item, with the place of the word at fault (the first word if none is named)."""
        at = word if isinstance(word, Word) else self.words[0]
        return ValueError(f"in {self.text!r}: {message} ({at.place})")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length in a unit, or a place after `at`, as written."""

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


def items_of(text: str) -> tuple[list[Item], Sample]:
    """The items of a text, and where its updates are sampled. Raises ValueError that names the word at fault."""
    if comma := re.search(r"\d,(?=\d{3}(\D|$))", text):
        place = Word(",", text, comma.start() + 1).place
        raise ValueError(
            f"the comma in {text[comma.start() : comma.start() + 5]!r} ({place}) ends an item; "
            f"write 1_000 or 1000, not 1,000"
        )
    parts: list[list[Word]] = [[]]
    commas: list[Word] = []
    for match in re.finditer(r",|[^\s,]+", text):
        if match[0] == ",":
            parts.append([])
            commas.append(Word(",", text, match.start()))
        else:
            parts[-1].append(Word(match[0], text, match.start()))
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


def _item(written: Sequence[Word]) -> Item:
    text, words = " ".join(written), list(written)
    item = Item(text, tuple(written), "", Duration("", Fraction(0), "steps"))
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


def _unexpected(word: str, item: Item) -> str:
    if word == "to" and item.shape == "hold":
        return "a hold stays where it is; write 'hold ... from VALUE' or a shape such as 'linear'"
    if word in item.values:
        return f"{word!r} stands twice; write it once"
    if word in RESERVED or word in TABLE:
        return f"{word!r} is out of place; is a comma missing before it?"
    if word in UNITS or word in _SINGULAR:
        return f"a share takes no unit; write '10%' or '1000 {_SINGULAR.get(word, word)}', not both"
    return f"{word!r} is not understood; write 'from VALUE' or 'to VALUE'{nearest(word, ['from', 'to', *UNITS])}"


def _take_duration(item: Item, words: list[Word]) -> Duration:
    """Take the first word, `at` or the shape's name, and the duration behind it."""
    before = words.pop(0)
    if not words or words[0] in ("from", "to"):
        raise item.error("a duration is missing, such as 2000, 2% or rest", before)
    word = words.pop(0)
    if word == "rest":
        return Duration(word, Fraction(0), "rest", word)
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
    return Duration(text, number, unit, word)


def _value(item: Item, key: Word, words: list[Word]) -> float:
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
