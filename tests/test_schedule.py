"""lehr.schedule: the value of each update, the laws of the value, and the schedule as plain data."""

import copy
import dataclasses
import hashlib
import json
import math
import pickle
import weakref
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import positive, schedules, steps_of

import lehr
from lehr import Ramp, Schedule, from_dict, parse, to_dict

EPS = 2.0**-52


# --- which ramp is in charge, and which of its values an update uses


@pytest.mark.parametrize(
    ("sample", "expected"),
    [("end", [0.5, 1, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038, 0, 0, 0]), ("start", [0, 0.5, 1, 0.962])],
)
def test_the_table_of_the_plan(sample, expected):
    schedule = lehr.cosine(total=10, warmup=2, final=0, sample=sample)
    assert [round(schedule(step), 3) for step in range(len(expected))] == expected
    if sample == "start":
        assert round(schedule(9), 3) == 0.038 and schedule(10) == schedule(11) == 0


def test_the_newest_ramp_that_has_begun_is_in_charge_and_a_finished_one_holds_its_end():
    schedule = Schedule((Ramp(0, 4, 0, 1), Ramp(6, 100, 0.5, 0.5), Ramp(8, 2, 0.2, 0.1)))
    assert [schedule(step) for step in range(12)] == [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5, 0.15000000000000002] + 3 * [
        0.1
    ]


@pytest.mark.parametrize(("sample", "at_the_joint"), [("end", 1.0), ("start", 0.25)])
def test_at_a_jump_the_ramp_that_ends_or_the_one_that_begins_is_in_charge(sample, at_the_joint):
    schedule = Schedule((Ramp(0, 10, 1, 1), Ramp(10, 10, 0.25, 0.25)), sample)
    joint = 9 if sample == "end" else 10  # the update that samples the curve at time 10
    assert schedule(joint - 1) == 1 and schedule(joint) == at_the_joint and schedule(joint + 1) == 0.25


@pytest.mark.parametrize("sample", ["end", "start"])
def test_an_item_of_n_updates_lasts_n_updates(sample):
    schedule = Schedule((Ramp(0, 30, 1, 1), Ramp(30, 30, 0.1, 0.1), Ramp(60, 30, 0.01, 0.01)), sample)
    assert [schedule(step) for step in range(90)] == [1.0] * 30 + [0.1] * 30 + [0.01] * 30


def test_a_ramp_of_no_length_is_a_jump():
    for sample, jump in (("end", 10), ("start", 10)):
        schedule = Schedule((Ramp(0, 10, 0.5, 0.5), Ramp(10, 0, 0.5, 2)), sample)
        assert [schedule(step) for step in (0, jump - 1, jump, jump + 1)] == [0.5, 0.5, 2, 2]


def test_before_the_first_ramp_the_curve_is_at_its_start_value():
    schedule = Schedule((Ramp(5, 10, 0.25, 1),))
    assert [schedule(step) for step in (0, 4)] == [0.25, 0.25] and schedule(5) == 0.25 + 0.075


def test_past_the_end_the_last_value_is_held_for_ever():
    schedule = lehr.cosine(total=10, warmup=2, final=0.1)
    assert all(schedule(step) == 0.1 for step in (9, 10, 11, 10**6, 2**62, 1e300, math.inf))


def test_a_ramp_cut_short_hands_over_at_its_value_there():
    schedule = parse("linear 100 to 1, cosine 900 to 0.1, at 800 linear 200 to 0")
    whole = parse("linear 100 to 1, cosine 900 to 0.1")
    assert schedule(799) == whole(799) == schedule.ramps[2].start_value
    assert schedule(899) == pytest.approx(whole(799) / 2) and schedule(999) == 0


def test_fractional_begins_and_durations_are_sampled_where_they_stand():
    schedule = Schedule((Ramp(0, 2.5, 0, 1), Ramp(2.5, 2, 1, 0)))
    assert [schedule(step) for step in range(5)] == [0.4, 0.8, 0.75, 0.25, 0]
    assert [dataclasses.replace(schedule, sample="start")(step) for step in range(5)] == [0, 0.4, 0.8, 0.75, 0.25]


@pytest.mark.parametrize("step", [-1, -1e-9, math.nan, -math.inf, Fraction(-1, 3)])
@pytest.mark.parametrize("ramps", [1, 12])
def test_a_step_that_is_negative_or_nan_is_an_error(step, ramps):
    for sample in ("end", "start"):
        schedule = Schedule(tuple(Ramp(i, 1, 0, 1) for i in range(ramps)), sample)
        with pytest.raises(ValueError, match="a step is a number >= 0, not "):
            schedule(step)


