"""A loop of one's own, watched in TensorBoard and as CSV, that is cut off and goes on without holes or duplicates.

    python examples/tracked_loop.py FOLDER [updates]

The first session is lost after its last checkpoint; the second one starts from that checkpoint.
"""

import sys
from pathlib import Path

import torch

import lehr
from lehr.integrations import trackers
from lehr.integrations.torch import Scheduler

folder = Path(sys.argv[1])
updates = int(sys.argv[2]) if len(sys.argv) > 2 else 100
folder.mkdir(parents=True, exist_ok=True)

torch.manual_seed(0)
x = torch.rand(1024, 2) * 6 - 3
y = torch.sin(x[:, :1]) * torch.cos(x[:, 1:])


def session(stop_at):
    torch.manual_seed(0)
    body, head = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh()), torch.nn.Linear(64, 1)
    model = torch.nn.Sequential(body, head)
    groups = [{"params": part.parameters(), "name": name} for name, part in (("body", body), ("head", head))]
    optimizer = torch.optim.AdamW(groups, lr=3e-2)
    whole = lehr.cosine(updates, warmup=updates // 10, final=0)
    scheduler = Scheduler(optimizer, {"head": 0.5 * whole, "*": whole})
    parts, done, checkpoint = (model, optimizer, scheduler), 0, folder / "last.pt"
    if checkpoint.exists():
        done, states = torch.load(checkpoint)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)

    with trackers.open(folder, start=done, csv=True, tensorboard=True) as tracker:
        print("\n".join(f"{kind}: {where}" for kind, where in tracker.where.items()))
        for step in range(done, stop_at):
            rows = torch.arange(64) + step * 64 % 1024
            loss = torch.nn.functional.mse_loss(model(x[rows]), y[rows])
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            tracker.log(step, {**trackers.rates(scheduler), "loss": loss.item(), "grad_norm": norm.item()})
            scheduler.step()
            optimizer.zero_grad()
            if (step + 1) % (updates // 5) == 0:
                torch.save((step + 1, [part.state_dict() for part in parts]), checkpoint)


session(stop_at=updates // 2)
session(stop_at=updates)
