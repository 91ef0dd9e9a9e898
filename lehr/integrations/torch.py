"""Schedules for any PyTorch optimizer: the names to import, each from the file it is in.

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)          # the peak
scheduler = Scheduler(optimizer, lehr.cosine(total=10_000, warmup=200))
for batch in data:
    loss(model, batch).backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
"""

from lehr.integrations.couplings import constant_product, opposite, scale_by_batch
from lehr.integrations.fixed import CosineSchedulerWithWarmup, WarmupCosineScheduler
from lehr.integrations.from_torch import from_torch
from lehr.integrations.scheduler import Scheduler
from lehr.integrations.stateless import apply

__all__ = [
    "CosineSchedulerWithWarmup",
    "Scheduler",
    "WarmupCosineScheduler",
    "apply",
    "constant_product",
    "from_torch",
    "opposite",
    "scale_by_batch",
]
