"""lehr.identify: every recorded schedule of the 16 systems, logs as trainers write them, and the command."""

import json
import struct
import subprocess
import sys
import zlib

import pytest
from test_conventions import CASES, REFUSED, converted

import lehr
from lehr import parse
from lehr.fit.found import family

PEAK = 3e-4

# Honestly not found. Some are no row of ramps at all; the others end beyond their log, or are of a family whose two
# numbers are not looked for.
NOT_FOUND = {
    "pytorch_warmup: RAdamWarmup(betas=[0.9,0.999]) peak=0.001 total=50": "no row of ramps",
    "pytorch_warmup: RAdamWarmup(betas=[0.9,0.95]) peak=0.1 total=50": "no row of ramps",
    "pytorch_warmup: LinearWarmup(warmup_period=6,over=[CosineAnnealingLR,{T_max=30}]) peak=0.1 total=30": (
        "no row of ramps"
    ),
    "torch: ChainedScheduler(schedulers=[[LinearLR,{start_factor=0.5,total_iters=6}],[ExponentialLR,{gamma=0.95}]]) "
    "peak=0.1 total=24": "no row of ramps",
    "timm: TanhLRScheduler(t_initial=30) peak=0.1 total=30": "tanh with two numbers of its own",
}
PREFIXES = {  # the names of these are long
    "timm: TanhLRScheduler(t_initial=30,warmup_t=6": "tanh with two numbers of its own",
    "timm: TanhLRScheduler(t_initial=20,warmup_t=4": "tanh with two numbers of its own",
    "timm: PolyLRScheduler(t_initial=10,power=1,cycle_limit=2": "k_decay cut off by a restart",
    "lingua: build_optimizer[cosine](scheduler=cosine,lr=0.1,warmup=5,cosine_theta=2": "its end is not logged",
    "olmo_core: SequentialScheduler(schedulers=[[InvSqrtWithWarmup,{warmup=5,alpha_f=0.1}": "inverse_sqrt:r cut short",
}


def why_not(name: str) -> str | None:
    return NOT_FOUND.get(name) or next((why for prefix, why in PREFIXES.items() if name.startswith(prefix)), None)


def recorded(case) -> list[float]:
    """Its values as far as the system is right; where it never is, all of them."""
    return case["values"][: case.get("valid_until") or len(case["values"])]


@pytest.mark.parametrize("name", [name for name, (_, case) in CASES.items() if recorded(case)])
def test_every_recorded_schedule_is_found_or_said_not_to_be(name):
    _, case = CASES[name]
    values = recorded(case)
    found = lehr.identify(range(len(values)), values)
    if why_not(name):
        assert not found and found.schedule is None and found.departs_at is not None
        return
    assert found, f"{name}: left at {found.departs_at} by {found.text}"
    assert [found.schedule(step) for step in range(len(values))] == pytest.approx(
        values, rel=0, abs=2e-12 * max(values)
    )
    unit = parse(found.text)
    assert found.schedule == found.peak * unit and unit.total == found.total


