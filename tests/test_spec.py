"""lehr.spec: the text form, its laws, and what it says to a text that is none."""

import math
import random
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fitting, schedules, shapes, values

import lehr
from lehr import Clock, Ramp, Schedule, parse
from lehr.shapes import TABLE, register
from lehr.words import is_number, nearest, read_number, write_number

# --- what the plan shows


@pytest.mark.parametrize(
    ("text", "ramps"),
    [
        ("linear 2000 to 1, cosine 98000 to 0.1", [(0, 2000, 0, 1), (2000, 98000, 1, 0.1, "cosine")]),
        ("linear 2% to 1, hold rest, sqrt 20% to 0", [(0, 20, 0, 1), (20, 780, 1, 1), (800, 200, 1, 0, "sqrt")]),
        (
            "cosine 10k from 1 to 0, cosine 20k from 1 to 0",
            [(0, 10000, 1, 0, "cosine"), (10000, 20000, 1, 0, "cosine")],
        ),
        (
            "hold 30 from 1, hold 30 from 0.1, hold 30 from 0.01",
            [(0, 30, 1, 1), (30, 30, 0.1, 0.1), (60, 30, 0.01, 0.01)],
        ),
        ("linear 100 to 1, hold 900, at 800 linear 200 to 0", [(0, 100, 0, 1), (100, 900, 1, 1), (800, 200, 1, 0)]),
        (
            "linear 1B tokens to 1, hold rest, sqrt 10% to 0",
            [(0, 500, 0, 1), (500, 400, 1, 1), (900, 100, 1, 0, "sqrt")],
        ),
        ("hold 10", [(0, 10, 1, 1)]),
        ("hold 10 from 0.5", [(0, 10, 0.5, 0.5)]),
        ("at 5 linear 10 to 1", [(5, 10, 0, 1)]),
        (
            "poly:2 1_0 from 1e0 to .1, power:-0.5 1.5k to 5e-2",
            [(0, 10, 1, 0.1, "poly:2"), (10, 1500, 0.1, 0.05, "power:-0.5")],
        ),
        ("  linear\t10   to 1,cosine 10\nto 0 ", [(0, 10, 0, 1), (10, 10, 1, 0, "cosine")]),
        ("linear 10 to 1 from 0.5", [(0, 10, 0.5, 1)]),
    ],
)
def test_the_examples_of_the_grammar_are_read(text, ramps):
    clock = Clock(total_steps=1000, tokens_per_step=2_000_000)
    assert parse(text, clock) == Schedule(tuple(Ramp(*ramp) for ramp in ramps))


def test_sampled_at_start_is_the_last_word():
    schedule = parse("linear 2000 to 1, cosine 98000 to 0.1, sampled at start")
    assert schedule.sample == "start" and schedule == lehr.cosine(100_000, 2_000, sample="start")
    assert parse("hold 10, sampled at end").sample == parse("hold 10").sample == "end"


def test_a_cut_short_cosine_goes_on_from_where_it_is():
    text = "linear 100 to 1, cosine 900 to 0.1, at 800 linear 200 to 0"
    schedule = lehr.cosine(1000, 100).cooldown(at=800, over=200, shape="linear")
    assert parse(text) == schedule and str(schedule) == text


# --- laws


@given(schedules())
@settings(max_examples=150)
def test_parse_reads_back_what_str_writes(schedule):
    assert parse(str(schedule)) == schedule
    assert str(parse(str(schedule))) == str(schedule)


@given(shapes, st.integers(0, 10**7), st.floats(0, 2**40), values, values)
def test_every_number_is_read_back_to_the_bit(shape, begin, duration, start, end):
    schedule = Schedule((Ramp(begin, duration, start, end, fitting(shape, start, end)),))
    assert parse(str(schedule)) == schedule


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.integers(1, 10**7))
def test_shares_that_sum_to_the_whole_sum_to_the_run(parts, total):
    # written to three decimals, the last takes what is left of 100 %
    shares = [Fraction(round(100_000 * part / sum(parts)), 1000) for part in parts[:-1]]
    shares.append(100 - sum(shares))
    if shares[-1] < 0:
        return
    text = ", ".join(f"linear {float(share):.3f}% {'from 1 ' * (not i)}to 0.{i + 1}" for i, share in enumerate(shares))
    schedule = parse(text, total=total)
    assert schedule.total == total
    edges = [math.floor(sum(shares[:i]) * total / 100 + Fraction(1, 2)) for i in range(len(shares) + 1)]
    assert set(schedule.joints) <= set(edges) and all(type(joint) is int for joint in schedule.joints)