def test_many_ramps_are_looked_up_as_few_are():
    # beyond ten ramps a bisection takes the loop's place
    ramps = tuple(Ramp(3 * i, 2, i % 3, (i + 1) % 4, "cosine") for i in range(40))
    for sample in ("end", "start"):
        many = Schedule(ramps, sample)
        for step in steps_of(many):
            time = step + (sample == "end")
            begun = [r for r in ramps if (r.begin < time if sample == "end" else r.begin <= time)]
            assert many(step) == Schedule((begun or ramps)[-1:], sample)(step)


# --- laws


@given(schedules(), st.sampled_from([2.0, 0.5, 2.0**-20, 1024]))
@settings(max_examples=60)
def test_scaling_by_a_power_of_two_scales_every_value_exactly(schedule, k):
    scaled = k * schedule
    assert all(scaled(step) == k * schedule(step) for step in steps_of(schedule))


@given(schedules(), positive)
@settings(max_examples=60)
def test_scaling_scales_every_value_to_within_four_roundings(schedule, k):
    scaled = schedule * k
    # value**p multiplies a rounding by 1/p on its way back; the law is for the other shapes and |p| >= 1
    soft = any(ramp.shape in ("power:-0.51", "power:0.5") for ramp in schedule.ramps)
    for step in steps_of(schedule):
        assert abs(scaled(step) - k * schedule(step)) <= (8 if soft else 4) * EPS * k * schedule(step)


@given(schedules())
@settings(max_examples=60)
def test_every_value_is_finite_and_between_the_least_and_the_greatest_end(schedule):
    ends = [value for ramp in schedule.ramps for value in (ramp.start_value, ramp.end_value)]
    for step in steps_of(schedule):
        value = schedule(step)
        assert type(value) is float and 0 <= min(ends) <= value <= max(ends) < math.inf


@given(schedules())
@settings(max_examples=60)
def test_the_peak_is_the_greatest_value_of_the_curve(schedule):
    curve = dataclasses.replace(schedule, sample="start")
    seen = [schedule(step) for step in steps_of(schedule)]
    # just before a jump the curve is as high as its limit there, which no sample of it need be
    limits = [before.at(after.begin) for before, after in zip(schedule.ramps, schedule.ramps[1:], strict=False)]
    assert schedule.peak >= max(seen)
    assert schedule.peak == max([*(curve(joint) for joint in {0, *schedule.joints}), *limits])


def test_the_start_of_a_jump_is_a_value_of_the_curve_only_before_the_first_ramp():
    assert Schedule((Ramp(0, 5, 1, 1), Ramp(5, 0, 9, 0.5))).peak == 1  # the curve never was at 9
    assert Schedule((Ramp(0, 0, 9, 1),)).peak == 1
    assert Schedule((Ramp(5, 0, 9, 1),)).peak == Schedule((Ramp(5, 0, 9, 1),))(4) == 9


@given(schedules())
@settings(max_examples=60)
def test_joints_are_the_only_steps_at_which_the_curve_may_break(schedule):
    assert list(schedule.joints) == sorted(set(schedule.joints)) and schedule.joints[-1] == schedule.total
    assert {ramp.begin for ramp in schedule.ramps} <= set(schedule.joints)
    assert schedule(schedule.total) == schedule(schedule.total + 10**6) == schedule.ramps[-1].end_value


@given(schedules())
@settings(max_examples=60)
def test_normalized_times_its_peak_is_the_schedule(schedule):
    if schedule.peak == 0:
        with pytest.raises(ValueError, match="has no peak to divide by"):
            schedule.normalized()
    else:
        peak, one = schedule.normalized()
        assert peak == schedule.peak and one.peak == pytest.approx(1, rel=1e-14)  # a ramp may be cut on its way up
        again, steps = peak * one, steps_of(schedule)
        assert [again(s) for s in steps] == pytest.approx([schedule(s) for s in steps], rel=1e-14, abs=0)


# --- the schedule as a value


