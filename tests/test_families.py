"""The further recipes and the cycles: their papers' formulas retyped, and the real torch where it has them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lehr

SHARES = {  # final + (1 - final) * share(u), u from 0 at the end of the warmup to 1 at the end of the run
    "half_cosine": lambda u: 1 - math.sin(math.pi / 2 * u),
    "rex": lambda u: (1 - u) / (0.5 + (1 - u) / 2),
    "polynomial": lambda u: (1 - u) ** 2,
}


@pytest.mark.parametrize("name", SHARES)
@given(total=st.integers(2, 300), warmup=st.integers(1, 100), final=st.floats(0, 1))
def test_a_family_follows_its_formula(name, total, warmup, final):
    warmup = min(warmup, total - 1)
    schedule = getattr(lehr, name)(total, warmup, final=final)
    for step in range(warmup, total):
        u = (step + 1 - warmup) / (total - warmup)
        assert schedule(step) == pytest.approx(final + (1 - final) * SHARES[name](u), abs=1e-12)
    assert [schedule(step) for step in range(warmup)] == [pytest.approx((s + 1) / warmup) for s in range(warmup)]
    assert schedule(total - 1) == final == schedule(10 * total)


@given(total=st.integers(2, 300), warmup=st.integers(1, 100), final=st.floats(1e-6, 1))
def test_exponential_takes_the_same_factor_every_update(total, warmup, final):
    warmup = min(warmup, total - 1)
    schedule = lehr.exponential(total, warmup, final)
    for step in range(warmup, total):
        assert schedule(step) == pytest.approx(final ** ((step + 1 - warmup) / (total - warmup)), rel=1e-12)


@given(total=st.integers(3, 300), warmup=st.integers(0, 99), share=st.floats(0, 1), step=st.integers(0, 400))
def test_inverse_sqrt_with_a_cooldown_is_its_curve_and_then_a_line(total, warmup, share, step):
    warmup = min(warmup, total - 2)
    cooldown = int(share * (total - max(warmup, 1)))
    schedule = lehr.inverse_sqrt(total, warmup, cooldown=cooldown)
    at = total - cooldown
    if step < at:
        assert schedule(step) == pytest.approx(lehr.inverse_sqrt(total, warmup)(step), rel=1e-12)
    elif cooldown:
        left = max(total - (step + 1), 0) / cooldown
        assert schedule(step) == pytest.approx(schedule(at - 1) * left, abs=1e-12)
    assert schedule.total == total


COOLDOWNS = {  # 1 to 0.01: every cooldown in use, by its formula
    "linear": lambda u: 1 - 0.99 * u,
    "cosine": lambda u: 0.01 + 0.99 * (1 + math.cos(math.pi * u)) / 2,
    "sqrt": lambda u: 1 - 0.99 * math.sqrt(u),
    "exponential": lambda u: 0.01**u,
    "inverse": lambda u: 1 / (1 + 99 * u),
    "exponential:0.5": lambda u: 0.01 + 0.99 * (2 * 0.5**u - 1),  # Megatron-LM's, which can end at 0
}


@pytest.mark.parametrize("shape", COOLDOWNS)
def test_wsd_cools_down_along_every_shape_in_use(shape):
    schedule = lehr.wsd(total=1000, warmup=20, decay=200, final=0.01, shape=shape)
    for step in (800, 850, 900, 999):
        assert schedule(step) == pytest.approx(COOLDOWNS[shape]((step - 799) / 200), rel=1e-12)
    with_zero = ("linear", "cosine", "sqrt", "exponential:0.5")
    if shape in with_zero:
        assert lehr.wsd(total=1000, warmup=20, decay=200, shape=shape)(999) == 0
    else:
        with pytest.raises(ValueError, match=r"never reaches 0; write 0\.001"):
            lehr.wsd(total=1000, warmup=20, decay=200, shape=shape)


def test_noam_is_the_papers_learning_rate():
    schedule = (512 * 4000) ** -0.5 * lehr.noam(100_000, 4000)
    for step_num in (1, 17, 3999, 4000, 4001, 50_000, 100_000):
        expected = 512**-0.5 * min(step_num**-0.5, step_num * 4000**-1.5)
        assert schedule(step_num - 1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("exponent", [-0.51, -0.5, -1, -2.5])
@pytest.mark.parametrize("warmup", [0, 100])
def test_power_is_a_power_of_time(exponent, warmup):
    schedule = lehr.power(2000, warmup, exponent)
    scale = max(warmup, 1)
    for step in (warmup, warmup + 1, 500, 1999):
        # without a warmup update 0 stands at the peak, and time begins after it
        time = step + 1 - warmup if warmup else step
        assert schedule(step) == pytest.approx(((time + scale) / scale) ** exponent, rel=1e-11)


def test_trapezoid_goes_up_along_and_down_in_straight_lines():
    schedule = lehr.trapezoid(100, 10, 20)
    assert [schedule(s) for s in (0, 9, 79, 89, 99)] == [0.1, 1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize("beta2", [0.9, 0.95, 0.98, 0.99, 0.999])
def test_untuned_warmups_follow_from_beta2(beta2):
    linear, approach = lehr.untuned_linear(5000, beta2), lehr.untuned_exponential(5000, beta2)
    length = {0.9: 20, 0.95: 40, 0.98: 100, 0.99: 200, 0.999: 2000}[beta2]
    assert linear.joints == (0, length, 5000) and linear.total == approach.total == 5000
    for step in (0, 7, 500, 4999):
        assert approach(step) == pytest.approx(-math.expm1(-(step + 1) * (1 - beta2)), rel=1e-12)


def used_by_torch(make, updates):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    used = []
    for _ in range(updates):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


def test_steps_and_restarts_equal_torchs():
    from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, MultiStepLR, StepLR

    cases = [
        (lehr.step(50, 7, 0.5), lambda o: StepLR(o, 7, 0.5), 50),
        (lehr.multistep(50, (5, 30), 0.1), lambda o: MultiStepLR(o, [5, 30], 0.1), 50),
        (
            lehr.sgdr(5, 3, growth=2, final=0.1, sample="start"),
            lambda o: CosineAnnealingWarmRestarts(o, 5, 2, eta_min=0.1),
            35,
        ),
    ]
    for schedule, make, updates in cases:
        assert [schedule(s) for s in range(updates)] == pytest.approx(used_by_torch(make, updates), abs=1e-12)


def test_one_cycle_is_torchs_with_its_updates_counted_whole():
    schedule = lehr.one_cycle(100, 30, sample="start")
    # torch's phases end an update early: 29 up and 70 down
    torchs = lehr.convert("torch.OneCycleLR", max_lr=1.0, total_steps=100)
    assert (schedule(0), schedule(30), schedule(100)) == (0.04, 1.0, 4e-6)
    assert schedule(30) == torchs(29) and schedule(0) == pytest.approx(torchs(0))


@given(
    cycle=st.integers(2, 30),
    cycles=st.integers(1, 4),
    growth=st.sampled_from([1, 1.5, 2]),
    ratio=st.floats(0.1, 1),
    warmup=st.integers(0, 10),
)
def test_every_cycle_uses_its_peak_and_its_floor(cycle, cycles, growth, ratio, warmup):
    schedule = lehr.sgdr(cycle, cycles, growth, ratio, warmup)
    begin = warmup
    for index in range(cycles):
        length = round(cycle * growth**index)
        first = schedule(begin - 1) if index == 0 and warmup else schedule(begin)
        assert first == ratio**index
        assert schedule(begin + length - 1) == 0.0
        begin += length
    assert schedule.total == begin


def test_wsd_s_cools_down_again_and_again_from_the_peak():
    schedule = lehr.wsd_s(1000, 20, 50, cycles=4)
    for end in (250, 500, 750, 1000):
        assert schedule(end - 51) == 1.0 and schedule(end - 1) == pytest.approx(0.1)
        assert 1 / schedule(end - 26) == pytest.approx((1 / 1 + 1 / 0.1) / 2)  # half way 1 / value is half way


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lehr.one_cycle(10, 10), "leaves no rise or no fall in total=10; write warmup=3"),
        (lambda: lehr.one_cycle(100, 0.3), "write warmup=30"),
        (lambda: lehr.sgdr(1, 2), "cycle 0 would last 1 updates, and takes 2"),
        (lambda: lehr.sgdr(10, 0), "cycles is a count from 1 to 10000, not 0"),
        (lambda: lehr.sgdr(10, 2, growth=-1), "growth is above 0"),
        (lambda: lehr.wsd_s(100, 10, 50, 2), "has no room for 50 updates of cooldown"),
        (lambda: lehr.wsd_s(100, 10, 5, 0), "cycles is a count from 1 to 10000, not 0"),
        (lambda: lehr.step(100, 0), "every is a count of updates >= 1, not 0"),
        (lambda: lehr.multistep(100, (30, 20)), "milestones rise from above warmup=0 to below total=100, not [30, 20]"),
        (lambda: lehr.multistep(100, (30,), factor=-1), "factor is a ratio of the peak, a number >= 0, not -1"),
        (lambda: lehr.inverse_sqrt(100, 10, cooldown=91), "do not fit into total=100; write cooldown=90 or less"),
        (lambda: lehr.inverse_sqrt(100, 10, final=0.1), "are those of the cooldown; write cooldown=18"),
        (lambda: lehr.power(100, 10, exponent=0.5), "exponent is a number below 0, such as -0.51, not 0.5"),
        (lambda: lehr.polynomial(100, power=0), "needs a power above 0"),
        (lambda: lehr.exponential(100, final=0), "this curve never reaches 0"),
        (lambda: lehr.untuned_linear(100, 1.0), "beta2 is a number from 0 to below 1"),
        (lambda: lehr.untuned_linear(100, 0.999), "warmup=2000 is longer than total=100"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        call()
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