def test_three_thirds_are_the_whole():
    for total in range(1, 200):
        assert parse("hold 33.3% from 1, hold 33.3% from 0.5, hold 33.4% from 0.1", total=total).total == total


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_rest_takes_what_the_others_leave(before, rest, after):
    total = before + rest + after
    schedule = parse(f"linear {before} to 1, hold rest, linear {after} to 0", total=max(total, 1))
    assert schedule.total == max(total, 1)
    ramps = {(0, before, 0, 1), (before, max(total, 1) - before - after, 1, 1), (total - after, after, 1, 0)}
    assert {(r.begin, r.duration, r.start_value, r.end_value) for r in schedule.ramps if r.duration} <= ramps


# --- rest, at, and items of no length


def test_rest_ends_at_the_next_at_if_one_follows():
    expected = parse("linear 10 to 1, hold 70, linear 20 to 0.5, hold 30")
    assert parse("linear 10 to 1, hold rest, linear 20 to 0.5, at 100 hold 30") == expected


def test_rest_may_be_nothing():
    assert parse("linear 10 to 1, hold rest, linear 90 to 0", total=100) == lehr.linear(100, 10)


def test_an_item_of_no_length_vanishes_and_leaves_its_end_value():
    assert parse("linear 0.01% to 1, cosine rest to 0.1", total=100) == parse("cosine 100 from 1 to 0.1")
    assert parse("linear 10 to 1, hold 0 from 0.3, cosine 10 to 0") == parse("linear 10 to 1, cosine 10 from 0.3 to 0")
    assert parse("hold 0 from 0.5, hold 0, linear 10 to 0") == parse("linear 10 from 0.5 to 0")


def test_a_share_that_ends_before_a_broken_step_does_has_no_length():
    assert parse("hold 10.4, linear 0% to 0.5, hold 5", total=100) == parse("hold 10.4, hold 5 from 0.5")


def test_a_last_item_of_no_length_is_a_jump():
    schedule = parse("hold 10, linear 0 to 0.1")
    assert schedule.ramps[-1] == Ramp(10, 0, 1, 0.1) and [schedule(9), schedule(10)] == [1, 0.1]


def test_an_item_of_no_length_before_a_gap_is_a_jump_too():
    schedule = parse("hold 10, linear 0 to 0.5, at 20 linear 10 to 0")
    assert [schedule(step) for step in (9, 10, 19, 29)] == [1, 0.5, 0.5, 0]


# --- units


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ("250", 250),
        ("2.5", 2.5),
        ("1 step", 1),
        ("250 steps", 250),
        ("1k", 1000),
        ("25%", 250),
        ("0.05%", 1),
        ("0.04%", 0),
        ("1M tokens", 250),
        ("6_000 tokens", 2),
        ("5999 tokens", 1),
        ("100 samples", 25),
        ("1 sample", 0),
        ("2 samples", 1),
        ("2 epochs", 200),
        ("1 epoch", 100),
        ("0.125 epochs", 13),
        ("rest", 1000),
    ],
)
def test_every_unit_is_turned_into_steps_half_up(duration, steps):
    clock = Clock(total_steps=1000, tokens_per_step=4000, samples_per_step=4, steps_per_epoch=100)
    assert parse(f"linear {duration} to 1", clock).total == steps


def test_at_may_be_a_share_of_the_run_too():
    assert parse("hold 1000, at 80% linear 20% to 0", total=1000) == parse("hold 1000, at 800 linear 200 to 0")


def test_the_run_may_be_given_as_total_or_in_the_clock_but_not_as_two():
    text = "cosine 100% from 1 to 0"
    assert parse(text, total=50) == parse(text, Clock(total_steps=50)) == parse(text, Clock(50), total=50)
    assert parse("hold 1 epoch", Clock(steps_per_epoch=7), total=50).total == 7
    with pytest.raises(ValueError, match="total=50 and the clock's total_steps=60 differ; give one"):
        parse(text, Clock(60), total=50)
    with pytest.raises(TypeError, match=r"clock is a lehr\.Clock, not 50; for the run's length write total=50"):
        parse(text, 50)


def test_at_is_in_any_unit_too():
    clock = Clock(total_steps=1000, tokens_per_step=4000, samples_per_step=4, steps_per_epoch=100)
    for at in ("80%", "800 steps", "3.2M tokens", "3200 samples", "8 epochs"):
        assert parse(f"hold 1000, at {at} linear rest to 0", clock) == parse("hold 1000, at 800 linear 200 to 0")


