"""lehr.shapes: the curves keep their digits, their ends, their bounds and their direction."""

import math
import random
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NEVER_ZERO, SHAPES, ends, fitting, ramp_over, shapes, values

import lehr
from lehr import Ramp, parse
from lehr.shapes import TABLE, register, resolve

inside = st.one_of(st.floats(0, 1), st.floats(0, 1e-6), st.floats(0, 1e-6).map(lambda x: 1 - x))


def falls(shape: str, u: float) -> float:
    """The published formula, without a thought for its digits: the weight of `a`, from 1 at u = 0 to 0 at u = 1."""
    name, *texts = shape.split(":")
    p = [float(text) for text in texts]
    if name in ("cosine", "sqrt"):
        u0, k = ([*p, 0.0][0], [*p, 0.0, 1.0][1] if len(p) == 2 else 1.0)
        whole = {"cosine": lambda x: (1 + math.cos(math.pi * x**k)) / 2, "sqrt": lambda x: 1 - math.sqrt(x)}[name]
        return whole(u0 + (1 - u0) * u) / whole(u0)
    if name == "tanh":
        lower, upper = math.tanh(p[0]), math.tanh(p[1])
        return (upper - math.tanh(p[0] + (p[1] - p[0]) * u)) / (upper - lower)
    if name == "exponential":
        return (p[0] ** u - p[0]) / (1 - p[0])
    if name == "inverse_sqrt":
        return (1 / math.sqrt(1 + (p[0] ** -2 - 1) * u) - p[0]) / (1 - p[0])
    return {
        "linear": lambda: 1 - u,
        "poly": lambda: (1 - u) ** p[0],
        "half_cosine": lambda: 1 - math.sin(math.pi * u / 2),
        "cosine_power": lambda: ((1 + math.cos(math.pi * u)) / 2) ** p[0],
        "k_decay": lambda: (1 - u ** p[0]) ** [*p, 1.0][1],
        "rex": lambda: (1 - u) / (0.5 + (1 - u) / 2),
        "approach": lambda: 1 - (1 - math.exp(-p[0] * u)) / (1 - math.exp(-p[0])),
    }[name]()


def power_mean(shape: str, a: float, b: float, u: float) -> float:
    """value**p runs linearly. Near its high end a small low end leaves nothing of 16 digits, so it is done in 60."""
    name, _, text = shape.partition(":")
    with localcontext(prec=60):
        low, high, x = Decimal(a), Decimal(b), Decimal(u)
        p = Decimal(text or {"inverse": -1, "inverse_sqrt": -2, "exponential": 0}[name])
        return float(low * (high / low) ** x if p == 0 else (low**p + (high**p - low**p) * x) ** (1 / p))


def textbook(shape: str, a: float, b: float, u: float) -> float:
    if shape in NEVER_ZERO or shape.startswith("power:"):
        return power_mean(shape, a, b, u)
    return b + (a - b) * falls(shape, u)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_agrees_with_the_textbook_formula(shape):
    draw = random.Random(0)
    for a, b in ((1.0, 0.1), (0.1, 1.0), (3e-4, 7e-5), (1e-3, 2.0)):
        for u in [draw.random() for _ in range(30)] + [1e-9, 1 - 1e-9]:
            expected = textbook(shape, a, b, u)
            assert ramp_over(shape, a, b)(u) == pytest.approx(expected, rel=1e-12, abs=1e-12 * max(a, b)), (a, b, u)


@given(ends(), inside)
def test_whatever_the_ends_the_textbook_formula_is_met(shape_and_ends, u):
    shape, a, b = shape_and_ends
    assert ramp_over(shape, a, b)(u) == pytest.approx(textbook(shape, a, b, u), rel=1e-12, abs=1e-12 * max(a, b))


