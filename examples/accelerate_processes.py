"""accelerate on two processes: the schedule counts optimizer updates, whatever the processes and the accumulation.

    torchrun --nproc-per-node 2 examples/accelerate_processes.py [updates]

Each process sees its own part of the data; the gradients of 2 batches a process make one update.
"""

import sys

import torch
from accelerate import Accelerator

import lehr
from lehr.integrations.accelerate import prepare
from lehr.integrations.torch import Scheduler

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 60
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)

torch.manual_seed(0)
x = torch.rand(1024, 2) * 6 - 3
data = torch.utils.data.TensorDataset(x, torch.sin(x[:, :1]) * torch.cos(x[:, 1:]))
model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-2)
loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
scheduler = prepare(accelerator, Scheduler(optimizer, lehr.cosine(updates, warmup=updates // 10, final=0)))

done, batches = 0, iter(loader)
while done < updates:
    inputs, targets = batch if (batch := next(batches, None)) else next(batches := iter(loader))
    with accelerator.accumulate(model):
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        accelerator.backward(loss)
        used = scheduler.record()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    if accelerator.sync_gradients:
        done += 1
        if done % (updates // 10) == 0:
            mean = accelerator.reduce(loss.detach(), "mean")
            accelerator.print(f"update {used['step']:3}  lr {used['lr']:.3e}  {used['phase']:6}  loss {mean:.4f}")
accelerator.print(f"{accelerator.num_processes} processes, {scheduler.scheduler.last_epoch} steps of the schedule")
accelerator.wait_for_everyone()
accelerator.end_training()