def test_a_rest_before_an_at_in_another_unit_ends_on_a_whole_step():
    # the joint was rounded for what `at` began, but not for the rest before it: hold 23.3, at 33 linear 10 to 0
    text = "linear 10 to 1, hold rest, at 33.3% linear 10 to 0"
    assert str(parse(text, total=100)) == "linear 10 to 1, hold 23, linear 10 to 0"
    halves = parse("linear 10 to 1, hold rest, linear 3 to 0.5, at 33.5% linear 10 to 0", total=100)
    assert str(halves) == "linear 10 to 1, hold 21, linear 3 to 0.5, linear 10 to 0"


MIXED = Clock(total_steps=10_007, tokens_per_step=4096, samples_per_step=32, steps_per_epoch=Fraction(1234, 7))
# the exact length in steps of one of each unit
ONE = {
    "steps": Fraction(1),
    "tokens": Fraction(1, 4096),
    "samples": Fraction(1, 32),
    "epochs": Fraction(1234, 7),
    "%": Fraction(10_007, 100),
}
lengths = st.one_of(
    st.tuples(st.integers(0, 3000), st.just("steps")),
    st.tuples(st.integers(0, 10**7), st.just("tokens")),
    st.tuples(st.integers(0, 10**5), st.just("samples")),
    st.tuples(st.decimals(0, 9, places=3), st.sampled_from(["epochs", "%"])),
)


def half_up(steps):
    return math.floor(steps + Fraction(1, 2))


def written(number, unit):
    return f"{number}{'' if unit == '%' else ' '}{unit}"


@given(st.lists(lengths, min_size=1, max_size=8))
@settings(max_examples=200)
def test_a_text_of_mixed_units_has_its_joints_where_exact_arithmetic_has_them(durations):
    text = ", ".join(f"linear {written(*d)} {'from 1 ' * (not i)}to 0.{i + 1}" for i, d in enumerate(durations))
    edges = [Fraction(0)]
    for number, unit in durations:
        edges.append(edges[-1] + Fraction(number) * ONE[unit])
    edges = [half_up(edge) for edge in edges]
    spans = [(begin, end - begin) for begin, end in pairwise(edges)]
    kept = [span for span in spans[:-1] if span[1]] + spans[-1:]
    assert [(ramp.begin, ramp.duration) for ramp in parse(text, MIXED).ramps] == kept


@given(st.lists(lengths, max_size=3), st.lists(lengths, max_size=3))
@settings(max_examples=200)
def test_rest_among_mixed_units_takes_exactly_what_they_leave(before, after):
    def item(i, duration):
        return f"linear {written(*duration)} to 0.{i + 1}"

    exact = [sum((Fraction(n) * ONE[unit] for n, unit in part), Fraction(0)) for part in (before, after)]
    text = ", ".join(["hold 0", *map(item, range(3), before), "hold rest", *map(item, range(3, 6), after)])
    if sum(exact) > MIXED.total_steps:
        with pytest.raises(ValueError, match="no steps are left for 'rest'"):
            parse(text, MIXED)
        return
    schedule = parse(text, MIXED)
    assert schedule.total == MIXED.total_steps
    begin, end = half_up(exact[0]), half_up(MIXED.total_steps - exact[1])
    assert {begin, end} <= {0, *schedule.joints} and all(type(joint) is int for joint in schedule.joints)


@pytest.mark.parametrize("figure", ["total_steps", "tokens_per_step", "samples_per_step", "steps_per_epoch"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "10", True])
def test_a_clock_takes_numbers_above_zero(figure, value):
    with pytest.raises(ValueError, match=f"^{figure} is a number above 0, not "):
        Clock(**{figure: value})


def test_a_run_is_a_whole_number_of_updates():
    with pytest.raises(ValueError, match=r"total_steps is a whole number of updates, not 10\.5"):
        parse("hold rest", total=10.5)


# --- what is refused, each in one line that names the word


