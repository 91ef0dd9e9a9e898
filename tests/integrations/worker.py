"""One of several processes under torchrun: what the LR was at each optimizer update, printed as JSON by the first.

python -m torch.distributed.run --nproc-per-node 2 worker.py FOLDER
"""

import copy
import json
import os
import pickle
import sys
import warnings

import torch
from accelerate import Accelerator

import lehr
from lehr.integrations.accelerate import prepare
from lehr.integrations.torch import Scheduler

CURVE = lehr.cosine(total=12, warmup=3)


def parts(accelerator, ours, make=Scheduler, kind=torch.optim.SGD, curve=CURVE, **options):
    """A prepared model, optimizer and loader, with the scheduler prepared by `prepare` or by accelerate's own."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = kind(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(torch.rand(160, 2), batch_size=4)
    if ours:
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        return model, optimizer, loader, prepare(accelerator, make(optimizer, curve, **options))
    return accelerator.prepare(model, optimizer, loader, make(optimizer, curve, **options))


def used_by(accelerator, model, optimizer, loader, scheduler, updates):
    """The LR of each of so many optimizer updates."""
    used, batches = [], iter(loader)
    while len(used) < updates:
        with accelerator.accumulate(model):
            accelerator.backward(model(next(batches)).square().mean())
            if accelerator.sync_gradients:
                used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return used


class Counting(Scheduler):
    """A class of one's own around `step`."""

    def step(self, *args, **kwargs):
        super().step(*args, **kwargs)


def copies(accelerator):
    """The updates that accelerate's own wrapper counts: two schedulers on one optimizer, a copy, one out of a pickle.

    Then those of a bare copy, which nobody repeats.
    """
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    first, second, optimizer = accelerator.prepare(Scheduler(optimizer, CURVE), Counting(optimizer, CURVE), optimizer)
    counts = []
    for _ in range(3):
        parameter.grad = torch.zeros(1)
        optimizer.step()
        first.step()
        second.step()
    counts += [first.scheduler.last_epoch, second.scheduler.last_epoch]
    copied, pickled = copy.deepcopy(first), pickle.loads(pickle.dumps(first.scheduler))
    for scheduler in (copied, accelerator.prepare_scheduler(pickled)):
        for _ in range(2):
            scheduler.scheduler.optimizer.step()
            scheduler.step()
        counts.append(scheduler.scheduler.last_epoch)
    bare = copy.deepcopy(first.scheduler)
    for _ in range(2):
        bare.step()
    return [*counts, bare.last_epoch]


def begun_by_another(accelerator, folder):
    """What lehr's scheduler warns of and then uses, from the state of torch's, which accelerate stepped too often."""
    adam = {"kind": torch.optim.AdamW}
    used_by(
        accelerator, *parts(accelerator, False, torch.optim.lr_scheduler.LambdaLR, curve=lambda step: 0.5, **adam), 5
    )
    accelerator.save_state(folder)
    accelerator.free_memory()
    told = []
    for ours in (True, False):
        mine = parts(accelerator, ours, **adam, on_mismatch="new")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            accelerator.load_state(folder)
        said = [str(each.message) for each in caught if "the other scheduler's state" in str(each.message)]
        mine[-1].step(5)
        told.append([said, used_by(accelerator, *mine, 5)])
        accelerator.free_memory()
    return told


def leave(accelerator):
    """End this process, once all are here.

    Not by the interpreter's own end: DDP's reducer is freed there with Python's lock held, and then waits for a thread
    of gloo which needs that lock for the tensor of its last collective (5 of 36 runs of torch 2.13 hung for good), or
    which is ended with the interpreter ("terminate called without an active exception").
    """
    accelerator.wait_for_everyone()
    accelerator.end_training()
    sys.stdout.flush()
    os._exit(0)


def main(folder):
    """Both ways of preparing, with and without accumulation; a state saved by all processes and loaded by all."""
    told = {}
    for accumulation in (1, 2):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
        for ours in (True, False):
            told[f"ours={ours} accumulation={accumulation}"] = used_by(accelerator, *parts(accelerator, ours), 10)
            accelerator.free_memory()
    told["copies"] = copies(accelerator)
    accelerator.free_memory()
    told["begun"] = begun_by_another(accelerator, os.path.join(folder, "begun"))
    first = parts(accelerator, True)
    used_by(accelerator, *first, 5)
    accelerator.save_state(folder)
    accelerator.free_memory()
    second = parts(accelerator, True)
    accelerator.load_state(folder)
    told["resumed"] = used_by(accelerator, *second, 5)
    everyone = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(everyone, told)
    if accelerator.is_main_process:
        print(json.dumps({"processes": accelerator.num_processes, "same": everyone[0] == everyone[-1], **told}))
    leave(accelerator)


if __name__ == "__main__":
    main(sys.argv[1])