# Of what is found: where `convert` gives another schedule for the same case. The log ends before this one has turned,
# jumped or come to its end, so that the log is the same and what follows is not:
LOG_ENDS = (
    "composer: ExponentialScheduler",
    "composer: CosineAnnealingWarmRestartsScheduler",
    "composer: CosineAnnealingWithWarmupScheduler(t_warmup=5ba,scale_warmup=True",
    "cs336: get_lr_cosine_schedule(max_learning_rate=0.1,min_learning_rate=0.01,warmup_iters=20,cosine_cycle_iters=20)",
    "fvcore: ExponentialParamScheduler",
    "lingua: build_optimizer[linear](scheduler=linear,lr=0.1,warmup=20,",
    "lingua: build_optimizer[inv_sqrt](scheduler=inv_sqrt,lr=0.001,warmup=8,lr_min_ratio=0.1",
    "lingua: build_optimizer[cosine](scheduler=cosine,lr=1,warmup=4,cycle_length=0.5",
    "litgpt: pretrain.get_lr(learning_rate=0.1,lr_warmup_steps=20,max_steps=20,",
    "litgpt: finetune.get_lr_scheduler(warmup_steps=20,max_steps=20)",
    "megatron: OptimizerParamScheduler(lr_decay_style=WSD,lr=1,train_iters=30,lr_warmup_iters=10,",
    "nanochat: base_train.get_lr_multiplier(warmup_steps=20,",
    "nanogpt: get_lr(learning_rate=0.1,warmup_iters=20,lr_decay_iters=20,",
    "olmo_core: InvSqrtWithWarmup(warmup=0)",  # its log is of one value; the file says from where on it is wrong
    "optax: warmup_constant_schedule(init_value=0,peak_value=0.001,warmup_steps=0)",  # a constant: no peak is seen
    "pytorch_warmup: ExponentialWarmup(warmup_period=5)",
    "pytorch_warmup: UntunedLinearWarmup(betas=[0.9,0.999])",
    "pytorch_warmup: UntunedExponentialWarmup",
    "torch: SequentialLR(schedulers=[[LinearLR,{total_iters=20,start_factor=0.05}],[CosineAnnealingLR,{T_max=0}]]",
    "torch: CosineAnnealingWarmRestarts",
    "torch: ExponentialLR",
    "torch: ConstantLR(factor=0.5,total_iters=0)",  # a constant: the factor is not seen
    "torch: LinearLR(start_factor=0.2,total_iters=0)",
    "transformers: get_cosine_schedule_with_warmup(num_warmup_steps=20,num_training_steps=20)",
    "transformers: get_polynomial_decay_schedule_with_warmup(num_warmup_steps=20,num_training_steps=20",
    "transformers: get_wsd_schedule(num_warmup_steps=10,num_decay_steps=25,num_training_steps=30,decay_type=linear)",
    "user_functions: get_lr_inverse_sqrt",
)
# The same numbers for good, written as other ramps, of which the log knows nothing. A warmup of one update whose only
# value is the peak is none:
AS_OTHER_RAMPS = {
    "nanochat: base_train.get_lr_multiplier(warmup_steps=1,": "a warmup of one update",
    "olmo_core: LinearWithWarmup(warmup=1,": "a warmup of one update",
    "pytorch_warmup: LinearWarmup(warmup_period=1)": "a warmup of one update",
    "torchtitan: LRSchedulersContainer(warmup_steps=1,": "a warmup of one update",
    "user_functions: get_lr(warmup_steps=1,": "a warmup of one update",
    "lingua: build_optimizer[wsd](scheduler=wsd,lr=0.001,warmup=4,": "a cooldown of four updates",
    "litgpt: pretrain.get_lr(learning_rate=0.001,lr_warmup_steps=4,": "counts quarters of an update",
    "megatron: OptimizerParamScheduler(lr_decay_style=inverse-square-root,lr=0.001,train_iters=30,lr_warmup_iters=0,": (
        "counts quarters of an update"
    ),
    "olmo_core: CosWithWarmup(warmup=20,": "a warmup cut off by a jump",
    "optax: sgdr_schedule": "a warmup of two updates after a restart",
    "pytorch_warmup: ExponentialWarmup(warmup_period=1)": "an approach: at its end after 26 updates, but for 1e-12",
    "torch: LinearLR(start_factor=0.2,total_iters=8)": "8/8 from 0.2, or 9/9 from 0.1 an update before",
    "transformers: get_cosine_with_min_lr_schedule_with_warmup_lr_rate(num_warmup_steps=1,": "a cosine entered late",
}
COMPARED = {}
for _name, (_system, _case) in CASES.items():
    if recorded(_case) and not why_not(_name) and _name not in REFUSED:
        COMPARED[_name] = next((1 for prefix in LOG_ENDS if _name.startswith(prefix)), 0) or (
            2 * any(_name.startswith(prefix) for prefix in AS_OTHER_RAMPS)
        )


def shapes_of(family):
    """The words of a family, without the parameters of shapes and without a level that only holds the last value."""
    words = [word.partition(":")[0].replace("multistep", "step") for word in family.split(", ")]
    return words[:-1] if words[-1] == "hold" and len(words) > 1 else words


def warmup_of(unit):
    length = 0
    for index, (ramp, name) in enumerate(zip(unit.ramps, unit._phases(), strict=True)):
        if name == "warmup":
            length += ramp.duration
        elif index or ramp.end_value:
            break
    return length


