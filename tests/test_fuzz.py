"""Whatever is written: a schedule, or one line that says why not. Never another exception, a hang, a wrong acceptance.

The texts are held against a grammar written a second time, as one regular expression; the constructors against what
every schedule promises of its values.
"""

import math
import re
from inspect import signature

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SHAPES

import lehr
from lehr import Clock, Ramp, Schedule
from lehr.shapes import RESERVED, TABLE

THOUSANDS = settings(max_examples=2000)

# --- texts


NUMBER = r"(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?"
DURATION = rf"(?:rest|{NUMBER}%|{NUMBER}[kMB]?(?: (?:step|token|sample|epoch)s?)?)"
SHAPE = rf"(?!(?:{'|'.join(RESERVED)})\b)[A-Za-z_][A-Za-z0-9_]*(?::-?{NUMBER}[kMB]?)*"
FROM, TO = rf" from {NUMBER}", rf" to {NUMBER}"
ITEM = rf"(?:at (?!rest){DURATION} )?(?:hold {DURATION}(?:{FROM})?|{SHAPE} {DURATION}(?:(?:{FROM})?{TO}|{TO}{FROM}))"
GRAMMAR = re.compile(rf"{ITEM}(?:,{ITEM})*(?:,sampled at (?:start|end))?")

WORDS = (
    *TABLE,
    *("poly:2", "power:-1", "hold", "at", "from", "to", "rest", "sampled at start", "steps", "tokens", "epoch"),
    *("0", "1", "0.1", "10", "2k", "1M", "50%", "100%", "-1", "1e-400", "1e999", "nan", "inf", "1_0", "__", ".", "%"),
    *("LINEAR", "2m", "10%%", "1,000", ":", "to1", "\n", "\u0663", "é", "\x00", ";"),
)
words = st.sampled_from(WORDS)
numbers = st.sampled_from(
    ["0", "1", "0.1", "10", "100", "5%", "50%", "2k", "0.5", "1e1", "7 epochs", "30 tokens", "rest"]
)
items = st.builds(
    "{}{} {}{} to {}".format,
    st.sampled_from(["", "", "at 10 ", "at 50% "]),
    st.sampled_from(SHAPES),
    numbers,
    st.sampled_from(["", "", " from 1", " from 0.5"]),
    st.sampled_from(["0", "1", "0.1"]),
)
holds = st.builds("hold {}{}".format, numbers, st.sampled_from(["", " from 1"]))
garbage = st.lists(words, min_size=1, max_size=6).map(" ".join)
ending = st.sampled_from(["", "", ", sampled at start", ", sampled at end", ", sampled"])
texts = st.tuples(st.lists(items | items | holds | garbage, min_size=1, max_size=4).map(", ".join), ending).map("".join)
CLOCK = Clock(total_steps=100, tokens_per_step=3, samples_per_step=7, steps_per_epoch=11)


def made(refusals, make, *arguments, **named_arguments):
    """What `make` makes, or None if it says in one line why not; any other exception is a failure."""
    refusal = ""
    try:
        return make(*arguments, **named_arguments)
    except refusals as error:
        refusal = str(error)
    assert refusal and "\n" not in refusal
    return None


@THOUSANDS
@given(texts)
def test_a_text_is_a_schedule_only_if_the_grammar_has_it(text):
    schedule = made(ValueError, lehr.parse, text, CLOCK)
    if schedule is None:
        return
    canonical = ",".join(" ".join(part.split()) for part in text.split(","))
    assert GRAMMAR.fullmatch(canonical), f"{text!r} was accepted"
    promises(schedule)


@pytest.mark.parametrize("text", ["linear 10 to 1, cosine 90 to 0.1", "at 5 hold rest from .5, poly:2 10% to 0"])
def test_the_grammar_of_this_file_has_good_texts(text):
    assert GRAMMAR.fullmatch(",".join(part.strip() for part in text.split(",")))
    promises(lehr.parse(text, CLOCK))


# --- constructors


ODD = (
    *(0, 1, 2, 10, 0.1, 0.5, 1.5, -1, -0.0, 1e-320, 1e308, 2**62, 2**63, 10**400, math.nan, math.inf, -math.inf),
    *(None, True, "", "10", "linear", [], {}, (1,), 1j, np.float32(0.3), np.int64(7), np.nan, np.array([1.0]), b"1"),
)
odd = st.sampled_from(ODD)
plausible = st.integers(0, 300) | st.floats(0, 2) | odd
named = (
    st.sampled_from([*SHAPES, "lineer", "poly", "poly:0", "poly:2:3", "cosine:1", "tanh:1:1", "hold", "", "rex:1", ":"])
    | odd
)
ramps = st.tuples(plausible, plausible, plausible, plausible, named)


