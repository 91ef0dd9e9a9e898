"""lehr.diff against every update looked at, and the commands diff and extend as a person meets them."""

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from strategies import schedules

import lehr
from lehr import Schedule, parse


def lehr_command(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "lehr", *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def looked_at_each(a: Schedule, b: Schedule):
    """(first difference, greatest distance) by hand, beyond roundings."""
    steps = range(math.ceil(max(a.total, b.total)) + 2)
    apart = [abs(a(step) - b(step)) for step in steps]
    enough = 1e-12 * max(a.peak, b.peak)
    return next((step for step in steps if apart[step] > enough), None), max(apart)


@given(schedules(most=5), schedules(most=5))
@settings(max_examples=150)
def test_what_is_found_is_what_a_look_at_each_update_finds(a, b):
    found = lehr.diff(a, b)
    first, greatest = looked_at_each(a, b)
    assert found.first == first and bool(found) == (first is not None)
    assert found.absolute == pytest.approx(greatest, rel=1e-9, abs=1e-12)
    if found:
        assert found.values == (a(first), b(first)) and first <= found.absolute_at
        assert abs(a(found.absolute_at) - b(found.absolute_at)) == found.absolute
        x, y = a(found.relative_at), b(found.relative_at)
        assert found.relative == abs(x - y) / max(x, y) and 0 < found.relative <= 1
    assert found.areas == (a.area(0, found.total), b.area(0, found.total))


@given(schedules())
@settings(max_examples=60)
def test_a_schedule_does_not_differ_from_itself_nor_from_its_text_read_again(schedule):
    found = lehr.diff(schedule, parse(str(schedule)), tolerance=0)
    assert not found and (found.absolute, found.absolute_at, found.relative, found.values) == (0, None, 0, None)


@given(schedules(most=5), schedules(most=5))
@settings(max_examples=50)
def test_the_other_way_round_everything_is_the_same(a, b):
    one, other = lehr.diff(a, b), lehr.diff(b, a)
    assert (one.first, one.absolute, one.relative) == (other.first, other.absolute, other.relative)
    assert one.areas == other.areas[::-1] and one.update_sums == other.update_sums[::-1]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("cosine 50k from 1 to 0", "linear 50k from 1 to 0"),
        ("cosine 50k from 1 to 0", "half_cosine 50k from 1 to 0"),
        ("linear 1k to 1, cosine 50k to 0", "linear 1k to 1, cosine 50k to 0, sampled at start"),
        ("linear 1k to 1, hold 30k, sqrt 9k to 0", "linear 3k to 1, hold 20k, linear 17k to 0"),
        ("hold 40k, at 30k cosine 20k to 0", "hold 40k, at 30001 cosine 20k to 0"),
        ("poly:2 40k from 1 to 0", "k_decay:0.5 30k from 1 to 0"),
        ("hold 10k, exponential 30k to 0.001", "hold 10k, inverse 30k to 0.001"),
    ],
)
def test_long_ramps_are_compared_to_the_update_without_looking_at_each(a, b):
    one, other = parse(a), parse(b)
    found = lehr.diff(one, other)
    first, greatest = looked_at_each(one, other)
    assert found.first == first and found.absolute == pytest.approx(greatest, rel=1e-9)


def test_a_million_million_updates_take_no_longer():
    found = lehr.diff(parse("cosine 1000B from 1 to 0"), parse("cosine 1001B from 1 to 0"))
    assert found.absolute == pytest.approx(math.pi / 2 * 0.5792 * 1e-3, rel=2e-3)
    assert found.absolute_at == pytest.approx(6.46e11, rel=0.01) and found.areas[1] == pytest.approx(500.5e9)


def test_the_same_request_in_two_conventions_differs_by_one_update():
    found = lehr.diff(lehr.cosine(100, 10), lehr.cosine(100, 10, sample="start"))
    assert (found.first, found.values, found.relative_at, found.relative) == (0, (0.1, 0.0), 0, 1.0)
    assert found.areas[0] == found.areas[1]
    assert found.update_sums == pytest.approx((54.55, 54.45), rel=1e-14)


def test_the_tolerance_is_a_share_of_the_peak():
    a, b = lehr.constant(100), lehr.constant(100) * 1.001
    assert lehr.diff(a, b).first == 0 and not lehr.diff(a, b, tolerance=0.002)
    assert not lehr.diff(3e-4 * a, 3e-4 * b, tolerance=0.002)


def test_what_is_not_comparable_is_refused():
    with pytest.raises(TypeError, match=r"write lehr.parse\('hold 10'\)"):
        lehr.diff("hold 10", lehr.constant(10))
    with pytest.raises(ValueError, match="a share of the peak >= 0, not -1"):
        lehr.diff(lehr.constant(10), lehr.constant(10), tolerance=-1)


# --- the commands