@pytest.mark.parametrize("name", [name for name, excuse in COMPARED.items() if excuse != 1])
def test_what_convert_gives_is_found_again_for_good_with_its_family_warmup_floor_and_total(name):
    system, case = CASES[name]
    values, truth = recorded(case), converted(system, case)
    found = lehr.identify(range(len(values)), values)
    peak, unit = truth.normalized()
    beyond = range(3 * len(values) + 50)
    assert [found.schedule(s) for s in beyond] == pytest.approx([truth(s) for s in beyond], rel=0, abs=1e-9 * peak)
    if COMPARED[name]:
        return
    assert (found.warmup, found.floor) == pytest.approx((warmup_of(unit), unit.ramps[-1].end_value), abs=1e-9)
    assert shapes_of(found.family) == shapes_of(family(unit))
    # where one ends before the other it holds its last value, as the other does: the log, or the run, went on
    earlier, later = sorted((int(found.total), int(unit.total)))
    assert later - earlier <= 1 or len({round(truth(s) / peak, 9) for s in range(earlier, later + 2)}) == 1


def test_the_counts_that_are_reported():
    cases = [name for name, (_, case) in CASES.items() if recorded(case)]
    missing = [name for name in cases if why_not(name)]
    assert len(CASES) == 282 and len(missing) == 10
    excuses = list(COMPARED.values())
    assert (len(excuses), excuses.count(0), excuses.count(1), excuses.count(2)) == (256, 213, 30, 13)


@pytest.mark.parametrize(
    "name",
    [
        "transformers: get_cosine_schedule_with_warmup(num_warmup_steps=10,num_training_steps=50) peak=0.0003 total=50",
        "nanogpt: get_lr(learning_rate=0.0006,warmup_iters=10,lr_decay_iters=50,min_lr=6e-05) peak=0.0006 total=50",
    ],
)
def test_the_very_schedule_comes_back_where_there_is_one_way_to_say_it(name):
    system, case = CASES[name]
    found = lehr.identify(range(len(recorded(case))), recorded(case))
    truth = converted(system, case)
    assert lehr.diff(found.schedule, truth, tolerance=1e-11).first is None and found.schedule.sample == truth.sample


# --- logs as trainers write them


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def six_digits(value: float) -> float:
    return float(f"{value:.6g}")