def promises(schedule: Schedule) -> None:
    """What every schedule promises: values in range at any step, a text and data that read back to it."""
    assert isinstance(schedule, Schedule) and schedule.ramps
    ends = [value for ramp in schedule.ramps for value in (ramp.start_value, ramp.end_value)]
    for step in (0, 1, 7, 49.5, 100, int(schedule.total), schedule.total + 1, 2**70):
        assert min(ends) <= schedule(step) <= max(ends) < math.inf
    assert lehr.parse(str(schedule)) == schedule and lehr.from_dict(lehr.to_dict(schedule)) == schedule


def refuses_or_promises(make, *arguments, **named_arguments) -> bool:
    schedule = made((ValueError, TypeError), make, *arguments, **named_arguments)
    if schedule is not None:
        promises(schedule)
    return schedule is not None


@pytest.mark.parametrize(
    ("begin", "step"), [(2**62, 2.0**62), (2**53, 2.0**53), (1, 1e-320), (1, 5e-324), (2**60 + 1, 2.0**60)]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_curve_is_never_asked_at_its_begin(begin, step, shape):
    """Where the share of the time that has gone is too small for a float: a logarithm, say, has no value at 0."""
    for ends in ((1, 0.5), (0.5, 1)):
        schedule = Schedule((Ramp(begin, 1e6, *ends, shape),))
        assert schedule(step) == schedule(int(step)) and 0.5 <= schedule(np.float64(step)) <= 1


@THOUSANDS
@given(ramps)
def test_a_ramp_is_a_good_one_or_refused(arguments):
    refuses_or_promises(lambda: Schedule((Ramp(*arguments),)))


good = st.builds(Ramp, st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), st.floats(0, 1))


@THOUSANDS
@given(st.lists(good | odd, max_size=4) | odd, st.sampled_from(["end", "start"]) | odd)
def test_a_row_of_ramps_is_a_schedule_or_refused(row, sample):
    accepted = refuses_or_promises(Schedule, row, sample)
    if accepted:
        begins = [ramp.begin for ramp in row]
        assert begins == sorted(set(begins)) and sample in ("end", "start")


data = st.recursive(
    odd,
    lambda more: (
        st.lists(more, max_size=3)
        | st.dictionaries(st.sampled_from(["ramps", "sample", "begin", "duration", "shape", "x", 1]), more, max_size=3)
    ),
)
keys = ("begin", "duration", "start_value", "end_value", "shape")
as_data = ramps.map(lambda row: dict(zip(keys, row, strict=True)))
whole = st.fixed_dictionaries(
    {"ramps": st.lists(as_data, max_size=2)}, optional={"sample": odd | st.just("start"), "x": odd}
)


@THOUSANDS
@given(whole | data)
def test_plain_data_is_a_schedule_or_refused(value):
    refuses_or_promises(lehr.from_dict, value)


NAMES = [
    *("constant", "cosine", "exponential", "half_cosine", "inverse_sqrt", "linear", "multistep", "noam", "one_cycle"),
    *(
        "polynomial",
        "power",
        "rex",
        "sgdr",
        "step",
        "trapezoid",
        "untuned_exponential",
        "untuned_linear",
        "wsd",
        "wsd_s",
    ),
]
milestones = st.lists(st.integers(0, 300) | odd, max_size=3)
counts = st.integers(0, 300) | st.integers(0, 300) | odd
GIVEN = {"sample": st.sampled_from(["end", "start"]) | odd, "shape": named, "milestones": milestones | odd}
GIVEN |= {name: st.integers(0, 6) | odd for name in ("cycle", "cycles")}
GIVEN |= dict.fromkeys(("total", "warmup", "decay", "cooldown", "every", "timescale"), counts)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=400)
@given(draw=st.data())
def test_a_recipe_gives_a_schedule_or_refuses(name, draw):
    recipe = getattr(lehr, name)
    arguments = {
        key: draw.draw(GIVEN.get(key, plausible), label=key)
        for key, parameter in signature(recipe).parameters.items()
        if parameter.default is parameter.empty or draw.draw(st.booleans())
    }
    refuses_or_promises(recipe, **arguments)


def test_every_recipe_is_among_those_tried():
    assert {
        name
        for name in lehr.__all__
        if getattr(getattr(lehr, name), "__module__", "") in ("lehr.recipes", "lehr.cycles")
    } == set(NAMES)


@THOUSANDS
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(Clock.__match_args__, plausible)))
def test_a_clock_is_a_good_one_or_refused(figures):
    clock = made(ValueError, Clock, **figures)
    assert clock is None or all(getattr(clock, key) is None or 0 < getattr(clock, key) <= 2**62 for key in figures)