@given(ends(), st.one_of(st.integers(1, 10**6), st.floats(0.01, 1e6)), st.sampled_from(["end", "start"]))
def test_the_ends_are_exact_to_the_bit(shape_and_ends, duration, sample):
    shape, a, b = shape_and_ends
    schedule = lehr.Schedule((Ramp(1, duration, a, b, shape),), sample)
    first, last = (0, duration) if sample == "end" else (1, 1 + duration)
    assert schedule(first) == a and schedule(last) == b and schedule(last + 1) == b


@given(ends(), inside)
def test_the_curve_never_turns_back_between_neighbouring_floats(shape_and_ends, u):
    shape, a, b = shape_and_ends
    curve = ramp_over(shape, a, b)
    here, there = curve(u), curve(math.nextafter(u, 2))
    assert here <= there if a < b else here >= there


def test_the_curve_never_turns_back_in_many_tries():
    # neighbours differ by less than the rounding of sin, expm1 or pow, so few tries would show nothing
    draw = random.Random(0)
    for shape in SHAPES:
        for a, b in ((1.0, 0.1), (0.1, 1.0), (3e-4, 7e-5), (0.3, 0.9)):
            curve = ramp_over(shape, a, b)
            for _ in range(150):
                u = draw.choice([draw.random(), 10 ** draw.uniform(-12, 0), 1 - 10 ** draw.uniform(-12, 0)])
                assert (curve(math.nextafter(u, 2)) - curve(u)) * (b - a) >= 0, (shape, a, b, u)


@given(ends(), inside)
def test_the_curve_stays_between_its_ends(shape_and_ends, u):
    shape, a, b = shape_and_ends
    assert min(a, b) <= ramp_over(shape, a, b)(u) <= max(a, b)


@given(shapes, values, inside)
def test_a_level_ramp_is_level_whatever_its_shape(shape, value, u):
    assert ramp_over(shape, value, value)(u) == value


@given(ends(), inside)
def test_power_is_linear_in_value_to_the_p(shape_and_ends, u):
    _, a, b = shape_and_ends
    for same, other in (("power:1", "linear"), ("power:0", "exponential"), ("power:-2", "inverse_sqrt")):
        if fitting(other, a, b) == other and min(a, b) > 0:
            expected = ramp_over(other, a, b)(u)
            assert ramp_over(same, a, b)(u) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shape", NEVER_ZERO)
@pytest.mark.parametrize("value", [(1, 0), (0, 1)])
def test_a_curve_that_never_reaches_zero_refuses_it(shape, value):
    with pytest.raises(ValueError, match=rf"^{shape} 10 from .*: this curve never reaches 0; write 0.001, say"):
        Ramp(0, 10, *value, shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("cosin", "unknown shape 'cosin'; did you mean 'cosine'?"),
        ("", "unknown shape ''; known are linear, cosine, sqrt"),
        ("poly", "shape 'poly' has 0 parameters; write poly:<power>"),
        ("poly:2:3", "shape 'poly:2:3' has 2 parameters; write poly:<power>"),
        ("linear:1", "shape 'linear:1' has 1 parameters; write 'linear' alone"),
        ("tanh:-7", "shape 'tanh:-7' has 1 parameters; write tanh:<lb>:<ub>"),
        (
            "cosine:0:1:2",
            "shape 'cosine:0:1:2' has 3 parameters; write 'cosine' alone or cosine:<u0> or cosine:<u0>:<k>",
        ),
        ("poly:two", "shape 'poly:two' has the parameter 'two', which is not a number"),
        ("poly:nan", "shape 'poly:nan' has the parameter 'nan', which is not a number"),
        ("poly:1e999", "shape 'poly:1e999' has the parameter '1e999', which is not a number"),
        ("poly:0", "poly:0 needs a power above 0; write poly:2"),
        ("poly:-1", "poly:-1 needs a power above 0; write poly:2"),
        ("cosine:1", "cosine:1 is entered at a share of its time below 1; write cosine:0.5"),
        ("cosine:0:0", "cosine:0:0 needs a power above 0; write cosine:0:2"),
        ("cosine_power:0", "cosine_power:0 needs a power above 0; write cosine_power:2"),
        ("sqrt:-0.5", "sqrt:-0.5 is entered at a share of its time from 0 to below 1; write sqrt:0.5"),
        ("tanh:3:-7", "tanh:3:-7 needs a lower and a higher bound within 40; write tanh:-7:3"),
        ("k_decay:-1", "k_decay:-1:1 needs numbers above 0; write k_decay:2:0.5"),
        ("exponential:1", "exponential:1 needs a number above 0, not 1; write exponential:0.5"),
        ("inverse_sqrt:0", "inverse_sqrt:0 needs a number above 0, not 1; write inverse_sqrt:0.1"),
        ("approach:0", "approach:0 needs a number of time constants above 0; write approach:5"),
    ],
)
def test_a_bad_shape_is_refused_by_name(shape, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        Ramp(0, 10, 1, 0, shape)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_ends_too_far_apart_for_the_floats_are_refused():
    with pytest.raises(ValueError, match="the ends are too far apart for this shape"):
        Ramp(0, 10, 1, 1e-200, "inverse_sqrt")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [("poly:2.0", "poly:2"), ("power:-5e-1", "power:-0.5"), ("cosine:0:1", "cosine"), ("cosine:0:2.0", "cosine:0:2")],
)
def test_a_shape_has_one_canonical_text(written, canonical):
    assert Ramp(0, 10, 1, 0.5, written) == Ramp(0, 10, 1, 0.5, canonical)
    assert Ramp(0, 10, 1, 0.5, written).shape == canonical


