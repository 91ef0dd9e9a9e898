"""pytorch_warmup (read at ed598d3): warmups that multiply another scheduler's LR, here the optimizer's own.

Update s is dampened by the factor at s + 1, so the first update of a linear warmup over tau has 1/tau of the LR.
`over` names the torch scheduler beneath, as [name, arguments]: the product is a schedule as long as at any time one of
the two stands still, so a warmup over a cosine that begins at once is refused.
"""

from collections.abc import Callable
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions import torch
from lehr.conventions._calls import nested
from lehr.conventions._rows import Phase, lay
from lehr.schedule import Schedule

REFUSED = {"RAdamWarmup": "RAdam's rectification term has no formula that a shape could be"}

SATURATED = 40  # time constants after which 1 - exp(-t / tau) rounds to 1


def LinearWarmup(lr: float, warmup_period: int, over: Any = None, total: int | None = None) -> Schedule:
    """min(1, (s + 1) / warmup_period) times the LR.

    >>> print(LinearWarmup(lr=1, warmup_period=5, total=20))
    linear 5 to 1, hold 15
    """
    _period(warmup_period)
    return _dampened(lr, [Phase(0, warmup_period, 0, 1)], over, total)


def ExponentialWarmup(lr: float, warmup_period: int, over: Any = None, total: int | None = None) -> Schedule:
    """1 - exp(-(s + 1) / warmup_period) times the LR. After 40 periods the factor rounds to 1, and is 1 here.

    >>> print(ExponentialWarmup(lr=1, warmup_period=5))
    approach:40 200 to 1
    """
    _period(warmup_period)
    return _dampened(lr, [Phase(0, SATURATED * warmup_period, 0, 1, f"approach:{SATURATED}")], over, total)


def UntunedLinearWarmup(lr: float, betas: Any, over: Any = None, total: int | None = None) -> Schedule:
    """`LinearWarmup` over int(2 / (1 - beta2)) updates (Ma & Yarats 2019, arXiv 1910.04209).

    The division is in floating point: 0.95 gives 39.

    >>> print(UntunedLinearWarmup(lr=1, betas=(0.9, 0.95), total=50))
    linear 39 to 1, hold 11
    """
    return LinearWarmup(lr, int(2.0 / (1.0 - _beta2(betas))), over, total)


def UntunedExponentialWarmup(lr: float, betas: Any, over: Any = None, total: int | None = None) -> Schedule:
    """`ExponentialWarmup` with a period of int(1 / (1 - beta2)) updates (Ma & Yarats 2019, arXiv 1910.04209).

    >>> print(UntunedExponentialWarmup(lr=1, betas=(0.9, 0.75)))
    approach:40 160 to 1
    """
    return ExponentialWarmup(lr, int(1.0 / (1.0 - _beta2(betas))), over, total)


def _period(warmup_period: int) -> None:
    rows.count(warmup_period=warmup_period)
    rows.above_0(warmup_period=warmup_period)


def _beta2(betas: Any) -> float:
    pair = rows.sequence("betas", betas)
    if len(pair) != 2:
        raise ValueError(f"betas is the pair (beta1, beta2), not {betas!r}")
    rows.share(beta2=pair[1])
    if pair[1] == 1:
        raise ValueError("beta2 is below 1")
    return float(pair[1])


def _dampened(lr: float, factor: list[Phase], over: Any, total: int | None) -> Schedule:
    rows.not_negative(lr=lr)
    if over is None:
        rise = factor[0].times(lr)
        return lay([rise, Phase(rise.stop, max((total or 0) - rise.stop, 0), lr, lr)], "end")
    # the scheduler beneath is taken at s, so the factor is too, one update ahead
    beneath = nested(over, torch.SCHEDULERS, torch.REFUSED, lr=lr, total=total)
    return lay(rows.product([phase.moved(-1).entered(0) for phase in factor], beneath))


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f for f in (ExponentialWarmup, LinearWarmup, UntunedExponentialWarmup, UntunedLinearWarmup)
}
