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


def test_the_counts_that_are_reported():
    cases = [name for name, (_, case) in CASES.items() if recorded(case)]
    missing = [name for name in cases if why_not(name)]
    assert len(CASES) == 282 and len(missing) == 10


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
]


@pytest.mark.parametrize("text", ROUNDED)
@pytest.mark.parametrize("form", ["%.6f", "%.7f", "%.2e", "%.4e"])
@pytest.mark.parametrize("stride", [1, 10])
def test_a_log_of_few_digits_or_few_steps_gives_back_the_very_text(text, form, stride):
    schedule, steps = PEAK * parse(text), range(0, 1000, stride)
    found = lehr.identify(steps, [float(form % schedule(step)) for step in steps])
    assert (found.text, found.peak) == (text, PEAK)
    assert [form % found.schedule(step) for step in steps] == [form % schedule(step) for step in steps]


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
    assert found and found.text.endswith("cosine 900 to 0.1") and found.total == 1000 and found.peak == PEAK


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
        ([0, 0], [1, 2], "step 0 stands twice in the log, with 1.0 and 2"),
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
