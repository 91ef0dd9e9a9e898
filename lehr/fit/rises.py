"""How a log of a plain schedule rises to its peak: a ramp from 0, or a one-cycle's wave, from the points before it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lehr.fit.nearby import GRIDS, short_within
from lehr.fit.pieces import Points
from lehr.fit.plainness import SHAPES

STARTS = (0.04, 0.0, 0.1, 0.01, 0.001, 0.5, 1 / 3)  # shares of the peak at which a rise begins


@dataclass(frozen=True)
class Rise:
    """The points before the `first` one at the peak; `level`: there are more at the peak than one."""

    points: Points
    own: list[float]
    first: int
    level: bool

    def lengths(self, peak: float, shift: int) -> tuple[float, float]:
        """Between which lengths a ramp from 0 through every rising point lies; `shift`: its step -shift is at 0."""
        lo, hi = 0.0, math.inf
        for k in range(self.first):
            s, v, own = self.points.steps[k] + shift, self.points.values[k], self.own[k]
            if s <= 0:
                if v > own:
                    return 1.0, 0.0
                continue
            lo = max(lo, s * peak / (v + own))
            hi = min(hi, s * peak / (v - own) if v > own else math.inf)
            if lo > hi:
                break
        return lo, hi

    def warmups(self, peak: float, shift: int, top: int) -> list[int]:
        """Whole lengths, as round as may be; `top` is the last time at which the peak can be reached."""
        lo, hi = self.lengths(peak, shift)
        if lo > hi or hi == math.inf:
            return []
        slack = 1e-9 * hi
        low, high = math.ceil(lo - slack), math.floor(min(hi + slack, top))
        found = [w for w in (top, top - 1) if low <= w <= high]
        if self.level:  # a level was seen; else there is none, or one of a single update
            inside = [size * math.ceil(low / size) for size in GRIDS] if high - low > 3 else range(low, high + 1)
            found += [w for w in inside if low <= w <= high][:3]
        return list(dict.fromkeys(found))

    def others(self, peak: float, shift: int, top: int) -> Iterator[tuple[float, str]]:
        """Other rises to the peak at the time `top`: from where, and along which shape (one-cycle, and its kind)."""
        for shape in ("cosine", "linear"):
            g, lo, hi = SHAPES[shape][1], 0.0, 1.0
            for k in range(self.first) if top > 0 and self.first > 2 else ():
                rest = g(min((self.points.steps[k] + shift) / top, 1.0))
                v, own = self.points.values[k] / peak - 1 + rest, self.own[k] / peak
                if rest < 1e-9:
                    lo, hi = (lo, hi) if abs(v) <= own + 1e-9 else (1.0, 0.0)
                else:
                    lo, hi = max(lo, (v - own) / rest), min(hi, (v + own) / rest)
                if lo > hi:
                    break
            else:
                if hi < 1.0 and (shape != "linear" or lo > 0):
                    yield next((s for s in STARTS if lo <= s <= hi), short_within(lo, hi)[0]), shape