REFUSED = [
    ("", "the schedule is empty; write for example 'linear 2% to 1, cosine rest to 0.1'"),
    (" \n ", "the schedule is empty"),
    (",", "item 1 of ',' is empty; write one comma between two items"),
    ("hold 5,", "item 2 of 'hold 5,' is empty; write one comma between two items"),
    ("hold 5,,hold 6 from 1", "item 2 of 'hold 5,,hold 6 from 1' is empty"),
    ("linear 1,000 to 1", "the comma in '1,000' (column 9) ends an item; write 1_000 or 1000, not 1,000"),
    ("cosin 10 to 1", "in 'cosin 10 to 1': unknown shape 'cosin'; did you mean 'cosine'?"),
    ("xyzzy 10 to 1", "in 'xyzzy 10 to 1': unknown shape 'xyzzy'; known are hold, linear, cosine, sqrt"),
    ("10 to 1", "in '10 to 1': unknown shape '10'"),
    ("cosine 10k to 0", "in 'cosine 10k to 0': a first item starts at 0 and goes to 1; write 'from 1 to 0'"),
    ("linear 10 to 0.5", "in 'linear 10 to 0.5': a first item starts at 0 and goes to 1; write 'from 1 to 0.5'"),
    ("linear", "in 'linear': a duration is missing, such as 2000, 2% or rest"),
    ("linear to 1", "in 'linear to 1': a duration is missing"),
    ("linear 10", "in 'linear 10': where does it go? write 'linear 10 to 0'"),
    ("linear 10 from 1", "in 'linear 10 from 1': where does it go? write 'linear 10 from 1 to 0'"),
    ("linear 10 to", "in 'linear 10 to': a value is missing after 'to', such as 'to 0.1'"),
    ("linear 10 from", "in 'linear 10 from': a value is missing after 'from', such as 'from 0.1'"),
    ("linear 10 to 1 to 2", "in 'linear 10 to 1 to 2': 'to' stands twice; write it once"),
    ("linear 10 fro 1 to 0", "in 'linear 10 fro 1 to 0': 'fro' is not understood"),
    ("linear 10 to 1 cosine 10 to 0", "'cosine' is out of place; is a comma missing before it?"),
    ("hold 10 to 1", "in 'hold 10 to 1': a hold stays where it is; write 'hold ... from VALUE' or a shape"),
    ("linear 2m to 1", "in 'linear 2m to 1': the duration '2m' has the unknown suffix 'm'; write M (million)"),
    ("linear 2K to 1", "the duration '2K' has the unknown suffix 'K'; write k (thousand)"),
    ("linear 2b to 1", "the duration '2b' has the unknown suffix 'b'; write B (billion)"),
    ("linear 2x to 1", "the duration '2x' has the unknown suffix 'x'; write k, M or B"),
    ("linear ten to 1", "the duration 'ten' is not a number; write digits such as 2000, 10_000, 0.1, 1e-4 or 10k"),
    ("linear ٣ to 1", "the duration '٣' is not a number; write it in the digits 0 to 9"),
    ("linear nan to 1", "the duration 'nan' is not a number"),
    ("linear -10 to 1", "in 'linear -10 to 1': the duration '-10' is negative; write a number >= 0"),
    ("linear 1e30 to 1", "the duration '1e30' is beyond what a run can last"),
    ("linear 1e999999999 to 1", "the duration '1e999999999' is beyond what a step or a value can be"),
    # zeros before the exponent once hid its size, and the number was built: it never came to an end
    ("linear 1e00000000999999999 to 1", "the duration '1e00000000999999999' is beyond what a step or a value can be"),
    (f"linear {'9' * 5000} to 1", "is beyond what a step or a value can be"),
    ("linear 10 to 50%", "in 'linear 10 to 50%': values are plain numbers; write 'to 0.1' for 10%, not '50%'"),
    ("linear 10 to -1", "in 'linear 10 to -1': the value '-1' is negative; write a number >= 0"),
    ("linear 10 to 1k", "in 'linear 10 to 1k': the value '1k' has a suffix; write the value out"),
    ("linear 10 to one", "in 'linear 10 to one': the value 'one' is not a number"),
    ("linear 10 to inf", "in 'linear 10 to inf': the value 'inf' is not a number"),
    ("linear 10 from 1e400 to 1", "the value '1e400' is beyond what a float can hold"),
    ("linear 10% to 1", "in 'linear 10% to 1': '10%' is a share of the run; say how long it is: total=10000"),
    ("hold rest", "in 'hold rest': 'rest' needs the run's length; say how long it is: total=10000"),
    (
        "hold 1M tokens",
        "in 'hold 1M tokens': '1M tokens' needs tokens_per_step; write clock=Clock(tokens_per_step=...)",
    ),
    ("hold 5 samples", "in 'hold 5 samples': '5 samples' needs samples_per_step"),
    (
        "hold 5 epochs",
        "'5 epochs' needs steps_per_epoch; write clock=Clock(steps_per_epoch=...) (--steps-per-epoch N), "
        "the updates of one pass over the data, whose length lehr does not know",
    ),
    ("linear 10epochs to 1", "in 'linear 10epochs to 1': the duration '10epochs' lacks a space; write '10 epochs'"),
    ("linear 1.5Mtokens to 1", "the duration '1.5Mtokens' lacks a space; write '1.5M tokens'"),
    ("hold 5 token", "in 'hold 5 token': '5 token' needs tokens_per_step"),
    ("at", "in 'at': a duration is missing"),
    ("at 5", "in 'at 5': a shape is missing, such as 'linear 200 to 0'"),
    ("at rest hold 5", "in 'at rest hold 5': 'at' takes a number of steps, such as 'at 800'"),
    ("hold 5, at 5% hold 5", "in 'at 5% hold 5': '5%' is a share of the run"),
    ("hold 10, at 0 hold 5", "in 'at 0 hold 5': it begins at 0, not after what stands before it; begins must rise"),
    ("at 5 hold 10, at 3 hold 5", "in 'at 3 hold 5': it begins at 3, not after what stands before it"),
    ("sampled at start", "unknown ending 'sampled at start'; write ', sampled at start' after the last item"),
    ("hold 5, sampled at noon", "unknown ending 'sampled at noon'; write ', sampled at start' after the last item"),
    ("hold 5, sampled at start, hold 6", "in 'sampled at start': unknown shape 'sampled'"),
    ("poly 10 from 1 to 0", "shape 'poly' has 0 parameters; write poly:<power>"),
    ("poly:x 10 from 1 to 0", "shape 'poly:x' has the parameter 'x', which is not a number"),
    ("poly:0 10 from 1 to 0", "poly:0 needs a power above 0; write poly:2"),
    ("hold 5, exponential 10 to 0", "exponential 10 from 1 to 0: this curve never reaches 0"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:40] or "nothing" for text, _ in REFUSED])
