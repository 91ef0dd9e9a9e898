"""lehr.check: the recorded traps are found, our own recipes pass, and nothing is sampled."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import schedules

import lehr
from lehr import Ramp, Schedule, check, convert, parse
from lehr.lint import CODES, SEVERITIES, Finding

PAGE = Path(__file__).parent.parent / "docs" / "check.md"


def found(schedule, **run):
    """{code: severity, the worst}: what the linter says."""
    return {finding.code: finding.severity for finding in reversed(check(schedule, **run))}


def bad(schedule, **run):
    """The codes of warnings and errors."""
    return {code for code, severity in found(schedule, **run).items() if severity != "info"}


# --- our own recipes pass


def recipes():
    for sample in ("end", "start"):
        for total in (100, 1000, 100_000):
            for warmup in (0, 1, total // 20, total // 5):
                long = {"total": total, "warmup": warmup, "sample": sample}
                for name in ("cosine", "linear", "constant", "inverse_sqrt", "polynomial", "half_cosine", "rex"):
                    yield getattr(lehr, name)(**long)
                yield lehr.exponential(**long)
                yield lehr.power(**long)
                yield lehr.cosine(**long, final=0)
                yield lehr.linear(**long, final=0.1)
                yield lehr.wsd(**long, decay=total // 5)
                yield lehr.wsd(**long, decay=total // 10, final=0.1, shape="linear")
                yield lehr.trapezoid(**long, decay=total // 5)
                yield lehr.wsd_s(**long, decay=total // 20, cycles=3)
                yield lehr.step(**long, every=total // 3)
                yield lehr.multistep(**long, milestones=[total // 2, total // 4 * 3])
                cycle = {"cycle": total // 7, "warmup": warmup, "sample": sample}
                yield lehr.sgdr(**cycle, cycles=1)
                yield lehr.sgdr(**cycle, cycles=3, growth=2)
                yield lehr.sgdr(**cycle, cycles=5, peak_ratio=0.5, final=0.01)
                if warmup:
                    yield lehr.noam(**long)
                    yield lehr.one_cycle(**long)
                    yield lehr.one_cycle(**long, shape="linear")
            for beta2 in (0.9, 0.95, 0.99):
                yield lehr.untuned_exponential(total, beta2, sample)
            yield lehr.untuned_linear(max(total, 2000), 0.999, sample)


def test_every_recipe_of_our_own_passes():
    rows = list(recipes())
    assert len(rows) > 500
    for schedule in rows:
        assert not bad(schedule), f"{schedule}: {check(schedule)}"
        assert not bad(schedule, total=math.ceil(schedule.total), lr=3e-4), str(schedule)


def test_the_edges_of_recipes_pass_too():
    edges = [lehr.cosine(1), lehr.linear(1), lehr.cosine(10, 10), lehr.cosine(10, 10, sample="start"), lehr.constant(1)]
    assert not [bad(schedule) for schedule in edges if bad(schedule)]


def test_the_texts_of_the_readme_pass():
    readme = (PAGE.parent.parent / "README.md").read_text().partition("## The text form")[2]
    texts = re.findall(r"^\| `([^`]+)` \|", readme, flags=re.MULTILINE)
    assert len(texts) == 6
    clock = lehr.Clock(total_steps=10_000, tokens_per_step=2_000_000)
    for text in texts:
        schedule = parse(text, clock)
        assert not bad(schedule), text
    assert check(parse("linear 2000 to 1, cosine 98000 to 0.1"), total=100_000) == []


# --- the recorded traps, named after the incident (docs/check.md)


def test_optax_warmup_constant_of_zero_steps_is_lr_0_for_ever():
    assert bad(parse("hold 1000 from 0")) == {"zero-update"}
    assert check(parse("hold 1000 from 0"))[0].severity == "error"


def test_pythia_whose_first_update_is_at_lr_0_gpt_neox_1373():
    pythia = convert(
        "transformers.get_cosine_schedule_with_warmup", lr=1, num_warmup_steps=1430, num_training_steps=143_000
    )
    assert found(pythia)["zero-update"] == "info" and check(pythia)[0].step == 0


def test_composer_whose_warmup_begins_with_two_updates_at_0():
    composer = parse("at 1 linear 100 to 1, cosine 900 to 0.1, sampled at start")
    assert bad(composer) == {"zero-update"} and "updates 0 to 1" in check(composer)[0].message


def test_timm_whose_decay_runs_beneath_the_warmup_timm_1242():
    timm = convert("timm.CosineLRScheduler", lr=1, t_initial=100, warmup_t=10)
    assert bad(timm) == {"jump", "peak-unused"}
    assert {finding.step for finding in check(timm) if finding.severity == "warning"} == {10}


def test_transformers_wsd_whose_warmup_and_decay_overlap():
    wsd = convert(
        "transformers.get_wsd_schedule", lr=1, num_warmup_steps=90, num_decay_steps=60, num_training_steps=100
    )
    assert "jump" in bad(wsd) and "down to" in next(f.message for f in check(wsd) if f.code == "jump")


def test_lingua_cosine_whose_cycles_do_not_meet():
    lingua = convert("lingua.build_optimizer", lr=1, n_steps=100, warmup=10, cycle_length=0.5)
    assert bad(lingua) == {"jump"} and check(lingua)[0].step == 50


def test_lingua_wsd_that_is_back_at_the_peak_after_the_end():
    wsd = parse("linear 10 to 1, hold 70, linear 20 to 0.1, hold 20 from 1")
    assert bad(wsd) == {"jump"} and "never comes down again" in check(wsd)[0].message


def test_megatron_inverse_sqrt_that_falls_off_a_cliff():
    assert bad(parse("linear 50 to 1, inverse_sqrt 450 to 0.316, hold 100 from 0")) == {"jump", "zero-update"}


def test_composer_scale_warmup_whose_ramp_ends_half_way_up():
    assert bad(parse("linear 100 from 0 to 0.495, cosine 1900 from 1 to 0")) == {"jump"}


def test_deepspec_32_whose_hand_off_overshoots_the_peak():
    assert bad(parse("linear 10 to 1, cosine 90 from 1.025 to 0")) == {"jump"}


def test_transformers_cosine_that_rises_again_after_its_end():
    past = Schedule((Ramp(0, 10, 0, 1), Ramp(10, 90, 1, 0, "cosine"), Ramp(100, 90, 0, 1, "cosine")))
    assert "rises-after-peak" in bad(past) and "rises-after-peak" in bad(past, total=120)


def test_torch_one_cycle_and_cyclic_rise_by_design():
    assert not bad(convert("torch.OneCycleLR", max_lr=1, total_steps=100))
    cyclic = convert("torch.CyclicLR", base_lr=0.1, max_lr=1, step_size_up=10, total=100)
    assert not bad(cyclic) and found(cyclic)["rises-after-peak"] == "info"


def test_torch_eta_min_above_the_lr():
    upside = convert("torch.CosineAnnealingLR", lr=3e-4, T_max=100, eta_min=5e-4)
    assert bad(upside) == {"floor-above-peak"}


def test_a_min_lr_that_was_meant_as_a_share():
    text = "transformers.get_cosine_with_min_lr_schedule_with_warmup"
    mixed = convert(text, lr=3e-4, num_warmup_steps=10, num_training_steps=100, min_lr=0.1)
    assert bad(mixed) == {"looks-like-ratio"} and "'to 3e-05'" in check(mixed)[0].instead


def test_timm_and_torch_whose_logarithm_leaves_the_minimum_where_a_cycle_begins():
    timm = convert("timm.CosineLRScheduler", lr=1, t_initial=1, cycle_mul=3, cycle_limit=10, total=400)
    zero = next(f for f in check(timm, total=400) if f.code == "zero-update")
    assert (zero.severity, zero.step) == ("warning", 121)


def test_accelerate_1398_whose_schedule_ends_four_times_too_early():
    assert bad(parse("linear 100 to 1, cosine 900 to 0"), total=4000) == {"shorter-than-run"}


def test_speculators_1104_whose_run_stops_before_the_decay_ends():
    assert bad(parse("linear 100 to 1, cosine 900 to 0"), total=400) == {"longer-than-run"}


def test_megatron_bridge_2609_whose_cooldown_never_begins():
    wsd = lehr.wsd(total=1000, warmup=50, decay=100)
    assert bad(wsd, total=900) == {"phase-unentered", "longer-than-run"}
    assert "cooldown 'sqrt 100 from 1 to 0'" in check(wsd, total=900)[0].message
    assert bad(wsd, total=950) == {"longer-than-run"}


def test_litgpt_132_that_is_under_warmup_after_five_epochs():
    (finding,) = check(parse("linear 2000 to 1, cosine 98000 to 0.1"), total=500)
    assert (finding.code, finding.severity, finding.step) == ("warmup-longer-than-run", "error", 499)


def test_torch_linear_lr_of_zero_steps_that_stays_at_a_third():
    assert not bad(parse("hold 100 from 0.333"))
    assert bad(parse("hold 100 from 0.333"), lr=1e-3) == {"peak-unused"}


def test_learning_rates_multiplied_by_the_peak_once_more():
    rates = 3e-4 * lehr.cosine(1000, 50)
    assert bad(rates, lr=3e-4) == {"looks-like-lr"} and not bad(rates) and found(rates)["looks-like-lr"] == "info"
    assert check(rates, lr=1) == []


def test_a_learning_rate_as_the_floor_of_multipliers():
    text = parse("linear 50 to 1, cosine 950 to 3e-5")
    assert bad(text, lr=3e-4) == {"looks-like-lr"} and "'to 0.1'" in check(text, lr=3e-4)[0].instead
    assert found(text) == {"looks-like-lr": "info"}
    assert bad(parse("linear 50 to 1, cosine 950 to 5e-6"), lr=3e-4) == {"looks-like-lr"}  # a sixtieth of the peak


def test_a_factor_as_the_peak_learning_rate():
    assert found(lehr.noam(10_000, 400), lr=2) == {"looks-like-ratio": "info"}


# --- what is on purpose, and what is not


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("hold 30, hold 30 from 0.1, hold 30 from 0.01", {"jump": "info"}),
        ("hold 10 from 0.1, hold 90 from 1", {"jump": "info"}),  # a constant warmup
        ("hold 10 from 0.1, cosine 90 from 1 to 0.1", {"jump": "info", "peak-unused": "info"}),
        ("linear 10 to 0.1 from 0, cosine 90 from 1 to 0.1", {"jump": "warning", "peak-unused": "info"}),
        ("approach:40 800 from 0 to 1", {"long-warmup": "info"}),
        (
            "linear 3 to 1, cosine 47 to 0, linear 3 to 1, cosine 47 to 0.1, sampled at start",
            {"zero-update": "info", "rises-after-peak": "info", "floor-unreached": "info"},
        ),
        (
            "cosine 14 from 0.04 to 1, cosine 14 to 0.04, cosine 22 to 4e-6",  # one-cycle in three phases
            {"long-warmup": "info", "looks-like-lr": "info"},
        ),
        ("hold 30, hold 30 from 0.1, hold 30 from 1", {"jump": "warning"}),
        ("cosine 100 from 1 to 0.1, cosine 100 from 1 to 0.1", {"jump": "info", "peak-unused": "info"}),
        (
            "cosine 50 from 1 to 0.1, linear 5 from 0 to 1, cosine 45 to 0.1",
            {"jump": "info", "rises-after-peak": "info"},
        ),
        ("linear 5 to 1, cosine 95 from 0.5 to 0.1", {"jump": "warning"}),
        ("linear 5 to 1, cosine 95 from 0.995 to 0.1", {"jump": "info"}),
        ("linear 5 to 1, cosine 95 to 0.1, at 50 cosine 50 from 1 to 0.1", {"jump": "warning"}),
        ("hold 50, linear 1 to 0.1, hold 49", {}),
        ("linear 10 to 1, hold 90", {}),
        ("linear 20 to 1, hold 80", {"long-warmup": "info"}),
        ("linear 5 to 1, cosine 95 to 0.1, linear 5 to 0.5", {"rises-after-peak": "warning"}),
        ("exponential 1000 from 1e-6 to 1", {"long-warmup": "info"}),  # a range test
        ("linear 1000 from 1e-6 to 1", {"long-warmup": "info"}),
        ("linear 5 to 1, exponential 95 to 0.001", {"low-decay": "warning"}),
        ("linear 5 to 1, exponential 95 to 0.02", {}),
        ("linear 5 to 1, inverse_sqrt 2000 to 0.01", {"low-decay": "info"}),
        ("linear 5 to 1, linear 95 to 0.01", {}),
        ("linear 5 to 1, at 5.2 linear 0.5 to 0.9, at 5.9 cosine 94.1 to 0.1", {"phase-unentered": "info"}),
        ("hold 10, linear 20 to 0, hold 30, cosine 40 from 1 to 0.1", {"zero-update": "warning", "jump": "info"}),
    ],
)
def test_a_schedule_is_judged_by_its_form(text, codes):
    assert found(parse(text)) == codes


def test_a_step_is_that_of_the_first_update_concerned():
    text = "linear 5 to 1, hold 20, cosine 25 from 0.5 to 0.1"
    for ending in ("", ", sampled at start"):
        schedule = parse(text + ending)
        (jump,) = (finding for finding in check(schedule) if finding.code == "jump")
        assert jump.step == 25 and schedule(24) == 1 and schedule(25) <= 0.5
    assert next(f.step for f in check(parse("linear 5 to 1, exponential 95 to 0.001"))) == 5 + 95 // 3


def test_a_run_of_another_length_is_told_from_one_update_of_convention():
    cosine = lehr.cosine(1000, 50)
    assert [found(cosine, total=total) for total in (999, 1000, 1001)] == [{"floor-unreached": "info"}, {}, {}]
    assert bad(cosine, total=900) == {"longer-than-run"} and found(cosine, total=998) == {"longer-than-run": "info"}
    assert bad(cosine, total=1002) == {"shorter-than-run"}
    assert found(lehr.constant(1000, 50), total=5000) == {"shorter-than-run": "info"}
    assert found(parse("linear 50 to 1, hold 1000"), total=600) == {"longer-than-run": "info"}
    assert found(lehr.noam(1000, 50), total=600) == {"longer-than-run": "info"}
    assert found(parse("hold 30, hold 30 from 0.1, hold 0 from 0.01"), total=90) == {
        "jump": "info",
        "shorter-than-run": "info",
    }
    # an approach is there long before it ends
    assert found(parse("approach:40 800 from 0 to 1"), total=1000) == {"shorter-than-run": "info"}
    assert found(parse("approach:40 800 from 0 to 1"), total=700) == {"long-warmup": "info", "longer-than-run": "info"}
    assert bad(parse("approach:40 800 from 0 to 1"), total=90) == {"warmup-longer-than-run"}


def test_a_floor_written_in_percent_is_noticed():
    for text in ("linear 100 to 1, cosine 900 to 10", "linear 100 to 1, linear 900 to 10"):
        (finding,) = [f for f in check(parse(text), total=1000) if f.severity == "warning"]
        assert finding.code == "floor-above-peak" and "for a floor of 10 % write 'to 0.1'" in finding.instead
    assert found(lehr.cosine(1000, 100, final=10))["floor-above-peak"] == "warning"


def test_beta2_asks_for_a_warmup():
    assert found(lehr.cosine(1000, 10), beta2=0.999) == {"short-warmup": "warning"}
    assert found(lehr.cosine(1000), beta2=0.95) == {"short-warmup": "warning"}
    assert found(lehr.cosine(1000, 30), beta2=0.95) == {"short-warmup": "info"}
    assert found(lehr.cosine(1000, 40), beta2=0.95) == {}


def test_a_share_that_rounds_to_no_update_is_a_warning_where_the_text_is_known():
    text = "linear 1% to 1, cosine rest to 0.1"
    assert bad(text, total=49) == {"phase-vanished"} and found(text, total=50) == {}  # half an update is one
    (finding,) = check(text, total=40)
    assert finding.message.startswith("'linear 1% to 1' is 0.4 of an update and rounds to none")
    assert "phase-vanished" not in found(parse(text, total=40))  # a schedule does not know
    # at the end, in the middle, a level stretch, and in other units
    (finding,) = check("linear 10% to 1, hold rest, sqrt 0.5% to 0", total=80)
    assert (finding.code, finding.severity, finding.step) == ("phase-vanished", "warning", 79)
    assert found("linear 10% to 1, hold 1%, linear rest to 0.1", total=40)["phase-vanished"] == "info"
    clock = lehr.Clock(1000, tokens_per_step=8192)
    assert bad("linear 4k tokens to 1, cosine rest to 0.1", clock=clock) == {"phase-vanished"}
    both = check("linear 0.1% to 1, hold 0.1%, cosine rest to 0.1", total=40)[0]
    assert both.severity == "warning" and "(2 of the items do): the run goes" in both.message
    # what is written as nothing is meant
    assert "phase-vanished" not in found("linear 0 to 1, linear 20% to 1, hold rest, linear 80% to 0", total=100)
    assert "phase-vanished" not in found("linear 0% to 1, linear 100% to 0.1", total=100)


# --- how it says it


def test_findings_are_sorted_by_severity_and_read_as_a_line():
    findings = check(parse("linear 100 to 1, cosine 900 to 0, sampled at start"), total=4000, beta2=0.999)
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), key=SEVERITIES.index)
    assert all(str(f).startswith(f"{f.severity}: {f.code} at step {f.step}: ") for f in findings)
    assert len({f.code for f in findings}) == len(findings) == 3


@pytest.mark.parametrize(
    ("error", "args", "message"),
    [
        (
            TypeError,
            (None,),
            r"check takes a Schedule or a text, not None; write lehr\.check\(lehr\.cosine\(10_000\)\)",
        ),
        (ValueError, ("linear 1% to 1",), r"'1%' is a share of the run; say how long it is: total=10000"),
        (ValueError, (lehr.cosine(10), 10, None, None, lehr.Clock(10)), "clock turns a text's durations into steps"),
        (ValueError, (lehr.cosine(10), 0), "total is a whole number of updates >= 1, not 0"),
        (ValueError, (lehr.cosine(10), 2.5), r"total is a whole number of updates >= 1, not 2\.5"),
        (ValueError, (lehr.cosine(10), math.nan), "total is a whole number of updates >= 1, not nan"),
        (ValueError, (lehr.cosine(10), math.inf), "total is a whole number of updates >= 1, not inf"),
        (ValueError, (lehr.cosine(10), 10, 1), "beta2 is a number from 0 to below 1, such as 0.999, not 1"),
        (ValueError, (lehr.cosine(10), 10, None, 0), "lr is the peak learning rate, a number above 0, not 0"),
    ],
)
def test_what_cannot_be_checked_is_refused(error, args, message):
    with pytest.raises(error, match=message):
        check(*args)


# --- laws


@given(
    schedules(), st.none() | st.integers(1, 5000), st.none() | st.sampled_from([0.9, 0.999]), st.none() | st.just(1e-3)
)
@settings(max_examples=200, deadline=None)
def test_any_schedule_gets_findings_that_are_whole(schedule, total, beta2, lr):
    for finding in check(schedule, total, beta2, lr):
        assert isinstance(finding, Finding) and finding.code in CODES and finding.severity in SEVERITIES
        assert 0 <= finding.step < (total or max(1, math.ceil(schedule.total))) and finding.message and finding.instead
        assert "\n" not in str(finding)


@given(schedules(longest=200, most=8), st.integers(1, 300))
@settings(max_examples=200, deadline=None)
def test_what_is_said_without_sampling_is_what_sampling_shows(schedule, total):
    values = [schedule(step) for step in range(total)]
    codes = found(schedule, total=total)
    if codes.get("zero-update") == "error":
        assert not any(values)
    if not any(values):
        assert codes["zero-update"] == "error"
    if codes.get("zero-update", "error") != "error":
        assert 0 in values
    if "warmup-longer-than-run" in codes:
        assert values == sorted(values)
    if "peak-unused" in codes:
        assert max(values) < schedule.peak
    if "floor-unreached" in codes:
        assert schedule.ramps[-1].end_value not in values[-1:]


@given(schedules(most=6), st.sampled_from([2.0**-12, 2.0**5]))
@settings(max_examples=100, deadline=None)
def test_the_course_of_a_curve_is_judged_alike_at_any_scale(schedule, factor):
    ratios = {"looks-like-lr", "looks-like-ratio", "floor-above-peak"}
    if ratios & {*found(schedule), *found(factor * schedule)}:
        return  # these are about the scale itself
    assert found(factor * schedule) == found(schedule)


def test_a_run_of_a_million_million_updates_is_checked_as_quickly_as_one_of_a_hundred():
    parts = [f"cosine 100B {'from 1 ' if i % 3 == 0 else ''}to 0.{9 - i}" for i in range(9)]
    assert not bad(parse(", ".join(["linear 100B to 1", *parts])))  # sampling would not come to an end
    (finding,) = check(parse("linear 1B to 1, exponential 999B to 0.001"))
    assert finding.step == pytest.approx(1e9 + 999e9 / 3, rel=1e-6)


# --- the page


def test_every_code_has_its_paragraph_and_every_paragraph_its_code():
    page = PAGE.read_text()
    assert re.findall(r"^### `([a-z0-9-]+)`$", page, flags=re.MULTILINE) == list(CODES)
    for paragraph in re.split(r"^### .*$", page, flags=re.MULTILINE)[1:]:
        assert re.search(r"#\d+|arXiv|\(read in its source\)|\(run\)", paragraph), paragraph
