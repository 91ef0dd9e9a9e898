"""Four schedules with the same warmup and peak over each other: cosine, linear, constant, inverse square root.

python examples/plot_schedules.py [schedules.png]
"""

import sys
from pathlib import Path

import lehr
from lehr.plot import save_schedules

peak, total, warmup = 3e-4, 10_000, 500
schedules = {
    "cosine": lehr.cosine(total, warmup, final=0.1),
    "linear": lehr.linear(total, warmup),
    "constant": lehr.constant(total, warmup),
    "inverse sqrt": lehr.inverse_sqrt(total, warmup),
}
out = Path(sys.argv[1] if len(sys.argv) > 1 else "schedules.png")
curves = {name: peak * schedule for name, schedule in schedules.items()}
save_schedules(curves, out, title=f"{warmup} warmup steps, {total:,} in all")

for name, schedule in schedules.items():
    print(f"{name:13} first LR {peak * schedule(0):.2e}  last {peak * schedule(total - 1):.2e}  {peak} * ({schedule})")
print(out)