@given(schedules(most=4))
@settings(max_examples=50)
def test_a_copy_is_equal_hashes_alike_and_computes_alike(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    copies = (again, copy.copy(schedule), copy.deepcopy(schedule), Schedule(list(schedule.ramps), schedule.sample))
    for other in copies:
        assert other == schedule and hash(other) == hash(schedule) and other.fingerprint == schedule.fingerprint
        assert [other(s) for s in steps_of(schedule)] == [schedule(s) for s in steps_of(schedule)]
    assert schedule in {schedule: "a key"} and eval(repr(schedule), {"lehr": lehr}) == schedule


def test_schedules_differ_by_ramps_and_by_sampling():
    schedule = lehr.cosine(10, 2)
    assert schedule != lehr.cosine(10, 3) and schedule != lehr.cosine(10, 2, sample="start")
    assert schedule != "linear 2 to 1, cosine 8 to 0.1" and len({schedule, lehr.cosine(10, 2)}) == 1


def test_a_weak_reference_to_a_schedule_and_to_a_ramp_can_be_held():
    schedule = lehr.cosine(10)
    assert weakref.ref(schedule)() is schedule and weakref.ref(schedule.ramps[0])() is schedule.ramps[0]


@pytest.mark.parametrize("name", ["ramps", "sample", "anything"])
def test_a_schedule_cannot_be_changed(name):
    schedule = lehr.cosine(10)
    with pytest.raises((AttributeError, TypeError)):  # TypeError: what a slotted frozen dataclass of 3.11 says
        setattr(schedule, name, ())
    with pytest.raises(AttributeError):
        schedule.ramps[0].begin = 1


@pytest.mark.parametrize("factor", [3e-4, np.float64(3e-4), np.array(3e-4)[()], Fraction(3, 10_000)])
def test_the_peak_may_stand_on_either_side(factor):
    schedule = lehr.cosine(10, 2)
    assert factor * schedule == schedule * factor == 3e-4 * schedule
    assert type((factor * schedule).ramps[0].end_value) is float


def test_zero_times_a_schedule_is_zero_even_where_the_shape_never_reaches_it():
    schedule = 0 * parse("exponential 10 from 1 to 0.1, inverse_sqrt 10 to 0.01")
    assert [schedule(step) for step in (0, 5, 10, 30)] == [0, 0, 0, 0]


@pytest.mark.parametrize("factor", [-1, math.nan, math.inf, -1e-300])
def test_a_factor_that_gives_no_learning_rate_is_refused(factor):
    with pytest.raises(ValueError, match="multiplied by a finite number >= 0, not"):
        factor * lehr.cosine(10)


@pytest.mark.parametrize("factor", ["2", None, True, 1j, [2]])
def test_what_is_no_number_is_no_factor(factor):
    with pytest.raises(TypeError):
        factor * lehr.cosine(10)


# --- plain data


@given(schedules())
@settings(max_examples=60)
def test_a_schedule_survives_its_plain_data_and_json(schedule):
    assert from_dict(to_dict(schedule)) == schedule
    assert from_dict(json.loads(json.dumps(to_dict(schedule)))) == schedule


def test_plain_data_has_the_documented_keys():
    ramp = {"begin": 0, "duration": 2, "start_value": 0.0, "end_value": 1.0, "shape": "linear"}
    assert to_dict(Schedule((Ramp(0, 2, 0, 1),), "start")) == {"sample": "start", "ramps": [ramp]}


RAMP = {"begin": 0, "duration": 2, "start_value": 0, "end_value": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "a schedule is an object with the keys sample, ramps, not []"),
        ({}, "a schedule needs the key 'ramps'"),
        ({"ramp": []}, "a schedule has no key 'ramp'; did you mean 'ramps'?"),
        ({"ramps": [], "smaple": "end"}, "a schedule has no key 'smaple'; did you mean 'sample'?"),
        ({"ramps": []}, "a schedule has at least one ramp"),
        ({"ramps": "linear"}, "ramps is a list of ramps, not 'linear'"),
        ({"ramps": 3}, "ramps is a list of ramps, not 3"),
        ({"ramps": [3]}, "a ramp is an object with the keys begin"),
        ({"ramps": [RAMP], "sample": "middle"}, "sample is 'end' or 'start', not 'middle'"),
        ({"ramps": [RAMP | {"stop": 3}]}, "a ramp has no key 'stop'"),
        ({"ramps": [{"begin": 0}]}, "a ramp needs the key 'duration'"),
        ({"ramps": [RAMP | {"begin": "0"}]}, "ramp 0: begin is a number of steps, not '0'"),
        ({"ramps": [RAMP | {"begin": True}]}, "ramp 0: begin is a number of steps, not True"),
        ({"ramps": [RAMP | {"end_value": -1}]}, "end_value is a finite number >= 0, not -1"),
        ({"ramps": [RAMP | {"duration": -1}]}, "duration is a number of steps >= 0"),
        ({"ramps": [RAMP | {"shape": None}]}, "ramp 0: shape is a name such as 'cosine', not None"),
    ],
)
def test_plain_data_that_is_no_schedule_is_refused_by_name(data, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        from_dict(data)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def canonical(schedule: Schedule) -> str:
    """The fingerprint as the plan words it, written a second time."""

    def number(x: float) -> float:
        return int(x) if x == int(x) else x

    ramps = [
        {k: v if k == "shape" else number(float(f"{v:.12g}") if "value" in k else v) for k, v in ramp.items()}
        for ramp in to_dict(schedule)["ramps"]
    ]
    text = json.dumps({"sample": schedule.sample, "ramps": ramps}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_the_fingerprint_never_changes():
    # pinned: runs and checkpoints keep it, so a change of this value is a break of every stored run
    assert lehr.cosine(total=10, warmup=2).fingerprint == "ccebaa75ede5"
    assert (3e-4 * lehr.wsd(1000, 20, 200, sample="start")).fingerprint == "12d1fe632570"


@given(schedules())
@settings(max_examples=50)
def test_the_fingerprint_is_the_hash_of_the_canonical_json(schedule):
    assert schedule.fingerprint == canonical(schedule)


def test_the_fingerprint_does_not_see_the_noise_of_arithmetic_but_sees_every_change():
    one, same = 0.3 * lehr.cosine(10, 2), (0.1 + 0.2) * lehr.cosine(10, 2)
    assert one != same and one.fingerprint == same.fingerprint
    assert one.fingerprint == (0.3 * lehr.cosine(10.0, 2.0)).fingerprint
    changed = [0.300001 * lehr.cosine(10, 2), 0.3 * lehr.cosine(10, 3), 0.3 * lehr.linear(10, 2, 0.1)]
    changed += [0.3 * lehr.cosine(11, 2), 0.3 * lehr.cosine(10, 2, sample="start"), 0.3 * lehr.cosine(10, 2, 0.2)]
    assert len({one.fingerprint, *(schedule.fingerprint for schedule in changed)}) == 7


# --- cooldown


@given(schedules(), st.integers(1, 3000), st.integers(1, 500), st.sampled_from([0.0, 0.01]))
@settings(max_examples=60)
def test_a_cooldown_changes_nothing_before_it_and_ends_where_it_should(schedule, at, over, to):
    cooled = schedule.cooldown(at, over, to, shape="linear")
    before = [step for step in {*range(0, at, 7), at - 1, *steps_of(schedule)} if step <= at - 1]
    assert all(cooled(step) == schedule(step) for step in before)
    last = at + over - (schedule.sample == "end")
    assert cooled(last) == cooled(last + 1) == to and cooled.total == at + over


@pytest.mark.parametrize("sample", ["end", "start"])
def test_a_cooldown_takes_the_place_of_what_begins_when_it_does_or_later(sample):
    schedule = Schedule((Ramp(0, 10, 0, 1), Ramp(10, 10, 1, 1), Ramp(20, 10, 0.7, 0.2)), sample)
    for at, kept in ((5, 1), (10, 1), (15, 2), (20, 2), (25, 3), (99, 3)):
        cooled = schedule.cooldown(at, over=4, shape="linear")
        assert cooled.ramps[:-1] == schedule.ramps[:kept] and cooled.ramps[-1].begin == at
        assert all(cooled(step) == schedule(step) for step in range(at))


@given(schedules(), st.integers(1, 500))
@settings(max_examples=40)
def test_a_cooldown_is_what_the_text_says_with_at(schedule, after):
    at = math.floor(schedule.ramps[-1].begin) + after
    text, comma, ending = str(schedule).partition(", sampled")
    assert parse(f"{text}, at {at} linear 200 to 0{comma}{ending}") == schedule.cooldown(at, over=200, shape="linear")


def test_a_cooldown_starts_after_at_least_one_update():
    with pytest.raises(ValueError, match="write at=1 or later"):
        lehr.cosine(10).cooldown(at=0, over=5)


def test_a_cooldown_to_a_value_its_shape_cannot_reach_names_the_phase():
    with pytest.raises(ValueError, match=r"^exponential 5 from 1 to 0: this curve never reaches 0"):
        lehr.constant(10).cooldown(at=5, over=5, shape="exponential")


# --- phases


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("linear 2 to 1, cosine 2 to 0.5", "warmup warmup decay decay done"),
        ("linear 2 to 1, hold 1, sqrt 2 to 0", "warmup warmup stable cooldown cooldown done"),
        ("linear 1 to 1, linear 1 to 2", "warmup warmup done"),
        ("hold 1, linear 1 to 2", "stable warmup done"),
        ("cosine 2 from 1 to 0.1, linear 1 to 0.5, cosine 1 to 0", "decay decay rewarm decay done"),
        ("linear 1 to 1, at 3 cosine 1 to 0", "warmup stable stable cooldown done"),
        ("at 2 linear 2 to 1", "stable stable warmup warmup done"),
        ("at 1 linear 2 from 1 to 0", "stable cooldown cooldown done"),
        ("linear 9 to 1, at 2 linear 1 to 0.1", "warmup warmup decay done"),
        ("linear 1 to 1, cosine 2 to 0, cosine 1 from 1 to 0", "warmup decay decay decay done"),
    ],
)
@pytest.mark.parametrize("ending", ["", ", sampled at start"])
def test_each_update_has_the_name_of_its_phase(text, phases, ending):
    schedule = parse(text + ending)
    assert [schedule.phase(step) for step in range(len(phases.split()))] == phases.split()


