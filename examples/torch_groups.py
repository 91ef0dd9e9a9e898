"""Two schedules for two parts of a model, weight decay along with them, and a part that is unfrozen on the way.

    python examples/torch_groups.py [updates]

A small classifier of points in two spirals: the head starts alone, the body joins after a quarter of the run.
"""

import sys

import torch

import lehr
from lehr.integrations.torch import Scheduler, constant_product

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 400

torch.manual_seed(0)
turn = torch.rand(512).sqrt() * 7
label = torch.arange(512) % 2
points = torch.stack([turn * torch.cos(turn + torch.pi * label), turn * torch.sin(turn + torch.pi * label)], 1) / 7
body = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU())
head = torch.nn.Linear(64, 2)

whole = lehr.parse("linear 5% to 1, cosine rest to 0.1", total=updates)
optimizer = torch.optim.AdamW([{"params": list(head.parameters()), "name": "head", "lr": 1e-2}], weight_decay=0.01)
scheduler = Scheduler(
    optimizer,
    {"head": whole, "*": lehr.linear(updates, warmup=updates // 2)},  # the body, when it comes, warms up longer
    # LR * weight decay of the head stays what it is; the body's goes with its LR
    weight_decay={"head": constant_product(whole), "*": lehr.constant(updates)},
)

for step in range(updates):
    if step == updates // 4:  # from here on the body learns, at its own peak and along its own schedule
        optimizer.add_param_group({"params": list(body.parameters()), "name": "body", "lr": 1e-2})
    loss = torch.nn.functional.cross_entropy(head(body(points)), label)
    loss.backward()
    optimizer.step()
    if step % (updates // 8) == 0 or step == updates - 1:
        record = scheduler.record()
        rates = "  ".join(f"{g['name']} {g['lr']:.2e} (decay {g['weight_decay']:.3f})" for g in record["groups"])
        print(f"update {record['step']:3}  {record['phase']:6}  {rates}  loss {loss.item():.3f}")
    scheduler.step()
    optimizer.zero_grad()

right = (head(body(points)).argmax(1) == label).float().mean().item()
print(f"right {right:.0%}")
