"""lehr.integrations.transformers on the real Trainer, which stands on accelerate."""

import copy
import math

import pytest
import torch
import transformers
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from transformers import TrainerCallback, TrainingArguments

import lehr
from lehr.integrations.torch import Scheduler
from lehr.integrations.transformers import HorizonCallback, Scheduled, Trainer, create_scheduler

SPEC = "linear 20% to 1, cosine rest to 0.1"


class Model(nn.Module):
    """Two layers with dropout, so that a resume that loses the random state is seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x, y):
        out = self.head(self.dropout(torch.tanh(self.body(x))))
        return {"loss": nn.functional.mse_loss(out, y), "out": out}


class Notes(TrainerCallback):
    """Writes down the LR that each optimizer.step used; stops when it is told to."""

    def __init__(self, stop_after=None):
        self.used, self.stop_after = [], stop_after

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.used.append(optimizer.param_groups[0]["lr"])

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.stop_after:
            control.should_save = control.should_training_stop = True


def data(rows=64):
    x = torch.rand(rows, 4, generator=torch.Generator().manual_seed(1))
    return [{"x": row, "y": row.sum(0, keepdim=True)} for row in x]


def arguments(folder, **settings):
    settings = {"max_steps": 20, "per_device_train_batch_size": 4, "learning_rate": 0.1, **settings}
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no"}
    return TrainingArguments(str(folder), **{**quiet, **settings})


def trained(folder, notes, kind=Trainer, resume=False, rows=64, settings=None, **options):
    trainer = kind(
        Model(), arguments(folder, **(settings or {})), train_dataset=data(rows), callbacks=[notes], **options
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer):
    return [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]


def test_a_text_drives_the_trainer_and_the_logged_lr_is_the_one_used(tmp_path):
    notes, schedule = Notes(), lehr.parse(SPEC, total=20)
    trainer = trained(tmp_path, notes, schedule=SPEC)
    assert notes.used == [0.1 * schedule(step) for step in range(20)] == logged(trainer)
    assert trainer.lr_scheduler.lr == schedule and isinstance(trainer.lr_scheduler, Scheduler)


def test_transformers_28124_the_logged_lr_is_not_the_next_updates(tmp_path):
    notes = Notes()
    trainer = trained(tmp_path, notes, schedule="cosine 20 from 1 to 0", settings={"logging_steps": 3})
    assert logged(trainer) == [used for step, used in enumerate(notes.used, 1) if step % 3 == 0]


def test_transformers_35942_the_logged_lr_is_the_one_used_where_a_cycle_begins_anew(tmp_path):
    notes, schedule = Notes(), lehr.sgdr(5, 4)
    trainer = trained(tmp_path, notes, schedule=schedule)
    assert logged(trainer) == notes.used == [0.1 * schedule(step) for step in range(20)]
    assert notes.used[5] == 0.1 > 100 * notes.used[4], "off by one would be all the difference"


def test_lightning_1476_gradient_accumulation_leaves_the_schedule_in_updates(tmp_path):
    notes, schedule = Notes(), lehr.parse(SPEC, total=20)
    trained(tmp_path, notes, schedule=SPEC, settings={"gradient_accumulation_steps": 3})
    assert notes.used == [0.1 * schedule(step) for step in range(20)]


@pytest.mark.parametrize(("rows", "accumulation", "epochs"), [(64, 1, 3), (66, 3, 3), (50, 4, 1.5)])
def test_epochs_and_samples_are_the_trainers_own(tmp_path, rows, accumulation, epochs):
    """66 rows are 17 batches of 4 and, 3 batches an update, 6 updates an epoch, as the Trainer counts."""
    settings = {"max_steps": -1, "num_train_epochs": epochs, "gradient_accumulation_steps": accumulation}
    notes, spec = Notes(), "linear 1 epochs to 1, hold rest, linear 12 samples to 0"
    trainer = trained(tmp_path, notes, rows=rows, schedule=spec, settings=settings)
    updates = math.ceil(math.ceil(rows / 4) / accumulation)
    assert trainer.lr_scheduler.lr.total == trainer.state.max_steps == len(notes.used)
    assert trainer.lr_scheduler.lr.joints[1] == updates
    assert trainer.lr_scheduler.lr.ramps[-1].duration == math.floor(12 / 4 / accumulation + 0.5)


class OwnLoader(Trainer):
    """32 rows at once, where the arguments say 4."""

    def get_train_dataloader(self):
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=32)


@pytest.mark.parametrize(
    "settings", [{"max_steps": -1, "num_train_epochs": 5}, {"max_steps": 10}], ids=["epochs", "steps"]
)
def test_a_data_loader_of_ones_own_is_counted_as_the_trainer_counts_it(tmp_path, settings):
    spec = "linear 1 epochs to 1, linear 64 samples to 0.5, linear rest to 0"
    trainer = trained(tmp_path, Notes(), OwnLoader, schedule=spec, settings=settings)
    assert trainer.lr_scheduler.lr.joints == (0, 2, 4, 10)


def test_epochs_of_data_without_a_length_are_refused_before_training(tmp_path):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(data())

    trainer = Trainer(Model(), arguments(tmp_path), train_dataset=Endless(), schedule="linear 1 epochs to 1, hold rest")
    with pytest.raises(ValueError, match="steps_per_epoch"):
        trainer.train()
    notes = Notes()
    whole = Trainer(Model(), arguments(tmp_path), train_dataset=Endless(), schedule=SPEC, callbacks=[notes])
    whole.train()
    assert notes.used == [0.1 * lehr.parse(SPEC, total=20)(step) for step in range(20)]


def test_a_scheduler_made_before_training_counts_the_data_by_the_arguments(tmp_path):
    spec = "linear 1 epochs to 1, linear rest to 0"
    trainer = Trainer(Model(), arguments(tmp_path), train_dataset=data(), schedule=spec)
    trainer.create_optimizer_and_scheduler(40)
    assert trainer.lr_scheduler.lr.joints == (0, 16, 40)


@pytest.mark.parametrize("stop_after", [3, 11])
def test_resume_from_checkpoint_continues_exactly(tmp_path, stop_after):
    options = {
        "schedule": SPEC,
        "weight_decay": "hold 10 from 1, linear rest to 0.5",
        "settings": {"weight_decay": 0.1},
    }
    whole_notes = Notes()
    whole = trained(tmp_path / "whole", whole_notes, **copy.deepcopy(options))
    trained(tmp_path / "part", Notes(stop_after), **copy.deepcopy(options))
    rest = Notes()
    resumed = trained(tmp_path / "part", rest, resume=True, **copy.deepcopy(options))
    assert rest.used == whole_notes.used[stop_after:]
    assert logged(resumed) == logged(whole) == whole_notes.used
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, resumed.model.get_parameter(name)), name
    assert resumed.optimizer.param_groups[0]["weight_decay"] == whole.optimizer.param_groups[0]["weight_decay"]


def test_transformers_18070_more_steps_on_resume_are_refused_or_extended(tmp_path):
    trained(tmp_path, Notes(10), schedule=SPEC)
    longer = {"max_steps": 40}
    with pytest.raises(ValueError, match=r"the saved schedule differs: .* at step 10"):
        trained(tmp_path, Notes(), resume=True, schedule=SPEC, settings=longer)
    notes = Notes()
    trained(tmp_path, notes, resume=True, schedule=SPEC, settings=longer, on_mismatch="extend")
    expected = lehr.parse(SPEC, total=20).extend(lehr.parse(SPEC, total=40), at=10)
    assert notes.used == [0.1 * expected(step) for step in range(10, 40)]


def test_a_run_that_the_trainers_own_cosine_began_goes_on_along_a_schedule(tmp_path):
    """Its checkpoint has another scheduler's state, and its optimizer's is at an LR on the way down."""
    theirs = {"lr_scheduler_type": "cosine", "warmup_steps": 3, "max_steps": 12}
    before = trained(tmp_path, Notes(8), transformers.Trainer, settings=theirs)
    assert before.state.global_step == 8 and isinstance(before.lr_scheduler, torch.optim.lr_scheduler.LambdaLR)
    ours = {"schedule": SPEC, "weight_decay": "linear rest from 1 to 0.5", "settings": {"weight_decay": 0.2}}
    with pytest.raises(ValueError, match=r'not the state of a lehr .*; on_mismatch="new" takes its step, 8, and'):
        trained(tmp_path, Notes(), resume=True, **copy.deepcopy(ours))
    notes, rest = Notes(13), Notes()
    trained(tmp_path, notes, resume=True, on_mismatch="new", **copy.deepcopy(ours))
    trainer = trained(tmp_path, rest, resume=True, **copy.deepcopy(ours))  # what was saved now is lehr's own
    planned = [0.1 * lehr.parse(SPEC, total=20)(step) for step in range(20)]
    assert notes.used + rest.used == planned[8:] == logged(trainer)[8:], "from the peak that the arguments have"
    assert len(rest.used) == 7 and trainer.optimizer.param_groups[0]["weight_decay"] == 0.2 * 0.5


def test_a_step_that_is_not_the_trainers_is_told_before_the_first_update(tmp_path):
    """The state that ReduceLROnPlateau leaves counts evaluations; a callback sets the step to the Trainer's own."""

    class Go(TrainerCallback):
        def on_train_begin(self, args, state, control, lr_scheduler=None, **kwargs):
            lr_scheduler.step(state.global_step)

    theirs = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 4, "max_steps": 8}
    theirs["label_names"] = ["y"]
    trainer = transformers.Trainer(
        Model(), arguments(tmp_path, **theirs), train_dataset=data(), eval_dataset=data(8), callbacks=[Notes(8)]
    )
    trainer.train()
    notes = Notes()
    trainer = Trainer(
        Model(), arguments(tmp_path), train_dataset=data(), callbacks=[notes, Go()], schedule=SPEC, on_mismatch="new"
    )
    with pytest.warns(UserWarning, match=r"state is at step 2, and .* has counted 8 updates: .* scheduler\.step\(8\)"):
        trainer.train(resume_from_checkpoint=True)
    assert notes.used == [0.1 * lehr.parse(SPEC, total=20)(step) for step in range(8, 20)]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            "cosine 30 from 1 to 0",
            r"is 30 updates long and the Trainer makes 20, so its last 10 are never made \(the run",
        ),
        (
            "hold 20, linear 5 to 0.5, linear 5 to 1",
            r"\(the run ends at 1 times the peak, the schedule at 1\); write max_st",
        ),
        ("cosine 10 from 1 to 0", r"is 10 updates long and .* 20, so the last 10 updates stay at 0 times the peak"),
        (
            "linear 5 to 1, hold 7, linear 12 to 0",
            r"the run ends at 0\.3333 times the peak, the schedule at 0\)",
        ),
    ],
)
def test_speculators_1104_a_horizon_that_is_not_the_runs_is_told_before_the_first_update(tmp_path, spec, told):
    class First(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            pytest.fail("an update was begun before the mismatch was told")

    with pytest.raises(UserWarning, match=told):  # warnings are errors here
        trained(tmp_path, First(), schedule=spec)


@pytest.mark.parametrize("spec", ["linear 5 to 1, hold 1", "linear 5 to 1, hold 1000", SPEC, "hold 3"])
def test_a_level_end_fits_a_run_of_any_length(tmp_path, spec):
    trained(tmp_path, Notes(), schedule=spec)  # a warning would be an error


def test_the_plain_trainer_takes_optimizer_and_scheduler_and_a_callback_looks_at_the_horizon(tmp_path):
    model, notes = Model(), Notes()
    groups = [{"params": list(model.body.parameters()), "name": "body"}]
    groups += [{"params": list(model.head.parameters()), "name": "head"}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    spec = {"head": "hold 1", "*": SPEC}
    scheduler = create_scheduler(optimizer, spec, total=20)
    plain = transformers.Trainer(
        model, arguments(tmp_path), train_dataset=data(), optimizers=(optimizer, scheduler), callbacks=[notes]
    )
    plain.add_callback(HorizonCallback())
    plain.train()
    assert notes.used == [0.1 * lehr.parse(SPEC, total=20)(step) for step in range(20)]
    assert optimizer.param_groups[1]["lr"] == 0.1
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    short = create_scheduler(optimizer, "linear 15 to 1", total=None)
    other = transformers.Trainer(
        model, arguments(tmp_path), train_dataset=data(), optimizers=(optimizer, short), callbacks=[HorizonCallback()]
    )
    with pytest.raises(UserWarning, match="15 updates long and the Trainer makes 20"):
        other.train()


def test_a_second_train_starts_a_scheduler_of_its_own(tmp_path):
    notes = Notes()
    trainer = trained(tmp_path, notes, schedule=SPEC)
    trainer.train()
    assert notes.used[20:] == notes.used[:20]


def test_any_trainer_class_becomes_a_scheduled_one(tmp_path):
    class Theirs(transformers.Trainer):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs)

    class Mine(Scheduled, Theirs):
        pass

    notes = Notes()
    trained(tmp_path, notes, kind=Mine, schedule=SPEC)
    assert notes.used == [0.1 * lehr.parse(SPEC, total=20)(step) for step in range(20)]


@pytest.mark.parametrize(
    "settings",
    [{"warmup_steps": 3}, {"lr_scheduler_type": "cosine"}, {"lr_scheduler_kwargs": {"num_cycles": 2}}],
    ids=str,
)
def test_transformers_44908_no_argument_is_ignored_in_silence(tmp_path, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"TrainingArguments has {name}=.* and the Trainer has a schedule, which repl"):
        trained(tmp_path, Notes(), schedule=SPEC, settings=settings)


def test_what_cannot_be_is_refused_when_the_trainer_is_made_or_before_it_trains(tmp_path):
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    both = (optimizer, create_scheduler(optimizer, SPEC, total=20))
    with pytest.raises(ValueError, match="was given a schedule and a scheduler"):
        Trainer(model, arguments(tmp_path), train_dataset=data(), optimizers=both, schedule=SPEC)
    with pytest.raises(ValueError, match="needs tokens_per_step"):
        trained(tmp_path, Notes(), schedule="linear 1M tokens to 1")
    with pytest.raises(ValueError, match="'head' of lr fits no parameter group; none has a name"):
        trained(tmp_path, Notes(), schedule={"head": SPEC, "*": SPEC})


def test_a_learning_rate_that_is_not_the_checkpoints_is_told(tmp_path):
    """The Trainer loads a scheduler with its warnings caught: they are given before the first update instead."""
    trained(tmp_path, Notes(10), schedule=SPEC)
    changed = {"schedule": SPEC, "settings": {"learning_rate": 0.01}, "resume": True}
    notes = Notes()
    with pytest.warns(UserWarning, match=r"brings initial_lr=0\.1 for parameter group \d, which had 0\.01 here"):
        trained(tmp_path, notes, **copy.deepcopy(changed))
    assert notes.used == [0.1 * lehr.parse(SPEC, total=20)(step) for step in range(10, 20)]
    notes = Notes()
    trained(tmp_path, notes, **changed, on_mismatch="new")
    assert notes.used == [0.01 * lehr.parse(SPEC, total=20)(step) for step in range(10, 20)]


def test_extending_a_run_that_ended_at_0_is_told(tmp_path):
    trained(tmp_path, Notes(20), schedule="linear rest from 1 to 0")
    with pytest.warns(UserWarning, match="nothing more would be learned"):
        trained(
            tmp_path,
            Notes(),
            resume=True,
            schedule="linear rest from 1 to 0",
            on_mismatch="extend",
            settings={"max_steps": 40},
        )


@pytest.mark.parametrize(("on_skip", "clock"), [("advance", 20), ("hold", 15)])
def test_lightning_5558_updates_that_amp_skips_are_told_to_the_schedule(tmp_path, monkeypatch, on_skip, clock):
    # accelerate makes a GradScaler on accelerators alone, so here its wrapper says that these five were skipped
    notes = Notes()
    # asked by the Trainer before it counts an update, and by the callback after
    told = property(lambda optimizer: len(notes.used) in (3, 4, 5, 6, 7))
    monkeypatch.setattr(AcceleratedOptimizer, "step_was_skipped", told)

    trainer = trained(tmp_path, notes, schedule=SPEC, on_skip=on_skip)
    assert trainer.state.global_step == 20
    assert (trainer.lr_scheduler.last_epoch, trainer.lr_scheduler.skipped) == (clock, 5)