@pytest.mark.parametrize("step", [-1, math.nan])
def test_a_phase_is_asked_for_a_step_of_the_run(step):
    with pytest.raises(ValueError, match="a step is a number >= 0"):
        lehr.cosine(10).phase(step)


# --- what is refused


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        ((-1, 2, 0, 1), "begin is a number of steps >= 0 (and at most 2**62), not -1"),
        ((0, -2, 0, 1), "duration is a number of steps >= 0"),
        ((math.nan, 2, 0, 1), "begin is a number of steps"),
        ((0, math.inf, 0, 1), "duration is a number of steps"),
        ((0, 2**63, 0, 1), "duration is a number of steps"),
        ((0, 2, -0.5, 1), "start_value is a finite number >= 0, not -0.5"),
        ((0, 2, 0, math.inf), "end_value is a finite number >= 0, not inf"),
        ((0, 2, math.nan, 1), "start_value is a finite number >= 0, not nan"),
        ((0, 2, 0, 10**400), "end_value is a finite number >= 0"),
        ((0, 2, 0, 1, "liner"), "unknown shape 'liner'; did you mean 'linear'?"),
        ((0, 100, 1, 0, "exponential"), "exponential 100 from 1 to 0: this curve never reaches 0; write 0.001, say"),
    ],
)
def test_a_ramp_that_cannot_be_is_an_error_that_says_why(ramp, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        Ramp(*ramp)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("ramp", [("0", 2, 0, 1), (0, None, 0, 1), (0, 2, "0", 1), (0, 2, 0, True), (0, 2, 0, 1, 3)])
def test_what_is_no_number_or_name_is_a_type_error(ramp):
    with pytest.raises(TypeError, match="is a n"):
        Ramp(*ramp)


def test_numbers_of_every_kind_become_plain_ones():
    ramp = Ramp(np.int64(3), np.float32(2.0), Fraction(1, 4), np.float64(-0.0))
    assert repr(ramp) == "Ramp(begin=3, duration=2, start_value=0.25, end_value=0.0, shape='linear')"


def test_ramps_out_of_order_are_refused_by_the_name_of_both():
    with pytest.raises(ValueError, match=r"^cosine 5 from 1 to 0 begins at 2, not after hold 5 from 1, .* at 2; put"):
        Schedule((Ramp(2, 5, 1, 1), Ramp(2, 5, 1, 0, "cosine")))


@pytest.mark.parametrize("ramps", [Ramp(0, 1, 0, 1), 3, "linear", ["linear"], [(0, 1, 0, 1)]])
def test_what_is_no_row_of_ramps_is_a_type_error(ramps):
    with pytest.raises(TypeError, match="ramps is a sequence of Ramp"):
        Schedule(ramps)


def test_an_empty_row_of_ramps_or_an_unknown_sampling_is_refused():
    with pytest.raises(ValueError, match="at least one ramp; write Ramp"):
        Schedule(())
    with pytest.raises(ValueError, match="sample is 'end' or 'start', not 'mid'"):
        Schedule((Ramp(0, 1, 0, 1),), "mid")