# --- shapes of the user's own


@pytest.fixture
def own():
    """Register shapes for one test only."""
    before = dict(TABLE)
    yield register
    TABLE.clear()
    TABLE.update(before)


def test_a_registered_shape_is_parsed_evaluated_and_written_back(own):
    own("smoothstep", lambda a, b, m: lambda u: a + (b - a) * u * u * (3 - 2 * u))
    schedule = parse("linear 10 to 1, smoothstep 90 to 0")
    assert schedule(54) == pytest.approx(0.5)
    assert parse(str(schedule)) == schedule and lehr.from_dict(lehr.to_dict(schedule)) == schedule


def test_a_registered_shape_takes_its_parameters_after_colons(own):
    own("ease", lambda a, b, m, k, shift: lambda u: a + (b - a) * u**k + shift)
    schedule = parse("hold 1, ease:2:-0.25 4 to 0")
    assert schedule(2) == 1 - 0.5**2 - 0.25
    assert parse(str(schedule)) == schedule
    with pytest.raises(ValueError, match=r"write ease:<k>:<shift>"):
        parse("ease:2 4 from 1 to 0")


@given(st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.5, 2.0]))
def test_a_wild_registered_shape_is_clipped_and_ends_where_it_should(height, a, b):
    before = dict(TABLE)
    try:
        register("wild", lambda a, b, m: lambda u: height * (1 + u))
        curve = ramp_over("wild", a, b, 10)
        assert curve(0) == a and curve(10) == b
        assert all(min(a, b) <= curve(t) <= max(a, b) for t in (1e-9, 1, 5, 9.999999))
    finally:
        TABLE.clear()
        TABLE.update(before)


@pytest.mark.parametrize("name", ["hold", "at", "from", "to", "rest", "sampled", *TABLE])
def test_a_name_that_is_taken_cannot_be_registered(name):
    with pytest.raises(ValueError, match=f"the name '{name}' is taken"):
        register(name, TABLE["linear"])


@pytest.mark.parametrize("name", ["", "two words", "a,b", "a:b", "2x", "naïve", "a-b"])
def test_a_name_that_the_text_form_cannot_hold_is_refused(name):
    with pytest.raises(ValueError, match="one word of letters, digits and _"):
        register(name, TABLE["linear"])


def test_resolve_gives_the_canonical_text_and_the_curve():
    text, shape = resolve("poly:2.0")
    assert text == "poly:2" and shape(1.0, 0.0, math)(0.5) == 0.25
