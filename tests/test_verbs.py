"""lehr.verbs through Schedule: each verb's laws (equal before the change, length, area), and what is refused."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import schedules, steps_of

import lehr
from lehr import Ramp, Schedule, parse

START = ", sampled at start"


def updates_before(at: int, schedule: Schedule) -> list[float]:
    return [step for step in {*range(0, at, 7), *range(max(0, at - 3), at), *steps_of(schedule)} if step <= at - 1]


# --- extend to a new total


@given(schedules(), st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=200)
def test_an_extended_schedule_is_equal_before_the_change_and_ends_at_the_new_total(schedule, at, more):
    to = max(math.ceil(schedule.total), at) + more
    extended = schedule.extend(to, at)
    assert all(extended(step) == schedule(step) for step in updates_before(at, schedule))
    assert extended.total == to and extended.sample == schedule.sample  # exactly, whatever the durations


@given(schedules(), st.floats(0, 3000), st.floats(0, 3000))
@settings(max_examples=100)
def test_an_extended_schedule_ends_at_a_broken_total_but_for_a_rounding(schedule, at, more):
    to = max(schedule.total, at) + more
    assert abs(schedule.extend(to, at).total - to) <= math.ulp(to)


def test_roundings_of_broken_durations_do_not_move_the_total():
    # was 100.00000000000001, and so longer than its run
    assert parse("linear 27.1 to 1, hold 1, sqrt 0.9 to 0").extend(100, at=15.2).total == 100


@given(schedules(whole=True), st.integers(0, 3000), st.integers(-3000, 3000))
@settings(max_examples=200)
def test_an_extended_schedule_of_whole_steps_has_whole_steps_or_says_that_there_is_no_room(schedule, at, more):
    to = schedule.total + more
    assume(to >= 0)
    try:
        extended = schedule.extend(to, at)
    except ValueError as error:
        assert (more < 0 or at > to) and ("no room" in str(error) or "write a" in str(error))  # noqa: PT017
    else:
        assert extended.total == to and all(isinstance(joint, int) for joint in extended.joints)
        assert all(extended(step) == schedule(step) for step in updates_before(at, schedule))
        # the last value does not change, unless a ramp cut short left it hanging on the value it was cut at
        hangs = schedule.ramps[-1].start_value == schedule.ramps[-1].end_value
        assert extended.ramps[-1].end_value == schedule.ramps[-1].end_value or hangs


@given(schedules(whole=True), st.integers(0, 3000), st.integers(1, 3000))
@settings(max_examples=100)
def test_the_tail_of_an_extended_schedule_starts_at_the_current_value(schedule, at, more):
    planned = {ramp.begin for ramp in schedule.ramps}
    assume(at not in planned and at < schedule.total)
    extended = schedule.extend(schedule.total + more, at)
    curve = Schedule(extended.ramps, "start")
    assert curve(at) == pytest.approx(Schedule(schedule.ramps, "start")(at), rel=1e-12, abs=1e-300)


@given(schedules(), st.integers(0, 3000))
@settings(max_examples=50)
def test_to_extend_a_schedule_to_its_own_total_changes_nothing(schedule, at):
    assert schedule.extend(schedule.total, at) == schedule


EXTENDED = [
    # a curve in charge goes on over what is left and the difference
    ("linear 100 to 1, cosine 900 to 0.1", 550, 1500, "linear 100 to 1, cosine 900 to 0.1, at 550 cosine 950 to 0.1"),
    ("linear 100 to 1, cosine 900 to 0.1", 100, 1500, "linear 100 to 1, cosine 1400 to 0.1"),
    ("linear 100 to 1, cosine 900 to 0.1", 0, 1500, "linear 600 to 1, cosine 900 to 0.1"),
    ("linear 1000 from 1 to 0", 500, 800, "linear 1000 from 1 to 0, at 500 linear 300 to 0"),
    # a level stretch is lengthened, and the cooldown keeps its length
    ("linear 100 to 1, hold 700, sqrt 200 to 0", 300, 2000, "linear 100 to 1, hold 1700, sqrt 200 to 0"),
    ("linear 100 to 1, hold 700, sqrt 200 to 0", 800, 2000, "linear 100 to 1, hold 1700, sqrt 200 to 0"),
    ("linear 100 to 1, hold 700, sqrt 200 to 0", 300, 500, "linear 100 to 1, hold 200, sqrt 200 to 0"),
    ("linear 100 to 1, at 800 sqrt 200 to 0", 100, 2000, "linear 100 to 1, at 1800 sqrt 200 to 0"),
    ("linear 100 to 1, at 800 sqrt 200 to 0", 300, 500, "linear 100 to 1, at 300 sqrt 200 to 0"),
    ("at 100 linear 100 from 0.5 to 1", 50, 300, "at 200 linear 100 from 0.5 to 1"),
    ("hold 900, at 500 sqrt 100 to 0", 300, 700, "hold 1000, at 600 sqrt 100 to 0"),
    # in the cooldown it is the cooldown that takes longer
    (
        "linear 100 to 1, hold 700, linear 200 to 0",
        900,
        1100,
        "linear 100 to 1, hold 700, linear 200 to 0, at 900 linear 200 to 0",
    ),
    # a curve entered late goes on as the plain one
    ("sqrt:0.25 100 from 1 to 0", 50, 200, "sqrt:0.25 100 from 1 to 0, at 50 sqrt 150 to 0"),
    ("cosine:0.3:2 100 from 1 to 0", 50, 200, "cosine:0.3:2 100 from 1 to 0, at 50 cosine:0:2 150 to 0"),
    ("sqrt:0.25 100 from 1 to 0", 0, 200, "sqrt:0.25 200 from 1 to 0"),
    # what is finished holds its last value
    ("cosine 100 from 1 to 0.1", 100, 150, "cosine 100 from 1 to 0.1, hold 50"),
    ("cosine 100 from 1 to 0.1", 120, 150, "cosine 100 from 1 to 0.1, hold 50"),
    ("hold 100", 120, 150, "hold 150"),
    ("hold 100, linear 0 to 0.5", 120, 150, "hold 100, hold 50 from 0.5"),
    ("at 100 linear 0 from 1 to 0.5", 120, 150, "hold 100, hold 50 from 0.5"),
    # a restart that comes next comes later, and is as long
    ("cosine 100 from 1 to 0, cosine 100 from 1 to 0", 100, 250, "cosine 100 from 1 to 0, cosine 150 from 1 to 0"),
    ("hold 30, hold 30 from 0.1", 30, 70, "hold 40, hold 30 from 0.1"),
    # what went on from where a curve was cut still does
    ("linear 1000 from 1 to 0, at 500 linear 100 to 0", 200, 1200, None),
]


@pytest.mark.parametrize(("text", "at", "to", "expected"), EXTENDED)
@pytest.mark.parametrize("ending", ["", START])
def test_which_ramp_takes_the_difference(text, at, to, expected, ending):
    extended = parse(text + ending).extend(to, at)
    if expected is not None:
        assert extended == parse(expected + ending)
    else:
        assert extended.ramps[2].start_value == extended.ramps[1].at(extended.ramps[2].begin)


@pytest.mark.parametrize(
    ("text", "at", "to", "message"),
    [
        ("cosine 1000 from 1 to 0", 500, 400, "to=400 lies before at=500"),
        (
            "cosine 1000 from 1 to 0",
            500,
            500,
            "has 500 updates left and cannot end 500 earlier; write a `to` above 500",
        ),
        ("hold 800, sqrt 200 to 0", 500, 600, "'sqrt 200 from 1 to 0' begins at 800, and there is no room"),
        ("cosine 1000 from 1 to 0", -1, 2000, "at is a number of completed updates >= 0, not -1"),
        ("cosine 1000 from 1 to 0", math.nan, 2000, "at is a number of completed updates >= 0, not nan"),
        ("cosine 1000 from 1 to 0", 10, math.nan, "to is the new total in updates, or the schedule to follow, not nan"),
        ("cosine 1000 from 1 to 0", 10, "2k", "to is the new total in updates, or the schedule to follow, not '2k'"),
        ("cosine 1000 from 1 to 0", 2000, 1500, "to=1500 lies before at=2000"),
    ],
)
def test_where_there_is_no_room_the_error_says_what_to_write(text, at, to, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        parse(text).extend(to, at)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


# --- extend along another schedule


@given(schedules(samples=("end",)), schedules(samples=("end",)), st.integers(0, 3000))
@settings(max_examples=200)
def test_a_followed_schedule_is_ours_before_the_change_and_the_other_from_its_next_ramp_on(ours, other, at):
    assume(at < other.total)
    try:
        followed = ours.extend(other, at)
    except ValueError as error:
        assert "the curve is at 0: " in str(error)  # noqa: PT017 - such as an exponential from there
        return
    if at:
        assert all(followed(step) == ours(step) for step in updates_before(at, ours))
    # where its next ramp begins, or its last has ended, all is as in the other
    taken_up = min([ramp.begin for ramp in other.ramps if ramp.begin > at], default=other.total)
    later = [step for step in steps_of(other) if step >= taken_up]
    assert [followed(step) for step in later] == [other(step) for step in later]
    assert followed.total == pytest.approx(other.total, rel=1e-12)


@given(schedules(), st.integers(0, 3000))
@settings(max_examples=50)
def test_to_follow_itself_changes_nothing(schedule, at):
    assume(at < schedule.total)
    assert all(schedule.extend(schedule, at)(step) == schedule(step) for step in steps_of(schedule))


@pytest.mark.parametrize(
    ("ours", "other", "at", "expected"),
    [
        ("cosine 100 from 1 to 0", "cosine 200 from 1 to 0", 50, "cosine 100 from 1 to 0, at 50 cosine 150 to 0"),
        ("hold 100", "hold 300, sqrt 100 to 0", 50, "hold 300, sqrt 100 to 0"),
        (
            "linear 10 to 1, hold 100",
            "linear 20 to 1, hold 300, sqrt 9 to 0",
            50,
            "linear 10 to 1, hold 310, sqrt 9 to 0",
        ),
        ("hold 100, sqrt 9 to 0", "hold 100, sqrt 9 to 0.1", 50, "hold 100, sqrt 9 to 0.1"),
        ("hold 100", "at 200 sqrt 9 from 1 to 0", 50, "hold 200, sqrt 9 to 0"),
        ("hold 100", "at 200 sqrt 9 from 0.5 to 0", 50, "hold 100, at 50 linear 150 to 0.5, sqrt 9 to 0"),
        ("hold 100", "linear 10 to 1, at 200 sqrt 9 to 0", 50, "hold 200, sqrt 9 to 0"),
        ("hold 100", "sqrt:0.5 200 from 1 to 0", 50, "hold 100, at 50 sqrt 150 to 0"),
        ("hold 100", "hold 50, sqrt:0.5 200 to 0", 50, "hold 100, at 50 sqrt:0.5 200 to 0"),
        ("cosine 100 from 1 to 0", "hold 9, cosine 9 to 0", 0, "hold 9, cosine 9 to 0"),
    ],
)
def test_the_tail_of_the_other_starts_from_our_value(ours, other, at, expected):
    assert parse(ours).extend(parse(other), at) == parse(expected)


def test_what_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match="ends at 10, and the run is at 20 already; write a longer one"):
        lehr.cosine(100).extend(lehr.cosine(10), at=20)
    with pytest.raises(ValueError, match="one schedule is sampled at the end of an update, the other at the start"):
        lehr.cosine(100).extend(lehr.cosine(200, sample="start"), at=20)
    with pytest.raises(ValueError, match=r"at=20 the curve is at 0: exponential 80 from 0 to 1: .* never reaches 0"):
        Schedule((Ramp(0, 10, 1, 0),)).extend(parse("exponential 100 from 2 to 1"), at=20)


# --- stretch, then, repeat: the same ramps in another time


@given(schedules(), st.sampled_from([0.5, 2.0, 4.0, 2.0**-10]))
@settings(max_examples=60)
def test_a_stretch_by_a_power_of_two_asks_the_same_curve_at_other_times(schedule, k):
    stretched = Schedule(schedule.stretch(k).ramps, "start")
    curve = Schedule(schedule.ramps, "start")
    assert all(stretched(k * time) == curve(time) for time in steps_of(schedule))
    assert stretched.total == k * schedule.total and stretched.area() == k * schedule.area()
    assert schedule.stretch(k).stretch(1 / k) == schedule


@given(schedules(whole=True), st.floats(0.01, 100))
@settings(max_examples=100)
def test_a_stretched_schedule_has_that_much_length_and_area(schedule, k):
    stretched = schedule.stretch(k)
    assert stretched.total == pytest.approx(k * schedule.total, rel=1e-15)
    assert stretched.area() == pytest.approx(k * schedule.area(), rel=1e-9)
    # what met still meets, to the bit
    met = [a.end == b.begin for a, b in zip(schedule.ramps, schedule.ramps[1:], strict=False)]
    assert [a.end == b.begin for a, b in zip(stretched.ramps, stretched.ramps[1:], strict=False)] == met


def test_a_stretch_by_a_fraction_puts_joints_between_steps_and_rounds_nothing():
    assert str(lehr.cosine(100, 9).stretch(0.5)) == "linear 4.5 to 1, cosine 45.5 to 0.1"
    assert lehr.cosine(100, 10).stretch(0.1).joints == (0, 1, 10)  # whole where the float product is


@given(schedules(samples=("end",), most=6), schedules(samples=("end",), most=6))
@settings(max_examples=200)
def test_a_schedule_then_another_is_the_one_and_then_the_other(one, other):
    both = one.then(other)
    assert all(both(step) == one(step) for step in steps_of(one) if step <= one.total - 1)
    assert both.total == pytest.approx(one.total + other.total, rel=1e-15)
    assert both.area() == pytest.approx(one.area() + other.area(), rel=1e-9)


@given(schedules(whole=True, most=6), schedules(whole=True, most=6))
@settings(max_examples=200)
def test_from_its_end_on_the_other_is_followed_to_the_bit(one, other):
    other = Schedule(other.ramps, one.sample)
    both = one.then(other)
    assert all(both(step) == one(step) for step in range(one.total))
    # whole times: a fractional one loses digits where the total is added to it
    assert all(both(one.total + step) == other(step) for step in steps_of(other) if step == int(step))


@given(schedules(whole=True, most=5), schedules(whole=True, most=5), schedules(whole=True, most=5))
@settings(max_examples=50)
def test_then_is_associative(a, b, c):
    b, c = Schedule(b.ramps, a.sample), Schedule(c.ramps, a.sample)
    left, right = a.then(b).then(c), a.then(b.then(c))
    assert all(left(step) == right(step) for step in {*steps_of(left), *steps_of(right)} if step == int(step))


@given(schedules(whole=True, most=5), st.integers(1, 5))
@settings(max_examples=100)
def test_repeated_is_then_and_then(schedule, n):
    if not schedule.total:
        assume(n > 1)
        with pytest.raises(ValueError, match="of no length cannot be repeated"):
            schedule.repeat(n)
        return
    repeated, again = schedule.repeat(n), schedule
    for _ in range(n - 1):
        again = again.then(schedule)
    assert repeated == again and repeated.total == n * schedule.total
    assert repeated.area() == pytest.approx(n * schedule.area(), rel=1e-12)
    assert repeated.update_sum() == pytest.approx(n * schedule.update_sum(), rel=1e-12)


def test_jumps_and_late_beginnings_at_the_joint():
    jump = parse("hold 10, linear 0 to 0.5")
    assert str(jump.then(lehr.linear(10, 2))) == "hold 10, linear 2 from 0 to 1, linear 8 to 0"
    assert str(parse("at 10 linear 0 from 1 to 0.5").then(lehr.constant(5))) == "hold 10, hold 5"
    late = parse("at 10 linear 5 from 0.5 to 0")
    assert str(lehr.constant(5).then(late)) == "hold 5, hold 10 from 0.5, linear 5 to 0"
    assert late.repeat(2)(20) == 0.5 and late.repeat(2).area() == 2 * late.area()
    assert jump.repeat(3)(29) == 1 and jump.repeat(3)(30) == 0.5


def test_a_million_repetitions_are_laid_out_in_one_pass():
    assert lehr.linear(2, 0, 0).repeat(20_000).total == 40_000


# --- rescale


@given(st.integers(2, 3000), st.data())
@settings(max_examples=60)
def test_a_rescaled_recipe_is_the_recipe_for_the_new_total(total, data):
    warmup = data.draw(st.integers(0, total - 1))
    new = data.draw(st.integers(warmup + 2, 9000))
    sample = data.draw(st.sampled_from(["end", "start"]))
    for recipe in (lehr.cosine, lehr.linear):
        planned = recipe(total, warmup, sample=sample)
        assert planned.rescale(new) == recipe(new, warmup, sample=sample)
        assert planned.rescale(new).rescale(total) == planned


def test_a_first_update_that_a_later_ramp_cuts_off_is_rescaled_too():
    assert parse("hold 1 from 0, at 0.02 hold 1").rescale(2).total == 2  # was 1.02


@given(schedules(), st.floats(0.5, 20))
@settings(max_examples=100)
def test_a_rescaled_schedule_ends_at_the_new_total_and_keeps_its_warmup(schedule, k):
    warmup = 0
    for step in range(math.floor(schedule.total)):
        if schedule.phase(step) != "warmup" or schedule.ramps[0].start_value == schedule.ramps[0].end_value:
            break  # a level ramp before the warmup, though no update may use it, makes it none at the beginning
        warmup = step + 1
    total = math.ceil(k * schedule.total)
    try:
        rescaled = schedule.rescale(total)
    except ValueError as error:
        assert "warmup" in str(error)  # noqa: PT017
        return
    assert rescaled.total == pytest.approx(total, rel=1e-15) and len(rescaled.ramps) == len(schedule.ramps)
    assert all(rescaled(step) == schedule(step) for step in range(warmup - 1))


def test_the_cooldown_of_a_rescaled_wsd_keeps_its_share():
    schedule = lehr.wsd(total=1000, warmup=100, decay=180)
    assert str(schedule.rescale(10_000)) == "linear 100 to 1, hold 7920, sqrt 1980 to 0"
    assert str(schedule.extend(10_000, at=500)) == "linear 100 to 1, hold 9720, sqrt 180 to 0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.stretch(0), "stretched by a finite number above 0, not 0"),
        (lambda s: s.stretch(math.inf), "stretched by a finite number above 0, not inf"),
        (lambda s: s.repeat(0), "a whole number of times >= 1, not 0"),
        (lambda s: s.repeat(1.5), "a whole number of times >= 1, not 1.5"),
        (lambda s: s.rescale(10), "total=10 leaves no room after a warmup of 10; write a longer one"),
        (lambda s: s.rescale(math.nan), "the new total is a number of updates, not nan"),
        (lambda s: parse("linear 10 to 1").rescale(20), "a warmup throughout has nothing to rescale; write stretch"),
        (lambda s: s.then(lehr.cosine(9, sample="start")), "write both with, or both without, ', sampled at start'"),
        (lambda s: s.area(5, 4), "an area goes from a time a >= 0 to a later one, not from 5 to 4"),
        (lambda s: s.area(0, math.inf), "an area goes from a time a >= 0 to a later one, not from 0 to inf"),
        (lambda s: s.update_sum(0, 1.5), "from a whole step >= 0 to a later one, not 0 to 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        change(lehr.cosine(100, 10))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_only_a_schedule_can_follow():
    with pytest.raises(TypeError, match="what follows a schedule is another one, not 'hold 10'"):
        lehr.cosine(10).then("hold 10")
