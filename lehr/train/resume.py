"""Going on: which checkpoint, under which plan, and the decay that branches off into a run of its own.

The plan is the peak LR, the schedule and the number of steps; everything else that would change an update has to be as
it was (`setup.check_same`).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lehr.clock import Clock
from lehr.schedule import Schedule
from lehr.spec import parse
from lehr.train import config as configs
from lehr.train import folders, setup, sharded
from lehr.train.report import Report
from lehr.train.setup import Parts
from lehr.train.snapshot import restore_random

MODES = ("error", "saved", "new", "extend")


def find(folder: Path, report: Report, look: bool = False) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that verifies, with what it holds; None where none was ever written.

    A damaged one is said and set aside, but for `look`, which changes nothing. Raises ValueError if all are damaged, or
    one was written by a newer lehr.
    """
    checkpoints = folder / "checkpoints"
    for path, found in folders.newest(checkpoints):
        if isinstance(found, folders.Damaged):
            left = "is left where it is" if look else f"is left for inspection as {folders.set_aside(path).name}"
            report.warn(f"{found}; it {left}, and the one before it is tried")
        elif isinstance(found, Exception):
            report.warn(f"the checkpoint {path} cannot be read ({found}); the one before it is tried")
        else:
            return path, found
    if any(checkpoints.glob("step-*")):
        raise ValueError(f"{folder} has no whole checkpoint to resume from; train into another --out")
    return None


def load(parts: Parts, state: dict[str, Any] | None) -> tuple[int, int]:
    """Put a checkpoint into model, optimizer and generators; return its step and the shift of its batches.

    On several processes all call it, and process 0 has the `state`.
    """
    if parts.world.size > 1:
        facts = sharded.load(parts.model, parts.optimizer, state, parts.world)
        return facts["step"], int(facts["data"]["shift"])
    assert state is not None
    parts.model.load_state_dict(state["model"])
    parts.optimizer.load_state_dict(state["optimizer"])
    restore_random(state["random"][0])
    return state["step"], int(state["data"]["shift"])


def restored(parts: Parts, path: Path, step: int, shift: int, what: str = "resumed from") -> str:
    """What `load` restored, in words."""
    windows = (step + shift) * parts.config.train.batch_size
    lr = parts.config.optimizer.lr * parts.schedule(step)
    return (
        f"{what} {path}: weights, optimizer, random states and data position (window {windows:,}) after "
        f"{step:,} updates; next LR {lr:.4g}"
    )


# ---------------------------------------------------------------------------------------------------------------------
# the plan


def choose_plan(folder: Path, parts: Parts, step: int, mode: str) -> tuple[Parts, dict[str, Any]]:
    """Compare the plan in `folder`'s config.json with the one asked for; return the parts that go on, and the history.

    `mode` is what `--on-mismatch` says where they differ: `saved` keeps the saved peak and schedule, `new` takes those
    asked for, `extend` goes over from the saved one to the other (`Schedule.extend`) at `step`; the number of steps is
    the one asked for in each. `error` raises ValueError, which shows both. The history is what config.json keeps.
    """
    facts = configs.read(folder)
    history: dict[str, Any] = {key: facts[key] for key in ("parent", "plans") if key in facts}
    saved_peak, saved_text = float(facts["optimizer"]["lr"]), str(facts["schedule"]["lr"])
    saved = {"optimizer.lr": saved_peak, "schedule.lr": saved_text, "train.steps": int(facts["train"]["steps"])}
    here = {
        "optimizer.lr": parts.config.optimizer.lr,
        "schedule.lr": parts.config.schedule.lr,
        "train.steps": parts.config.train.steps,
    }
    if parts.config.train.steps < step:
        raise ValueError(
            f"{folder} has {step:,} updates already, and train.steps is {parts.config.train.steps:,}; "
            f"write --steps {step} or more"
        )
    # the steps first: they may be what changed the schedule, and are what was written
    changed = [name for name in ("train.steps", "optimizer.lr", "schedule.lr") if saved[name] != here[name]]
    if not changed:
        return parts, history
    before = parse(saved_text)
    peak = parts.config.optimizer.lr
    if history.get("plans") and history["plans"][-1]["asked"] == here:  # this was decided already: the same arguments
        return with_plan(parts, saved_peak, before, parts.config.train.steps), history
    if mode == "error":
        first = changed[0]
        raise ValueError(
            f"{first} was {saved[first]!r} in {folder} and is {here[first]!r} now, another plan: saved is "
            f"{saved_peak:g} * ({before}), LR {saved_peak * before(step):.4g} at step {step:,}; asked for is "
            f"{peak:g} * ({parts.schedule}), LR {peak * parts.schedule(step):.4g}; "
            "write --on-mismatch saved, new or extend to say which goes on"
        )
    if mode == "saved":
        peak, chosen = saved_peak, before
    elif mode == "new" or not step:
        chosen = parts.schedule
    else:
        chosen = (before if saved_peak == peak else saved_peak / peak * before).extend(parts.schedule, at=step)
    parts = with_plan(parts, peak, chosen, parts.config.train.steps)
    now = {"optimizer.lr": peak, "schedule.lr": str(chosen), "train.steps": parts.config.train.steps}
    plan = {"step": step, "on_mismatch": mode, "before": saved, "asked": here, "now": now}
    return parts, {**history, "plans": [*history.get("plans", []), plan]}