TEXTS = [
    "linear 100 to 1, cosine 900 to 0.1",
    "linear 100 to 1, cosine 900 to 0.1, sampled at start",
    "linear 100 to 1, hold 700, sqrt 200 to 0",
    "linear 100 to 1, linear 900 to 0",
    "linear 50 to 1, poly:2 950 to 0",
    "cosine 500 from 1 to 0, cosine 500 from 1 to 0, sampled at start",
    "hold 300, hold 300 from 0.1, hold 400 from 0.01",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("written", [float, float32, six_digits])
def test_a_log_gives_back_the_text_it_was_made_from_in_each_way_of_writing_numbers(text, written):
    schedule = PEAK * parse(text)
    found = lehr.identify(range(1000), [written(schedule(step)) for step in range(1000)])
    assert found and found.error <= 1.5 * found.tolerance
    assert (found.text, found.peak) == (text, PEAK) or lehr.diff(parse(found.text), parse(text), 1e-5).first is None


ROUNDED = [
    "linear 100 to 1, cosine 900 to 0, sampled at start",
    "linear 100 to 1, cosine 900 to 0.1",
    "linear 100 to 1, linear 900 to 0",
    "linear 100 to 1, hold 700, sqrt 200 to 0",
    "linear 100 to 1, hold 700, cosine 200 to 0.1",
    "cosine 300 from 0.04 to 1, cosine 700 to 0",  # a one-cycle of torch
    "linear 100 to 1, poly:0.9 900 to 0",  # DeepLab's
]


@pytest.mark.parametrize("text", ROUNDED)
@pytest.mark.parametrize("form", ["%.6f", "%.7f", "%.2e", "%.4e"])
@pytest.mark.parametrize("stride", [1, 10])
def test_a_log_of_few_digits_or_few_steps_gives_back_the_very_text(text, form, stride):
    schedule, steps = PEAK * parse(text), range(0, 1000, stride)
    found = lehr.identify(steps, [float(form % schedule(step)) for step in steps])
    assert (found.text, found.peak) == (text, PEAK)
    assert [form % found.schedule(step) for step in steps] == [form % schedule(step) for step in steps]


@pytest.mark.parametrize(
    "schedule",
    [
        lehr.inverse_sqrt(1000, 100),
        lehr.inverse_sqrt(10_000, 1000, cooldown=1000),
        lehr.inverse_sqrt(3127, 313, cooldown=521),
        lehr.inverse_sqrt(5000, 400, cooldown=500, shape="cosine", sample="start"),
        lehr.inverse_sqrt(3000, 300, cooldown=600, final=0.05, shape="sqrt"),
        lehr.inverse_sqrt(5000, 100, timescale=1000, cooldown=500),
        lehr.inverse_sqrt(1000, timescale=100),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["%.6f", "%.4g", "%.6g", "%.3e"])
def test_an_inverse_square_root_of_few_digits_has_its_total_and_its_cooldown(schedule, form):
    for stride in (1, 10):
        steps = range(0, int(schedule.total), stride)
        found = lehr.identify(steps, [float(form % (1e-3 * schedule(step))) for step in steps])
        assert (found.text, found.peak) == (str(schedule), 1e-3)


def test_a_straight_line_ends_with_the_log_and_not_at_a_rounder_step_after_it():
    schedule = PEAK * parse("linear 300 to 1, linear 6105 to 0.1")
    found = lehr.identify(range(6405), [float(f"{schedule(step):.5e}") for step in range(6405)])
    assert found.text == "linear 300 to 1, linear 6105 to 0.1"


def test_each_number_of_few_digits_is_held_to_its_own_last_digit():
    # beside the peak this floor is nothing, but its own digits say what it is
    schedule = PEAK * parse("linear 100 to 1, linear 900 to 0.0001234")
    found = lehr.identify(range(1000), [float(f"{schedule(step):.2e}") for step in range(1000)])
    assert f"{found.schedule(999):.2e}" == f"{schedule(999):.2e}" == "3.70e-08"


def test_a_number_that_a_family_does_not_take_is_passed_over():
    schedule = PEAK * parse("cosine 500 from 1 to 0, cosine 500 from 1 to 0, cosine 1000 from 1 to 0")
    steps = range(0, 2000, 7)
    lehr.identify(steps, [float(f"{schedule(step):.2e}") for step in steps])  # was: inverse_sqrt:1 needs a number ...


def test_the_schedule_behind_a_part_of_an_exact_log_is_equal_to_it():
    schedule = lehr.cosine(10_000, 200)
    assert lehr.identify(range(1000), map(schedule, range(1000))).schedule == schedule


def test_a_log_of_every_tenth_step_gives_back_the_same_text():
    schedule = PEAK * parse("linear 100 to 1, cosine 900 to 0.1")
    steps = [*range(0, 1000, 10), 999]
    found = lehr.identify(steps, map(schedule, steps))
    assert (found.text, found.peak, found.warmup, found.total, found.floor) == (
        "linear 100 to 1, cosine 900 to 0.1",
        PEAK,
        100,
        1000,
        0.1,
    )
    assert found.family == "warmup, cosine" and found.convention.startswith("sampled at the end of an update")


def test_a_log_that_begins_late_and_stops_early_still_tells_the_cosine():
    schedule = PEAK * parse("linear 100 to 1, cosine 900 to 0.1")
    found = lehr.identify(range(300, 800), map(schedule, range(300, 800)))
    assert found and found.text == "at 100 cosine 900 from 1 to 0.1" and found.total == 1000 and found.peak == PEAK
    assert found.note == "the log begins at step 300; what came before is not in it"


def test_a_hundred_thousand_updates_are_read_in_one_go():
    schedule = PEAK * parse("linear 2000 to 1, cosine 98000 to 0.1")
    found = lehr.identify(range(100_000), map(schedule, range(100_000)))
    assert (found.text, found.peak) == ("linear 2000 to 1, cosine 98000 to 0.1", PEAK)


def test_a_resume_under_another_horizon_is_a_departure():
    planned = PEAK * parse("linear 100 to 1, cosine 900 to 0")
    for changed in (planned.extend(2000, at=500), planned.rescale(2000)):
        log = [planned(step) if step < 500 else changed(step) for step in range(2000)]
        found = lehr.identify(range(2000), log)
        assert found and found.departures == (500,)
        assert [found.schedule(step) for step in range(2000)] == pytest.approx(log, rel=0, abs=1e-12 * PEAK)
    assert lehr.identify(range(1000), map(planned, range(1000))).departures == ()


def test_noise_is_no_schedule_and_the_beginning_is_said_to_fit():
    planned = PEAK * parse("linear 100 to 1, hold 900")
    # numbers without a pattern, the same in every run
    log = [planned(step) if step < 300 else PEAK * zlib.crc32(b"%d" % step) / 2**32 for step in range(400)]
    found = lehr.identify(range(400), log)
    assert not found and found.schedule is None and found.departs_at == 300
    assert found.text.startswith("linear 100 to 1, hold")


@pytest.mark.parametrize(
    ("steps", "lrs", "message"),
    [
        ([], [], "the log is empty"),
        ([0, 1.5], [1, 1], "a step is a whole number of completed updates, not 1.5"),
        ([0, 0, 1, 1], [1, 2, 1, 2], "step 1 stands twice in the log, with 1.0 and 2.0, and so do others; give the"),
        ([0, 1], [1, -1], "at step 1 the learning rate is -1; it is a finite number >= 0"),
        ([0, 1], [1, float("nan")], "at step 1 the learning rate is nan"),
        ([0, 1], [1], "there are 2 steps and 1 learning rates; give one learning rate a step"),
    ],
)
def test_what_is_no_log_is_refused(steps, lrs, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        lehr.identify(steps, lrs)
    assert message in str(refusal.value)


def test_short_logs_and_a_constant():
    assert lehr.identify([0], [3e-4]).text == "hold 1"
    assert lehr.identify(range(50), [3e-4] * 50).family == "constant"
    assert lehr.identify(range(50), [0.0] * 50).schedule(10) == 0
    assert lehr.identify([7, 3, 5], [1e-3] * 3)  # in any order


# --- few points


def test_a_single_point_in_the_warmup_is_a_ramp_through_it_and_no_level():
    # logging_steps=500 of Hugging Face: the first logged step is 500
    for text, steps in {
        "linear 1000 to 1, linear 9000 to 0, sampled at start": range(500, 10_001, 500),
        "linear 300 to 1, linear 2700 to 0, sampled at start": range(200, 3001, 200),
        "linear 800 to 1, cosine 9200 to 0, sampled at start": range(500, 10_001, 500),
        "linear 200 to 1, hold 7800, sqrt 2000 to 0": range(100, 10_001, 100),
    }.items():
        for written in (float, float32, six_digits):
            schedule = PEAK * parse(text)
            found = lehr.identify(steps, [written(schedule(step)) for step in steps])
            assert (found.text, found.peak, found.note) == (text, PEAK, None)


def test_a_phase_of_which_one_point_was_logged_is_not_made_up():
    schedule = PEAK * parse("linear 800 from 0.3 to 1, cosine 9200 to 0")
    found = lehr.identify(range(500, 10_001, 500), [schedule(step) for step in range(500, 10_001, 500)])
    assert not found and found.departs_at == 500 and found.note.startswith("step 500 alone was logged of a phase of")


@pytest.mark.parametrize("stride", [10, 50])
def test_the_joints_of_a_sparse_log_come_out_whole(stride):
    for text in ("linear 230 to 1, hold 7770, linear 2000 to 0", "linear 200 to 1, hold 7800, rex 2000 to 0"):
        steps = range(0, 10_000, stride)
        for written in (float, float32, six_digits):
            found = lehr.identify(steps, [written(PEAK * parse(text)(step)) for step in steps])
            assert (found.text, found.peak) == (text, PEAK)


def test_what_came_before_the_log_is_said_not_to_be_in_it():
    schedule = PEAK * parse("linear 100 to 1, cosine 9900 to 0, sampled at start")
    found = lehr.identify(range(500, 10_001, 500), [schedule(step) for step in range(500, 10_001, 500)])
    assert found.text == "at 100 cosine 9900 from 1 to 0, sampled at start" and found.total == 10_000
    assert found.note == "the log begins at step 500; what came before is not in it"


def test_stairs_have_their_names_and_a_last_level_its_round_total():
    stairs = parse("hold 300, hold 300 from 0.1, hold 400 from 0.01")
    found = lehr.identify(range(0, 1000, 50), map(stairs, range(0, 1000, 50)))
    assert (found.family, found.text) == ("step", str(stairs))
    stairs = parse("linear 50 to 1, hold 250, hold 100 from 0.1, hold 600 from 0.01")
    assert lehr.identify(range(1000), map(stairs, range(1000))).family == "warmup, multistep"


def test_stairs_are_even_where_the_log_allows_it():
    stairs = parse("hold 360, hold 360 from 0.1, hold 360 from 0.01, hold 360 from 0.001")
    steps = range(0, 1440, 50)
    found = lehr.identify(steps, map(stairs, steps))
    assert (found.text, found.family) == (str(stairs), "step")


def test_restarts_that_only_plans_in_turn_explain_are_found():
    schedule = 0.00073 * lehr.sgdr(1443, 2, 2)
    found = lehr.identify(range(4329), map(schedule, range(4329)))  # was: IndexError
    assert found.departures == ()
    assert found and [found.schedule(s) for s in (0, 1442, 1443, 4328)] == [schedule(s) for s in (0, 1442, 1443, 4328)]


# --- resumed runs


def test_rows_that_a_resumed_run_logs_again_count_and_the_departure_is_told():
    planned = PEAK * parse("linear 100 to 1, cosine 900 to 0")
    longer = planned.extend(2000, at=500)
    steps = [*range(640), *range(500, 2000)]
    found = lehr.identify(steps, [planned(s) for s in range(640)] + [longer(s) for s in range(500, 2000)])
    assert found and (found.overlaps, found.departures) == ((500,), (500,))
    # the same schedule again is no change
    found = lehr.identify([*range(640), *range(500, 1000)], map(planned, [*range(640), *range(500, 1000)]))
    assert (found.overlaps, found.text) == ((), "linear 100 to 1, cosine 900 to 0")
    # and what the first run logged beyond the end of the second is gone
    found = lehr.identify([*range(640), *range(500, 600)], [planned(s) for s in range(640)] + [0.0] * 100)
    assert found.schedule(630) == 0 and found.overlaps == (500,)


@pytest.mark.parametrize("form", ["%.6g", "%.4e"])
def test_a_resume_under_another_horizon_is_told_from_numbers_of_few_digits(form):
    planned = PEAK * parse("linear 100 to 1, cosine 900 to 0")
    for changed, then in ((planned.extend(2000, at=500), "cosine 1500"), (planned.rescale(2000), "cosine:0.2105263")):
        steps = range(0, 2000, 10)
        lrs = [float(form % (planned if step < 500 else changed)(step)) for step in steps]
        found = lehr.identify(steps, lrs)
        assert found.departures == (500,)
        assert found.text.startswith(f"linear 100 to 1, cosine 900 to 0, at 500 {then}")


def test_where_nothing_fits_the_longest_beginning_that_something_fits_is_told():
    schedule = PEAK * parse("linear 10 to 1, cosine 90 to 0")
    log = [float(f"{schedule(s) if s < 70 else PEAK * zlib.crc32(b'%d' % s) / 2**32:.5g}") for s in range(90)]
    found = lehr.identify(range(90), log)
    assert not found and found.departs_at == 70 and found.text == "linear 10 to 1, cosine 90 to 0"


@pytest.mark.parametrize(
    ("fall", "form", "stride"), [("cosine", "%.6g", 1), ("linear", "%.4e", 1), ("cosine", "%.4e", 5)]
)
def test_a_run_resumed_twice_departs_at_both_steps_in_numbers_of_few_digits(fall, form, stride):
    planned = PEAK * parse(f"linear 20 to 1, {fall} 180 to 0")
    second = planned.extend(300, at=100)
    third, steps = second.extend(500, at=240), range(0, 500, stride)
    lrs = [planned(s) if s < 100 else second(s) if s < 240 else third(s) for s in steps]
    found = lehr.identify(steps, [float(form % lr) for lr in lrs])
    assert found and found.departures == (100, 240) and found.total == 500
    assert found.text.startswith(f"linear 20 to 1, {fall} 180 to 0, at 100 {fall} 200")


def test_no_half_wave_is_made_up_at_the_end_of_a_log_of_restarts():
    planned = PEAK * parse("cosine 100 from 1 to 0, cosine 200 from 1 to 0, sampled at start")
    for form in ("%.7g", "%.3e"):
        found = lehr.identify(range(300), [float(form % planned(step)) for step in range(300)])
        assert found and len(found.schedule.ramps) == 2 and found.total == 300


# --- the command


def lehr_command(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "lehr", *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def rows():
    schedule = PEAK * parse("linear 20 to 1, cosine 180 to 0.1")
    for step in range(200):
        yield {"step": step, "lr": schedule(step), "loss": 3.0}
        if step % 50 == 0:
            yield {"step": step, "val_loss": 3.1}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "folder"])
def test_identify_reads_a_run_s_log_and_csv(kind, tmp_path):
    path = tmp_path / ("metrics.jsonl" if kind != "csv" else "log.csv")
    if kind == "csv":
        lines = ["iter,learning_rate", *(f"{row['step']},{row['lr']!r}" for row in rows() if "lr" in row)]
        options = ["--column", "learning_rate", "--step-column", "iter"]
    else:
        lines, options = [*map(json.dumps, rows()), '{"step": 200, "lr"'], []
    path.write_text("\n".join(lines))
    done = lehr_command("identify", tmp_path if kind == "folder" else path, *options)
    assert (done.returncode, done.stderr) == (0, "") and max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.startswith("linear 20 to 1, cosine 180 to 0.1\n")
    table = {line[:12].strip(): line[12:] for line in done.stdout.splitlines()[2:]}
    assert (table["peak"], table["warmup"], table["total"]) == ("0.0003", "20 updates", "200 updates")
    done = lehr_command("identify", path, *options, "--json")
    found = json.loads(done.stdout)
    assert found["fits"] is True and found["text"] == "linear 20 to 1, cosine 180 to 0.1" and found["departures"] == []
    assert parse(found["schedule"])(100) == pytest.approx(found["peak"] * parse(found["text"])(100))


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_identify_reads_standard_input(name):
    log = "step,lr\n" + "".join(f"{row['step']},{row['lr']!r}\n" for row in rows() if "lr" in row)
    done = subprocess.run(
        [sys.executable, "-m", "lehr", "identify", name], input=log, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stdout.startswith("linear 20 to 1, cosine 180 to 0.1\n"), done.stderr


def test_a_log_that_counts_from_1_is_said_to(tmp_path):
    schedule = PEAK * parse("linear 100 to 1, cosine 900 to 0, sampled at start")
    found = lehr.identify(range(1, 1001), map(schedule, range(1000)))
    assert found.from_zero == "linear 100 to 1, cosine 900 to 0, sampled at start"
    assert (found.warmup, found.total, found.schedule(101)) == (100, 1000, schedule(100))
    assert lehr.identify(range(1000), map(schedule, range(1000))).from_zero is None
    path = tmp_path / "log.csv"
    path.write_text("step,lr\n" + "".join(f"{step + 1},{schedule(step)!r}\n" for step in range(1000)))
    assert "the log seems to count from 1" in " ".join(lehr_command("identify", path).stdout.split())


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_has_the_error_as_a_share_too_and_null_where_there_is_none(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,lr\n" + "".join(f"{row['step']},{row['lr']:.6f}\n" for row in rows() if "lr" in row))
    found = strict_json(lehr_command("identify", path, "--json").stdout)
    assert found["error_share"] == pytest.approx(found["error"] / found["peak"]) and found["departs_at"] is None
    path.write_text("step,lr\n" + "".join(f"{step},{zlib.crc32(b'%d' % step)}\n" for step in range(100)))
    found = strict_json(lehr_command("identify", path, "--json").stdout)
    assert found["fits"] is False and found["error"] is None and found["error_share"] is None


def test_identify_says_that_nothing_fits_and_exits_with_1(tmp_path):
    path = tmp_path / "log.csv"
    lines = [f"{step},{zlib.crc32(b'%d' % step) if step > 50 else 1000}" for step in range(200)]
    path.write_text("\n".join(["step,lr", *lines]))
    done = lehr_command("identify", path)
    assert done.returncode == 1 and "left at step 51" in " ".join(done.stdout.split()) and done.stderr == ""
    done = lehr_command("identify", path, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["fits"] is False and found["schedule"] is None and found["departs_at"] == 51


def test_identify_reads_the_state_of_a_hugging_face_trainer(tmp_path):
    schedule = 5e-5 * parse("linear 300 to 1, linear 2700 to 0, sampled at start")
    history = [
        {"epoch": s / 1000, "grad_norm": 1.5, "learning_rate": schedule(s), "loss": 2.0, "step": s}
        for s in range(200, 3001, 200)
    ]
    history.insert(5, {"epoch": 1.0, "eval_loss": 2.1, "step": 1000})
    history.append({"epoch": 3.0, "step": 3000, "train_loss": 1.9, "train_runtime": 60.0})
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"best_metric": None, "global_step": 3000, "log_history": history}, indent=2))
    for options in ([], ["--column", "learning_rate"]):
        done = lehr_command("identify", path, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("linear 300 to 1, linear 2700 to 0, sampled at start\n")


def test_identify_takes_the_only_column_that_can_be_meant(tmp_path):
    path = tmp_path / "metrics.csv"
    lines = [f"{row['step'] // 200},{row['step']},{row.get('lr', '')},nan" for row in rows()]
    path.write_text("\n".join(["epoch,trainer/global_step,lr-AdamW,val_loss", *lines]))
    done = lehr_command("identify", path)
    assert done.returncode == 0 and done.stdout.startswith("linear 20 to 1, cosine 180 to 0.1\n"), done.stderr
    path.write_text("\n".join(["step,lr-AdamW/pg1,lr-AdamW/pg2", "0,1,1", "1,1,1"]))
    assert lehr_command("identify", path).returncode == 2


def test_identify_reads_a_csv_with_spaces_about_its_names(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step , lr , loss\n" + "".join(f" {r['step']} , {r['lr']!r} , 2\n" for r in rows() if "lr" in r))
    done = lehr_command("identify", path)
    assert done.returncode == 0 and done.stdout.startswith("linear 20 to 1, cosine 180 to 0.1\n"), done.stderr


def test_identify_says_what_the_log_cannot_tell_and_that_it_goes_back(tmp_path):
    path = tmp_path / "log.csv"
    schedule = PEAK * parse("linear 800 from 0.3 to 1, cosine 9200 to 0")
    path.write_text("step,lr\n" + "".join(f"{s},{schedule(s)!r}\n" for s in range(500, 10_001, 500)))
    done = lehr_command("identify", path)
    assert done.returncode == 1 and "cannot tell: step 500 alone was logged" in " ".join(done.stdout.split())
    planned, steps = PEAK * parse("linear 100 to 1, cosine 900 to 0"), [*range(640), *range(500, 2000)]
    longer = planned.extend(2000, at=500)
    lrs = [planned(s) if i < 640 else longer(s) for i, s in enumerate(steps)]
    path.write_text("step,lr\n" + "".join(f"{s},{lr!r}\n" for s, lr in zip(steps, lrs, strict=True)))
    done = lehr_command("identify", path)
    assert done.returncode == 0 and "goes back to step 500 with other values" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("step,lrs\n0,1\n", "has no column 'lr'; did you mean 'lrs'?; write --column NAME"),
        ("stp,lr\n0,1\n", "has no column 'step'; did you mean 'stp'?; write --step-column NAME"),
        ("step,lr\n0,high\n", "line 2: step='0', lr='high' are not two numbers"),
        ('{"step": 0, "lr": 1}\nnonsense\n{"step": 1, "lr": 1}\n', "line 2: this is not JSON"),
        ("", "has no column 'lr'; it has none"),
    ],
)
def test_a_file_that_is_no_log_is_one_line_and_exit_2(text, message, tmp_path):
    path = tmp_path / "log"
    if text is not None:
        path.write_text(text)
    done = lehr_command("identify", path)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_every_refused_case_that_is_found_all_the_same_is_a_row_of_ramps_over_its_log():
    # an arbitrary function may be one, such as 0.95 ** step: convert cannot know that, identify can
    found = {name for name in REFUSED if recorded(CASES[name][1]) and not why_not(name)}
    assert {name.partition(": ")[2].partition("(")[0] for name in found} >= {"LambdaLR", "MultiplicativeLR"}
