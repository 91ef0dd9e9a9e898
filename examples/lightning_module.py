"""A schedule text in Lightning's `configure_optimizers`, with gradient accumulation, through a stop and a resume.

    python examples/lightning_module.py [updates]

The Trainer is stopped half-way, and a new one goes on from its checkpoint.
"""

import sys
import tempfile
from pathlib import Path

import lightning
import torch

from lehr.integrations.lightning import schedule_optimizer

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 60


class Surface(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
        self.stop_at = updates

    def training_step(self, batch, index):
        inputs, targets = batch
        self.loss = torch.nn.functional.mse_loss(self.net(inputs), targets)
        return self.loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-2)
        return schedule_optimizer(optimizer, "linear 10% to 1, cosine rest to 0", self.trainer)

    def on_before_optimizer_step(self, optimizer):
        record = self.lr_schedulers().record()
        if record["step"] % (updates // 10) == 0:
            print(f"update {record['step']:3}  lr {record['lr']:.3e}  {record['phase']:6}  loss {self.loss:.4f}")

    def on_train_batch_end(self, *args):
        self.trainer.should_stop = self.global_step == self.stop_at


def fit(folder, stop_at, checkpoint=None):
    torch.manual_seed(0)
    x = torch.rand(1024, 2) * 6 - 3
    data = torch.utils.data.TensorDataset(x, torch.sin(x[:, :1]) * torch.cos(x[:, 1:]))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False}
    trainer = lightning.Trainer(max_steps=updates, accumulate_grad_batches=2, **quiet)
    module = Surface()
    module.stop_at = stop_at
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=16), ckpt_path=checkpoint)
    trainer.save_checkpoint(Path(folder) / "last.ckpt")


with tempfile.TemporaryDirectory() as folder:
    fit(folder, stop_at=updates // 2)
    fit(folder, stop_at=updates, checkpoint=Path(folder) / "last.ckpt")