def test_diff_tells_a_story_in_80_columns_and_exits_with_1():
    ours, theirs = "linear 2% to 1, cosine rest to 0.1", "linear 200 to 1, cosine 9800 to 0.1, sampled at start"
    done = lehr_command("diff", ours, theirs, "--total", "10k", "--lr", "3e-4")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "A  linear 200 to 1, cosine 9800 to 0.1  [times 0.0003]"
    table = {line[:17].strip(): line[17:].split() for line in lines}
    assert table["first difference"] == ["0", "1.5e-06", "0", "-1.5e-06", "-100", "%"]
    assert lines[-1] == "The same ramps, sampled differently: B uses what A used one update before."


def test_diff_of_equals_exits_with_0():
    done = lehr_command(
        "diff", "linear 2% to 1, cosine rest to 0.1", "linear 20 to 1, cosine 980 to 0.1", "--total", "1k"
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "equal at every update")
    done = lehr_command("diff", "linear 10 from 1 to 0", "poly:1 10 from 1 to 0")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "equal at every update, though written differently")


def test_diff_as_json_and_as_a_picture(tmp_path):
    out = tmp_path / "two.png"
    done = lehr_command("diff", "linear 10 to 1, hold 90", "linear 10 to 1, cosine 90 to 0", "--json", "--out", out)
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["differ"] is True and found["first"] == 10 and found["areas"] == [95, 50]
    assert found["a"] == "linear 10 to 1, hold 90" and found["absolute"] == 1 and found["absolute_at"] == 99
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_run_s_folder_stands_for_its_schedule(tmp_path):
    run = tmp_path / "run"
    done = lehr_command("train", "--dry-run", "--steps", 100, "--lr", "2e-3", "--out", run)
    assert done.returncode == 0, done.stderr
    assert lehr_command("diff", run, "linear 5 to 1, cosine 95 to 0.1").returncode == 0
    done = lehr_command("diff", run, "linear 5 to 1, cosine 95 to 0", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["lr"] == [2e-3, 2e-3]
    done = lehr_command("extend", run, "--at", 50, "--to", 200)
    assert "linear 5 to 1, cosine 95 to 0.1, at 50 cosine 150 to 0.1" in " ".join(done.stdout.split())


def test_extend_shows_both_ways_and_the_jump_of_each():
    done = lehr_command("extend", "linear 100 to 1, cosine 900 to 0.1", "--at", 600, "--to", "2k", "--lr", "3e-4")
    assert (done.returncode, done.stderr) == (0, "") and max(map(len, done.stdout.splitlines())) <= 80
    lines = done.stdout.splitlines()
    assert lines[1] == "extend      linear 100 to 1, cosine 900 to 0.1, at 600 cosine 1400 to 0.1"
    assert lines[2] == "rescale     linear 100 to 1, cosine 1900 to 0.1"
    jumps = {line.split()[0]: line.split() for line in lines[5:]}
    schedule = lehr.cosine(1000, 100)
    jump = 100 * (lehr.cosine(2000, 100)(600) / schedule(599) - 1)
    assert jumps["rescale"][3] == f"{jump:+.2f}" and jumps["extend"][1] == f"{3e-4 * schedule(599):.4g}"


def test_where_the_lr_stays_at_0_nothing_jumps():
    done = lehr_command("extend", "linear 100 to 1, cosine 900 to 0", "--at", 1000, "--to", 2000, "--json")
    facts = json.loads(done.stdout)
    assert facts["extend"]["jump"] == 0 and facts["rescale"]["jump"] is None  # from 0 to 0.54


def test_extend_as_json_and_where_one_way_has_no_room(tmp_path):
    out = tmp_path / "three.png"
    done = lehr_command("extend", "linear 9 to 1, hold 81, sqrt 10 to 0", "--at", 95, "--to", 90, "--out", out)
    assert done.returncode == 2 and "the run is past it" in done.stderr and done.stderr.count("\n") == 1
    done = lehr_command(
        "extend", "linear 10 to 1, hold 80, sqrt 10 to 0", "--at", 85, "--to", 90, "--out", out, "--json"
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0 and "there is no room" in found["extend"]["refused"]
    assert found["rescale"]["total"] == 90 and found["at"] == 85 and out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff", "hold 10"], "the following arguments are required: B"),
        (["diff", "hold 10", "hodl 10"], "did you mean 'hold'?"),
        (
            ["diff", "hold 10", "hold 5", "--tolerence", "1"],
            "unknown option '--tolerence'; did you mean '--tolerance'?",
        ),
        (["diff", "hold 10", "hold 5", "--out", "x.xyz"], "x.xyz"),
        (["diff", "hold 10", "."], "holds no run"),
        (["extend", "hold 10", "--at", "5"], "--to"),
        (["extend", "hold 10", "--at", "0.5", "--to", "20"], "'0.5' is not a whole number of updates"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(words, message, tmp_path):
    done = lehr_command(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
