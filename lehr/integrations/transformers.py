"""Schedules for the Hugging Face Trainer, written as a text.

trainer = Trainer(model=model, args=args, train_dataset=data, schedule="linear 5% to 1, cosine rest to 0.1")
trainer.train()
"""

import math
import warnings
from typing import Any

import transformers
from torch.optim import Optimizer
from transformers import TrainerCallback
from transformers.trainer_utils import has_length

from lehr.clock import Clock
from lehr.integrations.couplings import schedule_of
from lehr.integrations.scheduler import Scheduler
from lehr.integrations.texts import read_texts
from lehr.schedule import Schedule

__all__ = ["HorizonCallback", "Scheduled", "Trainer", "create_scheduler"]


def create_scheduler(
    optimizer: Optimizer, schedule: Any, *, clock: Clock | None = None, total: int | None = None, **options: Any
) -> Scheduler:
    """Return the scheduler of a text, or of whatever else `Scheduler` takes, for `Trainer(optimizers=(optimizer, it))`.

    `total` is the run's length in updates, the Trainer's `max_steps`; it or a `clock` is needed for texts with `%`,
    `rest`, or units other than steps. `options` are `Scheduler`'s: weight_decay, momentum, betas (texts too),
    on_mismatch, on_skip.

    Raises ValueError for a text that is none, see `lehr.parse`.

    >>> import torch
    >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    >>> scheduler = create_scheduler(optimizer, "linear 5% to 1, cosine rest to 0.1", total=1000)
    >>> print(scheduler.lr)
    linear 50 to 1, cosine 950 to 0.1
    """
    if total is not None:
        figures = clock or Clock()
        clock = Clock(total, figures.tokens_per_step, figures.samples_per_step, figures.steps_per_epoch)
    for name in ("weight_decay", "momentum", "betas"):
        if name in options:
            options[name] = read_texts(options[name], clock)
    return Scheduler(optimizer, read_texts(schedule, clock), **options)


