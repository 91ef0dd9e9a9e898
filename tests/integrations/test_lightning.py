"""lehr.integrations.lightning on a real Trainer: accumulation, an exact resume, the contract of resuming."""

import logging

import lightning
import pytest
import torch

import lehr
from lehr.integrations.lightning import schedule_optimizer

SPEC = "linear 20% to 1, cosine rest to 0.1"
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        ".*is deprecated, use .isinstance.treespec, TreeSpec:FutureWarning",  # Lightning's own, of torch's pytrees
        ".*is deprecated, use .isinstance.treespec, TreeSpec:DeprecationWarning",
        ".*does not have many workers:UserWarning",  # it would have more processes read 40 rows
        ".*resuming from a checkpoint that ended before the epoch:UserWarning",  # see `fit`
        ".*The number of training batches:UserWarning",  # about when it logs
    )
]


class Module(lightning.LightningModule):
    def __init__(self, lr=SPEC, stop_after=None, checkpoint=None, **options):
        super().__init__()
        self.net = torch.nn.Linear(2, 1)
        self.schedule, self.options, self.stop_after, self.checkpoint = lr, options, stop_after, checkpoint
        self.used = []

    def training_step(self, batch, index):
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        parts = [{"params": [self.net.weight], "name": "weight"}, {"params": [self.net.bias], "name": "bias"}]
        optimizer = torch.optim.AdamW(parts, lr=0.1, weight_decay=0.1)
        return schedule_optimizer(optimizer, self.schedule, self.trainer, **self.options)

    def on_before_optimizer_step(self, optimizer):
        self.used.append([group["lr"] for group in optimizer.param_groups])

    def on_train_batch_end(self, *args):
        if self.global_step == self.stop_after and not self.trainer.should_stop:
            self.trainer.save_checkpoint(self.checkpoint)  # in the middle of an epoch, as ModelCheckpoint does
            self.trainer.should_stop = True


def fit(module, checkpoint=None, batches=10, **settings):
    torch.manual_seed(0)
    module.net.reset_parameters()
    # the same batch each time: Lightning starts a plain loader over where an epoch goes on, and this is not about data
    data = torch.utils.data.TensorDataset(torch.rand(4, 2).repeat(batches, 1))
    settings = {"max_epochs": 2, **settings}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **settings)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4), ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_lightning_1476_the_schedule_counts_optimizer_updates_under_accumulation(accumulation):
    module = Module()
    fit(module, accumulate_grad_batches=accumulation)  # of 10 batches an epoch: 3 leaves a remainder
    updates = 2 * -(-10 // accumulation)
    schedule = lehr.parse(SPEC, total=updates)
    assert module.used == [[0.1 * schedule(step)] * 2 for step in range(updates)]
    assert module.used[-1] == [0.1 * 0.1] * 2, "the last update is on the floor"


def test_lightning_12894_the_unit_is_the_update_when_the_accumulation_changes_on_the_way():
    """10 batches an epoch: 10 updates, and then 5 of two batches each."""
    module, schedule = Module(lehr.parse(SPEC, total=15)), lehr.parse(SPEC, total=15)
    callback = lightning.pytorch.callbacks.GradientAccumulationScheduler({0: 1, 1: 2})
    fit(module, callbacks=[callback])
    assert module.used == [[0.1 * schedule(step)] * 2 for step in range(15)]


@pytest.mark.parametrize(("accumulation", "stop_after"), [(1, 7), (2, 3)])
def test_a_fit_that_was_stopped_goes_on_from_the_checkpoint_exactly(tmp_path, accumulation, stop_after):
    settings = {"accumulate_grad_batches": accumulation}
    path = tmp_path / "last.ckpt"
    whole, rest = Module(weight_decay=SPEC), Module(weight_decay=SPEC)
    part = Module(stop_after=stop_after, checkpoint=path, weight_decay=SPEC)
    fit(whole, **settings)
    fit(part, **settings)
    trainer = fit(rest, path, **settings)
    assert part.used + rest.used == whole.used and len(part.used) == stop_after
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, rest.get_parameter(name)), name
    (config,) = trainer.lr_scheduler_configs
    assert (config.interval, config.frequency) == ("step", 1)
    assert config.scheduler.last_epoch == len(whole.used)


