"""What texts and error messages share: numbers as people write them, and the nearest name to a mistyped one."""

import re
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractions import Fraction

SUFFIXES = {"k": 10**3, "M": 10**6, "B": 10**9}

_NUMBER = re.compile(r"(?P<digits>(?:\d[\d_]*)?(?:\.\d[\d_]*|\.)?(?:[eE][+-]?\d+)?)(?P<suffix>[A-Za-z]?)")
_MAX_EXPONENT = 400  # beyond any float; keeps `1e999999999` from building a number of a billion digits
_MAX_DIGITS = 2000  # more than any float needs, and fewer than Python refuses to read


def is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python's or NumPy's; True and False are none here."""
    return isinstance(value, Real) and not isinstance(value, bool)


def nearest(word: str, names: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the name most like `word`, or an empty string.

    The beginning of one name alone is that name.

    >>> nearest("cosin", ["linear", "cosine"]), nearest("exp", ["rex", "exponential"])
    ("; did you mean 'cosine'?", "; did you mean 'exponential'?")
    """
    import difflib  # only ever needed on the way to an error

    known = list(names)
    begun = [name for name in known if len(word) >= 3 and name.startswith(word)]
    close = begun if len(begun) == 1 else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def write_number(value: float) -> str:
    """Write a number as short as it reads back: whole numbers without a point.

    >>> write_number(1.0), write_number(0.1), write_number(98000)
    ('1', '0.1', '98000')
    """
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def read_number(text: str) -> "Fraction":
    """Read digits, `_`, a point, an exponent and a suffix k, M or B, exactly.

    Raises ValueError that says what to write instead.

    >>> read_number("1.5k"), read_number("10_000")
    (Fraction(1500, 1), Fraction(10000, 1))
    """
    from fractions import Fraction  # not loaded before a text is read

    if text.startswith("-"):
        raise ValueError(f"{text!r} is negative; write a number >= 0")
    match = _NUMBER.fullmatch(text)
    digits = match["digits"] if match else ""
    if not match or not any(c.isdigit() for c in digits.lower().partition("e")[0]) or "__" in digits or "_." in digits:
        raise ValueError(f"{text!r} is not a number; write digits such as 2000, 10_000, 0.1, 1e-4 or 10k")
    if not text.isascii():
        raise ValueError(f"{text!r} is not a number; write it in the digits 0 to 9")
    suffix = match["suffix"]
    if suffix and suffix not in SUFFIXES:
        instead = {"K": "k (thousand)", "m": "M (million)", "b": "B (billion)", "G": "B (billion)"}.get(suffix)
        raise ValueError(f"{text!r} has the unknown suffix {suffix!r}; write {instead or 'k, M or B'}")
    exponent = digits.lower().partition("e")[2].lstrip("+-").lstrip("0")
    if len(digits) > _MAX_DIGITS or int(exponent or 0) > _MAX_EXPONENT:
        raise ValueError(f"{text!r} is beyond what a step or a value can be")
    return Fraction(digits.replace("_", "")) * SUFFIXES.get(suffix, 1)


def printable(text: str) -> str:
    r"""The text with what would move a terminal's cursor or change its colours written out; lines and tabs are left.

    >>> print(printable("a\x1b[31mb"))
    a\x1b[31mb
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
