"""docs/jax.md, trackers.md and elsewhere.md and their examples, run as a reader would; of the recipes what can be."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lehr

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ("keras_model.py", "lightning_module.py", "optax_loop.py", "tracked_loop.py")


def run(*words, cwd, **env):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=env, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(out):
    """(step, LR, loss) of the lines that the examples print."""
    rows = re.findall(r"update +(\d+)  lr (\S+)  \w+ +loss (\d+\.\d+)", out)
    return [(int(step), float(lr), float(loss)) for step, lr, loss in rows]


def code_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


def test_the_examples_are_short():
    for name in EXAMPLES:
        assert len((ROOT / "examples" / name).read_text().splitlines()) < 60, name


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("lightning_module.py", 40), {}),
        (("optax_loop.py", 60), {}),
        (("keras_model.py", 6), {"KERAS_BACKEND": "jax"}),
        (("keras_model.py", 6), {"KERAS_BACKEND": "torch"}),
    ],
    ids=str,
)
def test_each_example_learns_along_its_schedule(words, env, tmp_path):
    name, amount = words
    out = run(ROOT / "examples" / name, amount, cwd=tmp_path, **env)
    rows = told(out)
    updates = amount * 16 if name == "keras_model.py" else amount
    warmup = "5%" if name == "optax_loop.py" else "10%"
    schedule = lehr.parse(f"linear {warmup} to 1, cosine rest to 0", total=updates)
    assert rows[-1][0] >= updates * 0.85 and len(rows) >= 6
    assert all(lr == pytest.approx(3e-2 * schedule(step), rel=1e-3, abs=1e-8) for step, lr, _ in rows)
    assert rows[-1][2] < rows[0][2] / 2
    if name == "optax_loop.py":
        assert float(re.search(r"at most (\S+) of the peak apart", out)[1]) <= 3e-7


def test_the_tracked_loop_is_cut_off_and_goes_on(tmp_path):
    run(ROOT / "examples" / "tracked_loop.py", tmp_path / "run", 50, cwd=tmp_path)
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(50))
    assert lines[0] == (
        "step,phase,lr,lr_planned,phase/body,lr/body,lr_planned/body,phase/head,lr/head,lr_planned/head,loss,grad_norm"
    )
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize(("page", "blocks"), [("jax.md", 2), ("trackers.md", 1), ("elsewhere.md", 6)])
def test_the_code_of_the_page_runs(page, blocks, tmp_path):
    code = code_of(page)
    assert len(code) == blocks
    (tmp_path / "page.py").write_text("\n".join(code))
    run("page.py", cwd=tmp_path)


# The recipes for what is not installed here: their own lines, on the parts of theirs that are -------------------------


def recipe(name, **names):
    (code,) = [code for code in code_of("elsewhere.md") if f"def {name}(" in code]
    exec(compile(code, "docs/elsewhere.md", "exec"), names)
    return names


CURVE = lehr.cosine(total=20, warmup=4)


def test_torchtitan_the_torch_scheduler_in_its_container_takes_a_schedule_and_goes_on_from_the_step():
    def container():
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, CURVE)

    optimizer, scheduler = container()
    for step in range(20):
        assert optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0] == 0.1 * CURVE(step)
        optimizer.step()
        scheduler.step()
    optimizer, loaded = container()
    loaded.last_epoch = 6  # the whole of what its container saves
    optimizer.step()
    loaded.step()
    assert loaded.get_last_lr() == [0.1 * CURVE(7)]


def test_deepspeed_asks_for_a_scheduler_or_a_function_of_the_optimizer():
    made = {}
    names = recipe("train_with_deepspeed")

    class Engine:
        """Stands in for deepspeed, which is not installed: its test is `isinstance(lr_scheduler, Callable)`."""

        @staticmethod
        def initialize(model, model_parameters, config, lr_scheduler):
            made["optimizer"] = torch.optim.AdamW(model_parameters, lr=0.1)
            assert callable(lr_scheduler)
            return lr_scheduler(made["optimizer"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "deepspeed", Engine)
        scheduler = names["train_with_deepspeed"](torch.nn.Linear(1, 1), {}, CURVE)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler) and not callable(scheduler)
    assert made["optimizer"].param_groups[0]["lr"] == 0.1 * CURVE(0)


def test_timm_groups_with_an_lr_scale_follow_the_schedule_from_their_own_peaks():
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": scale} for scale in (0.25, 1.0)]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    scheduler = recipe("schedule_timm")["schedule_timm"](optimizer, CURVE)
    for step in range(20):
        assert scheduler.get_last_lr() == [0.1 * scale * CURVE(step) for scale in (0.25, 1.0)]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("updates", [1, 7, 20, 999])
def test_fastai_a_share_that_is_summed_up_finds_its_update(updates):
    schedule = lehr.linear(updates, warmup=updates // 5)
    at = recipe("lehr_callback")["at_share"](3e-3, schedule, updates)
    share = 0.0
    for step in range(updates):
        assert at(share) == 3e-3 * schedule(step) and math.isfinite(share)
        share += 1.0 / updates