def with_plan(parts: Parts, peak: float, schedule: Schedule, steps: int) -> Parts:
    """The parts under another peak, schedule and length."""
    config = replace(
        parts.config,
        optimizer=replace(parts.config.optimizer, lr=peak),
        schedule=replace(parts.config.schedule, lr=str(schedule)),
        train=replace(parts.config.train, steps=steps),
    )
    return replace(parts, config=config, schedule=schedule, given=str(schedule))


# ---------------------------------------------------------------------------------------------------------------------
# a cooldown from another run's checkpoint


@dataclass(frozen=True)
class Branch:
    """A cooldown from a checkpoint of another run: that after `at` updates, None for the newest; `over` is text."""

    run: Path
    at: int | None
    over: str


def read_branch(run_at: str, over: str) -> Branch:
    """Read RUN[@STEP]. Raises ValueError for a step that is none, or a folder that holds no run.

    >>> read_branch("runs/none@500", "10%")
    Traceback (most recent call last):
    ...
    ValueError: runs/none holds no run: its config.json is missing or damaged
    """
    run, at, step = run_at.rpartition("@")
    if not at or Path(run_at).is_dir():
        run, step = run_at, ""
    elif not step.isdecimal():
        raise ValueError(f"{step!r} is not a step; write --cooldown-from {run}@500, say")
    configs.read(Path(run))
    return Branch(Path(run), int(step) if step else None, over)


def open_branch(branch: Branch) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that the branch begins with, and what it holds.

    Raises ValueError if there is no such checkpoint (naming the nearest), it is damaged, or it is in no stable phase.
    """
    there = dict(folders.all_folders(branch.run / "checkpoints"))
    if not there:
        raise ValueError(f"{branch.run} has no checkpoint to branch off from")
    step = max(there) if branch.at is None else branch.at
    if step not in there:
        below, above = [s for s in there if s < step][-1:], [s for s in there if s > step][:1]
        near = " and ".join(f"{branch.run}@{s}" for s in (*below, *above))
        raise ValueError(f"{branch.run} has no checkpoint of step {step}; the nearest to write are {near}")
    opened = folders.read(there[step])
    schedule = parse(opened["schedule"])  # the one it was trained under; the run may have gone on under another
    if not step or schedule.phase(step - 1) != "stable":
        stable = [s for s in there if s and schedule.phase(s - 1) == "stable"]
        if stable:
            write = f"write --cooldown-from {branch.run}@{stable[-1]}"
        elif any(schedule.phase(int(joint)) == "stable" for joint in (0, *schedule.joints)):
            write = "it has kept no checkpoint of its stable phase; keep more of them with --set train.keep=10"
        else:
            write = "it has no stable phase; train one with --schedule 'linear 5% to 1, hold rest', say"
        phase = schedule.phase(step - 1) if step else "start"
        raise ValueError(
            f"{branch.run}@{step} is in the phase {phase!r} of {str(schedule)!r}, not in a stable one: {write}"
        )
    return there[step], opened


def cool_down(
    parts: Parts, branch: Branch, state: dict[str, Any], other_data: bool = False
) -> tuple[Parts, dict[str, Any]]:
    """The parts of the branch, and its history for config.json: from its step on a checkpoint's schedule cools down.

    `state` is what the checkpoint holds: its peak and schedule are those that the branch begins with.

    `branch.over` is a duration ("500", "10%" of the parent's updates so far, "1M tokens"), which cools along 1-sqrt to
    0, or an item of the text form without its start ("linear 10% to 0.1"). `other_data`: on another text, if need be.
    """
    setup.check_same(branch.run, parts, other_data)
    step: int = state["step"]
    shape, over, end = _read_over(branch.over, parts, step)
    cooled = parse(state["schedule"]).cooldown(at=step, over=over, to=end, shape=shape)
    parts = with_plan(parts, float(state["peak"]), cooled, step + int(over))
    return parts, {"parent": {"run": str(branch.run.resolve()), "step": step, "over": branch.over}}


def _read_over(text: str, parts: Parts, step: int) -> tuple[str, float, float]:
    """Shape, duration in updates, and end value of what `--over` says."""
    item = " ".join(text.split())
    if item[:1].isdigit() or item[:1] == ".":
        item = f"sqrt {item}"
    if " to " not in f" {item} ":
        item += " to 0"
    config = parts.config
    clock = Clock(
        total_steps=step,  # a share is one of the updates so far
        tokens_per_step=parts.tokens_per_step,
        samples_per_step=config.train.batch_size,
        steps_per_epoch=setup.steps_per_epoch(config, parts.corpus),
    )
    try:
        ramps = parse(f"hold 1, {item}", clock).ramps
    except ValueError as error:
        raise ValueError(f"--over {text!r}: {error}") from None
    if "," in item or "at " in item or "from" in item.split() or len(ramps) != 2 or ramps[-1].duration < 1:
        raise ValueError(
            f"--over is how long the cooldown lasts, at least one update, such as 500, 10% or 'linear 10% to 0.1', "
            f"not {text!r}"
        )
    return ramps[-1].shape, ramps[-1].duration, ramps[-1].end_value
