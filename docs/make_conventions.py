"""Write the tables of docs/conventions.md from the conversions themselves: `python docs/make_conventions.py`.

A test makes them again and compares, so that the page says what the code does.
"""

import re
from importlib import import_module
from pathlib import Path

import lehr
from lehr.conventions import SYSTEMS, convert

PAGE = Path(__file__).with_name("conventions.md")
WARMUP, TOTAL = 10, 100

LINEAR = ["LinearLR", {"start_factor": 0.1, "total_iters": WARMUP}]
COSINE = ["CosineAnnealingLR", {"T_max": TOTAL - WARMUP}]
WHERE = ["LinearParamScheduler", {"start_value": 0.0, "end_value": 1.0}]
FALL = ["CosineParamScheduler", {"start_value": 1.0, "end_value": 0.0}]

# (what it is called in the table, the name for `convert`, its arguments): the same wish, as each system puts it
WISHES = [
    ("transformers `get_cosine_schedule_with_warmup`", "transformers.get_cosine_schedule_with_warmup",
     {"lr": 1, "num_warmup_steps": WARMUP, "num_training_steps": TOTAL}),
    ("transformers `..._with_min_lr_..._warmup_lr_rate`",
     "transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
     {"lr": 1, "num_warmup_steps": WARMUP, "num_training_steps": TOTAL, "min_lr_rate": 0.0}),
    ("torch `SequentialLR`, from 0.1", "torch.SequentialLR",
     {"lr": 1, "schedulers": [LINEAR, COSINE], "milestones": [WARMUP]}),
    ("torch `OneCycleLR`, `pct_start=0.1`", "torch.OneCycleLR",
     {"max_lr": 1, "total_steps": TOTAL, "pct_start": WARMUP / TOTAL}),
    ("optax `warmup_cosine_decay_schedule`", "optax.warmup_cosine_decay_schedule",
     {"init_value": 0, "peak_value": 1, "warmup_steps": WARMUP, "decay_steps": TOTAL}),
    ("timm `CosineLRScheduler`", "timm.CosineLRScheduler", {"lr": 1, "t_initial": TOTAL, "warmup_t": WARMUP}),
    ("timm, `warmup_prefix=True`", "timm.CosineLRScheduler",
     {"lr": 1, "t_initial": TOTAL - WARMUP, "warmup_t": WARMUP, "warmup_prefix": True}),
    ("fvcore `CompositeParamScheduler`", "fvcore.CompositeParamScheduler",
     {"schedulers": [WHERE, FALL], "lengths": [0.1, 0.9], "interval_scaling": ["rescaled"] * 2, "total": TOTAL}),
    ("Megatron-LM", "megatron.OptimizerParamScheduler",
     {"lr": 1, "lr_decay_style": "cosine", "train_iters": TOTAL, "lr_warmup_iters": WARMUP, "global_batch_size": 8}),
    ("Composer `CosineAnnealingWithWarmupScheduler`", "composer.CosineAnnealingWithWarmupScheduler",
     {"run": {"max_duration": f"{TOTAL}ba"}, "t_warmup": f"{WARMUP}ba"}),
    ("OLMo-core `CosWithWarmup`, `alpha_f=0`", "olmo_core.CosWithWarmup",
     {"lr": 1, "warmup": WARMUP, "alpha_f": 0.0, "total": TOTAL}),
    ("torchtitan, `decay_type=\"cosine\"`", "torchtitan.LRSchedulersContainer",
     {"lr": 1, "training_steps": TOTAL, "warmup_steps": WARMUP, "decay_type": "cosine"}),
    ("pytorch_warmup `LinearWarmup` (no decay)", "pytorch_warmup.LinearWarmup", {"lr": 1, "warmup_period": WARMUP}),
    ("nanoGPT `get_lr`", "nanogpt.get_lr",
     {"learning_rate": 1, "warmup_iters": WARMUP, "lr_decay_iters": TOTAL, "min_lr": 0.0}),
    ("nanochat base_train (a line)", "nanochat.base_train.get_lr_multiplier",
     {"num_iterations": TOTAL, "warmup_steps": WARMUP, "warmdown_ratio": 0.9, "final_lr_frac": 0.0}),
    ("LitGPT pretrain", "litgpt.pretrain.get_lr",
     {"learning_rate": 1, "lr_warmup_steps": WARMUP, "max_steps": TOTAL, "min_lr": 0.0}),
    ("LitGPT pretrain, 4 micro-batches", "litgpt.pretrain.get_lr",
     {"learning_rate": 1, "lr_warmup_steps": WARMUP, "max_steps": TOTAL, "min_lr": 0.0,
      "gradient_accumulation_iters": 4}),
    ("LitGPT finetune", "litgpt.finetune.get_lr_scheduler", {"lr": 1, "warmup_steps": WARMUP, "max_steps": TOTAL}),
    ("lingua", "lingua.build_optimizer", {"lr": 1, "n_steps": TOTAL, "warmup": WARMUP, "lr_min_ratio": 0.0}),
    ("CS336", "cs336.get_lr_cosine_schedule",
     {"max_learning_rate": 1, "min_learning_rate": 0, "warmup_iters": WARMUP, "cosine_cycle_iters": TOTAL}),
    ("the function people paste", "user_functions.get_lr",
     {"warmup_steps": WARMUP, "max_steps": TOTAL, "max_lr": 1}),
]  # fmt: skip


def values_table() -> str:
    """Update 0, about the end of the warmup, the last one, the first one past the end, and the sum of them all."""
    schedules = [
        ("**lehr**", lehr.cosine(TOTAL, WARMUP, final=0)),
        ('**lehr**, `sample="start"`', lehr.cosine(TOTAL, WARMUP, final=0, sample="start")),
        *((title, convert(name, **args)) for title, name, args in WISHES),
    ]
    lines = [
        f"| W={WARMUP}, T={TOTAL} | update 0 | {WARMUP - 1} | {WARMUP} | {TOTAL - 1}, the last | {TOTAL}, past the end "
        f"| sum of 0 to {TOTAL - 1} | as a schedule |",
        "|---" + "|---:" * 6 + "|---|",
    ]
    for title, schedule in schedules:
        row = [schedule(step) for step in (0, WARMUP - 1, WARMUP, TOTAL - 1, TOTAL)]
        total = sum(schedule(step) for step in range(TOTAL))
        cells = [title, *(f"{value:.4g}" for value in row), f"{total:.2f}", f"`{shorter(schedule)}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shorter(schedule: lehr.Schedule) -> str:
    """The schedule's text, its numbers at four digits."""
    return re.sub(r"\d\.\d{5,}(e-\d+)?", lambda number: f"{float(number[0]):.4g}", str(schedule))


def refused_table() -> str:
    """What is refused by name, with the reason that `convert` gives."""
    lines = ["| | because |", "|---|---|"]
    for system in SYSTEMS:
        for name, reason in import_module(f"lehr.conventions.{system}").REFUSED.items():
            lines.append(f"| `{system}.{name}` | {reason} |")
    return "\n".join(lines)


def filled(page: str) -> str:
    """The page with both tables made anew, between their marks."""
    for mark, table in (("values", values_table()), ("refused", refused_table())):
        begin, end = f"<!-- {mark}: made by make_conventions.py -->\n", f"<!-- end of {mark} -->"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}{table}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