def test_another_schedule_is_refused_on_resume_unless_it_is_said_how_to_go_on(tmp_path):
    fit(Module(stop_after=5, checkpoint=tmp_path / "last.ckpt"))
    longer = lehr.parse(SPEC, total=40)
    with pytest.raises(ValueError, match=r"the saved schedule differs: .* at step 5"):
        fit(Module(longer), tmp_path / "last.ckpt")
    rest = Module(longer, on_mismatch="extend")
    fit(rest, tmp_path / "last.ckpt", max_epochs=4)
    extended = lehr.parse(SPEC, total=20).extend(longer, at=5)
    assert rest.used == [[0.1 * extended(step)] * 2 for step in range(5, 40)]


def test_a_fit_that_another_scheduler_began_goes_on_along_a_schedule(tmp_path):
    class Theirs(Module):
        interval = "step"

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()["optimizer"]
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.interval}}

    path = tmp_path / "last.ckpt"
    fit(Theirs(stop_after=5, checkpoint=path))
    with pytest.raises(ValueError, match=r'not the state of a lehr .*; on_mismatch="new" takes its step, 5, and'):
        fit(Module(), path)
    rest, schedule = Module(on_mismatch="new"), lehr.parse(SPEC, total=20)
    fit(rest, path)
    assert rest.used == [[0.1 * schedule(step)] * 2 for step in range(5, 20)]

    class Set(Module):
        def on_train_start(self):
            self.lr_schedulers().step(self.global_step)

    Theirs.interval = "epoch"  # Lightning's default: the state counts those
    fit(Theirs(stop_after=15, checkpoint=path))
    rest = Set(on_mismatch="new")
    with pytest.warns(UserWarning, match=r"is at step 1, and .* has counted 15 updates: .* scheduler\.step\(15\)"):
        fit(rest, path)
    assert rest.used == [[0.1 * schedule(step)] * 2 for step in range(15, 20)]


def test_groups_have_schedules_of_their_own_and_a_schedule_needs_no_trainer():
    module = Module({"bias": "hold rest", "*": SPEC})
    fit(module)
    schedule = lehr.parse(SPEC, total=20)
    assert module.used == [[0.1 * schedule(step), 0.1] for step in range(20)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    alone = schedule_optimizer(optimizer, "linear 50% to 1, hold rest", clock=lehr.Clock(total_steps=8))
    assert str(alone["lr_scheduler"]["scheduler"].lr) == "linear 4 to 1, hold 4"
    module = Module("linear 50 tokens to 1, hold rest", clock=lehr.Clock(tokens_per_step=10))
    fit(module)  # the clock has the tokens, the Trainer the length
    assert str(module.trainer.lr_scheduler_configs[0].scheduler.lr) == "linear 5 to 1, hold 15"


def test_several_optimizers_are_a_list_of_them():
    class Two(Module):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self):
            optimizers = [torch.optim.SGD([p], lr=0.1) for p in (self.net.weight, self.net.bias)]
            return [
                schedule_optimizer(o, spec, self.trainer)
                for o, spec in zip(optimizers, (SPEC, "hold rest"), strict=True)
            ]

        def on_before_optimizer_step(self, optimizer):
            """Each training step has two of them."""

        def training_step(self, batch, index):
            self.manual_backward(super().training_step(batch, index))
            self.used.append([o.param_groups[0]["lr"] for o in self.optimizers()])
            for optimizer, scheduler in zip(self.optimizers(), self.lr_schedulers(), strict=True):
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()

    module = Two()
    fit(module, max_epochs=1)
    assert module.used == [[0.1 * lehr.parse(SPEC, total=10)(step), 0.1] for step in range(10)]


def test_a_trainer_without_an_end_and_a_text_without_a_trainer_are_told(tmp_path):
    endless = {"max_epochs": -1, "max_steps": -1}
    with pytest.raises(ValueError, match=r"the Trainer has no end; Trainer\(max_steps="):
        fit(Module(), **endless)
    module = Module("linear 4 to 1, hold 4", stop_after=6, checkpoint=tmp_path / "last.ckpt")
    fit(module, **endless)  # which needs no end
    assert module.used[-1] == [0.1, 0.1] and len(module.used) == 6
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match="total"):
        schedule_optimizer(optimizer, SPEC)
