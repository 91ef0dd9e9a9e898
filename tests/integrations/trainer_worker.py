"""One of several processes under torchrun: the LR at each update of the real Trainer, printed as JSON by the first.

python -m torch.distributed.run --nproc-per-node 2 trainer_worker.py FOLDER
"""

import json
import sys

import torch
from test_trainer import Model, Notes, arguments, data, logged
from worker import leave

from lehr.integrations.transformers import Trainer

SPEC = "linear 1 epochs to 1, hold 64 samples, cosine rest to 0"
SETTINGS = {"max_steps": -1, "num_train_epochs": 3, "gradient_accumulation_steps": 2}


def trained(folder, notes, resume=False):
    """Epochs of 64 rows: by 4 rows, 2 processes and 2 batches an update that is 4 updates each."""
    args = arguments(folder, ddp_find_unused_parameters=False, **SETTINGS)
    trainer = Trainer(Model(), args, train_dataset=data(), schedule=SPEC, callbacks=[notes])
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def main(folder):
    whole, part, rest = Notes(), Notes(stop_after=5), Notes()
    trainer = trained(f"{folder}/whole", whole)
    trained(f"{folder}/part", part)
    resumed = trained(f"{folder}/part", rest, resume=True)
    told = {
        "schedule": str(trainer.lr_scheduler.lr),
        "updates": trainer.state.global_step,
        "counted": trainer.lr_scheduler.last_epoch,
        "used": whole.used,
        "logged": logged(trainer),
        "stopped and resumed": part.used + rest.used,
        "alike": all(map(torch.equal, trainer.model.parameters(), resumed.model.parameters())),
    }
    everyone = [None] * trainer.args.world_size
    torch.distributed.all_gather_object(everyone, {**told, "logged": None})  # the first process alone logs
    if trainer.is_world_process_zero():
        print(json.dumps({"processes": len(everyone), "same": everyone[0] == everyone[-1], **told}))
    leave(trainer.accelerator)


if __name__ == "__main__":
    main(sys.argv[1])