def test_a_text_that_is_no_schedule_is_refused_in_one_line_that_names_the_word(text, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        parse(text)
    assert message in str(refusal.value) and len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("lineer 10 to 1", "column 1"),
        ("linear 2000 to 1, cosin 98000 to 0.1", "column 19"),
        ("linear 2000 to 1, cosine 98000 too 0.1", "column 32"),
        ("linear 2000 to 1, cosine ninety to 0.1", "column 26"),
        ("linear 2000 to 1, cosine 98000 to a tenth", "column 35"),
        ("linear 2000 to 1,    cosine 98000 to 10%", "column 38"),
        ("linear 2000 to 1, cosine 98000 to -1", "column 35"),
        ("linear 2000 to 1, cosine -1 to 0", "column 26"),
        ("linear 2000 to 1, cosine", "column 19"),
        ("linear 2000 to 1, cosine 98000", "column 26"),
        ("linear 2000 to 1, cosine 98000 to", "column 32"),
        ("linear 2000 to 1, at rest hold 5", "column 22"),
        ("linear 2000 to 1, at 800", "column 22"),
        ("linear 2000 to 1, at 0 hold 5", "column 22"),
        ("linear 2000 to 1, cosine 5 epochs to 0", "column 26"),
        ("linear 2000 to 1, hold 5, hold rest", "column 32"),
        ("linear 2000 to 1, hold 5%, hold 5", "column 24"),
        ("linear 2000 to 1, at 5% hold 5", "column 22"),
        ("linear 2000 to 1, exponential 10 to 0", "column 19"),
        ("linear 2000 to 1, poly 10 to 0", "column 19"),
        ("linear 2000 to 1, sampled at noon", "column 19"),
        ("linear 1,000 to 1", "column 9"),
        ("linear 2000 to 1,\n  cosine 98000 too 0.1", "line 2, column 16"),
        ("linear 2000 to 1,\n  cosine 98_000,000 to 0.1", "line 2, column 16"),
    ],
)
def test_an_error_says_where_the_word_at_fault_stands(text, place):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        parse(text)
    assert f"({place})" in str(refusal.value) and str(refusal.value).count("column") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hold rest, hold rest from 0.5", "in 'hold rest from 0.5': 'rest' stands twice in one schedule"),
        (
            "linear 20 to 1, hold rest",
            "in 'hold rest': no steps are left for 'rest': what stands around it takes 20 of 10",
        ),
        (
            "hold rest, linear 11 to 0",
            "in 'hold rest': no steps are left for 'rest': what stands around it takes 11 of 10",
        ),
        ("linear 8 to 1, hold rest, at 5 hold 1", "what stands around it takes 8 of 5 steps; shorten it"),
    ],
)
def test_rest_that_has_no_room_is_refused(text, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        parse(text, total=10)
    assert message in str(refusal.value) and len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("text", [None, 3, b"hold 5", ["hold 5"]])
def test_what_is_no_text_is_a_type_error(text):
    with pytest.raises(TypeError, match="a schedule's text is a string, not"):
        parse(text)


def test_a_shape_of_ones_own_may_begin_with_sampled():
    before = dict(TABLE)
    try:
        register("sampled_curve", TABLE["cosine"])
        assert parse("linear 5 to 1, sampled_curve 5 to 0")(9) == 0
    finally:
        TABLE.clear()
        TABLE.update(before)


# --- texts that nobody thought of


WORDS = [*TABLE, "poly:2", "poly:0", "power:-1", "power:1e-9", "hold", "at", "from", "to", "rest", "sampled", "start"]
WORDS += [
    "end",
    "0",
    "1",
    "0.1",
    "10",
    "100",
    "2k",
    "1M",
    "3B",
    "50%",
    "100%",
    "0.0%",
    "-1",
    "1e-400",
    "1e308",
    "1e999",
]
WORDS += [
    "steps",
    "tokens",
    "samples",
    "epoch",
    "nan",
    "inf",
    "1_0",
    "_",
    ".",
    "1,000",
    ":",
    "%",
    "\n",
    "٣",
    "\x00",
    "é",
]
SENSIBLE = ["linear 10 to 1", "hold rest", "cosine 10% to 0.1", "at 50 linear 5 to 0", "hold 5", "sqrt 1 epoch to 0.5"]
CLOCK = Clock(total_steps=100, tokens_per_step=3, samples_per_step=7, steps_per_epoch=11)


def refuses_in_one_line_or_round_trips(text: str) -> bool:
    """Whether the text was a schedule; any error but a ValueError of one line is a failure."""
    refusal = ""
    try:
        schedule = parse(text, CLOCK)
    except ValueError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1 if refusal else parse(str(schedule)) == schedule, text
    return not refusal


def test_thousands_of_texts_of_the_grammars_words_are_read_or_refused():
    draw = random.Random(0)
    accepted = 0
    for _ in range(20_000):
        items = [
            draw.choice(SENSIBLE) if draw.random() < 0.5 else " ".join(draw.choices(WORDS, k=draw.randint(1, 7)))
            for _ in range(draw.randint(1, 4))
        ]
        accepted += refuses_in_one_line_or_round_trips(", ".join(items))
    assert 500 < accepted < 19_500  # or the texts would try only one half of the law


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_at_all_is_read_or_refused(text):
    refuses_in_one_line_or_round_trips(text)


@given(st.sampled_from(SENSIBLE), st.integers(0, 30), st.text(max_size=3))
@settings(max_examples=300)
def test_a_slip_of_the_pen_is_read_or_refused(text, place, slip):
    refuses_in_one_line_or_round_trips(text[:place] + slip + text[place + 1 :])


# --- numbers as people write them (lehr.words)


@given(st.floats(0, allow_infinity=False, allow_nan=False))
def test_a_written_number_reads_back_to_the_bit(number):
    assert float(read_number(write_number(number))) == number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10_000", 10_000),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1e-4", Fraction(1, 10_000)),
        ("1e-0004", Fraction(1, 10_000)),
        ("0e0", 0),
        ("1E3", 1000),
        ("1.5k", 1500),
        ("2M", 2_000_000),
        ("3B", 3_000_000_000),
        ("1e+2k", 100_000),
    ],
)
def test_numbers_are_read_exactly(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize(
    "text", ["", ".", "e5", "k", "1__0", "_1", "1_.5", "+1", "-1", "0x10", "1e", "1 0", "½", "1,0"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a number|unknown suffix|is negative"):
        read_number(text)


def test_true_is_no_number_and_the_nearest_name_is_only_given_when_it_is_near():
    assert is_number(1.5) and not is_number(True) and not is_number("1")
    assert nearest("cosin", TABLE) == "; did you mean 'cosine'?" and nearest("xyzzy", TABLE) == ""


@pytest.mark.parametrize(("text", "column"), [("linear 5 to 1,", 14), (", linear 5 to 1", 1), ("hold 1,, hold 2", 7)])
def test_an_empty_item_is_told_by_its_comma(text, column):
    with pytest.raises(ValueError, match=rf"is empty; write one comma between two items \(column {column}\)"):
        parse(text)