class HorizonCallback(TrainerCallback):
    """Warns before the first update where the schedule's length is not the Trainer's number of updates.

    And of whatever loading a checkpoint warned of, such as a `learning_rate` that is not the checkpoint's. Updates that
    AMP skips are told to the scheduler, so that its `on_skip` decides.

    For `Trainer(optimizers=(optimizer, create_scheduler(...)), callbacks=[HorizonCallback()])`; `Trainer` and
    `Scheduled` of this module have it already.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **kwargs: Any) -> None:
        """Compare the scheduler that will be used, after a checkpoint was loaded, with `state.max_steps`."""
        if isinstance(lr_scheduler, Scheduler):
            told, lr_scheduler.told = lr_scheduler.told, []
            for message in told:  # the Trainer loads it with all warnings caught, and passes few of them on
                warnings.warn(message, stacklevel=2)
            for curve in lr_scheduler.targets["lr"].values():
                schedule = schedule_of(curve)
                wrong = None if schedule is None else _mismatch(schedule, state.max_steps)
                if wrong:
                    warnings.warn(wrong, stacklevel=2)

    def on_step_end(
        self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        """Tell of an update that was skipped: after one the Trainer does not call its scheduler."""
        if isinstance(lr_scheduler, Scheduler) and getattr(optimizer, "step_was_skipped", False):
            lr_scheduler.step(skipped=True)


def _mismatch(schedule: Schedule, updates: int) -> str | None:
    """What is wrong with a schedule for a run of so many updates, or None. Level stretches may be of any length."""
    total, last = schedule.total, schedule.ramps[-1]
    if total > updates:
        ahead = [r for r in schedule.ramps if r.end > updates]
        if all(r.start_value == r.end_value for r in ahead) and schedule(updates - 1) == schedule(total):
            return None
        at = f"the run ends at {schedule(updates - 1):.4g} times the peak, the schedule at {schedule(total):.4g}"
        reached = f"its last {total - updates:,} are never made ({at})"
    elif total < updates and last.start_value != last.end_value:
        reached = f"the last {updates - total:,} updates stay at {schedule(total):.4g} times the peak"
    else:
        return None
    return (
        f"the schedule {str(schedule)!r} is {total:,} updates long and the Trainer makes {updates:,}, so {reached}; "
        f"write max_steps={total}, or the schedule's lengths in % of the run"
    )


class Scheduled:
    """What makes any Trainer take `schedule=`: `class MyTrainer(Scheduled, SFTTrainer): pass`.

    `schedule` is a text, resolved by the Trainer's own number of updates, samples and epochs; or a Schedule, a function
    of the update, or a dict of them by the groups' names (then give `optimizer_cls_and_kwargs` or `optimizers` whose
    groups have names: the Trainer's own have none). `weight_decay`, `momentum` and `betas` likewise, see `Scheduler`.
    After an update that AMP skips the schedule goes on or waits, as `on_skip` says.

    `on_mismatch` says what to do where a checkpoint's schedule is another one, see `Scheduler`; with "new" a checkpoint
    of the Trainer's own scheduler goes on along this one, too. Raises ValueError where the TrainingArguments ask for
    another schedule besides, and warns before the first update where a schedule's length is not that of the run.
    """

    def __init__(
        self,
        *args: Any,
        schedule: Any,
        weight_decay: Any = None,
        momentum: Any = None,
        betas: Any = None,
        on_mismatch: str = "error",
        on_skip: str = "advance",
        **kwargs: Any,
    ) -> None:
        self._schedule = schedule
        scheduled = {"weight_decay": weight_decay, "momentum": momentum, "betas": betas}
        self._schedule_options: dict[str, Any] = {k: v for k, v in scheduled.items() if v is not None}
        self._schedule_options |= {"on_mismatch": on_mismatch, "on_skip": on_skip}
        super().__init__(*args, **kwargs)
        mine: Any = self  # a Trainer, by its other base
        _check_arguments(mine.args)
        if mine.lr_scheduler is not None:
            raise ValueError("the Trainer was given a schedule and a scheduler; write optimizers=(optimizer, None)")
        mine.add_callback(HorizonCallback())
        self._loader: Any = None
        self._updates_per_epoch: int | None = None

    def set_initial_training_values(self, args: Any, dataloader: Any, *more: Any) -> Any:
        """Where the Trainer counts its data loader, which may be one of your own: its count is the schedule's, too."""
        above: Any = super()
        counted = above.set_initial_training_values(args, dataloader, *more)
        self._loader, self._updates_per_epoch = dataloader, counted[1] if has_length(dataloader) else None
        return counted

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """What the Trainer calls once it knows its number of updates and has its optimizer."""
        mine: Any = self
        if mine.lr_scheduler is None:
            clock = _clock(mine, num_training_steps)
            options = dict(self._schedule_options)
            mine.lr_scheduler = create_scheduler(optimizer or mine.optimizer, self._schedule, clock=clock, **options)
            mine._created_lr_scheduler = True  # a second train() makes its own
        return mine.lr_scheduler


class Trainer(Scheduled, transformers.Trainer):
    """`transformers.Trainer` with `schedule=`; everything else is its own. See `Scheduled`."""


def _check_arguments(args: Any) -> None:
    """Nothing that is asked for may be ignored in silence."""
    kind = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    for name, value, default in (
        ("lr_scheduler_type", kind, "linear"),
        ("warmup_steps", args.warmup_steps, 0),
        ("lr_scheduler_kwargs", args.lr_scheduler_kwargs or None, None),
    ):
        if value != default:
            raise ValueError(
                f"TrainingArguments has {name}={value!r} and the Trainer has a schedule, which replaces it; leave "
                f"{name} out, and write the warmup into the schedule: 'linear 5% to 1, cosine rest to 0.1'"
            )


def _clock(trainer: Any, total: int) -> Clock:
    """The Trainer's own figures: updates in all, samples an update over all processes, updates an epoch."""
    args, data, loader = trainer.args, trainer.train_dataset, trainer._loader
    at_once = trainer._train_batch_size * args.world_size
    if loader is not None:  # it trains: what it has counted
        if not hasattr(loader, "total_batch_size") and getattr(
            loader, "batch_size", None
        ):  # none of accelerate's making
            at_once = loader.batch_size * args.world_size
        return Clock(total, None, at_once * args.gradient_accumulation_steps, trainer._updates_per_epoch)
    per_epoch: float | None = None
    if hasattr(data, "__len__"):
        batches = len(data) // at_once if args.dataloader_drop_last else math.ceil(len(data) / at_once)
        per_epoch = max(math.ceil(batches / args.gradient_accumulation_steps), 1)
    return Clock(total, None, at_once * args.gradient_accumulation_steps, per_epoch)
