"""docs/huggingface.md, docs/accelerate.md, and the examples on the real Trainer and accelerate."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from test_accelerate import on_two_processes
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).parent.parent.parent


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


def what_the_page_speaks_of():
    """A model, data and a loader."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, max_position_embeddings=8, **sizes))
    rows = torch.randint(32, (64, 8))
    data = [{"input_ids": row, "labels": row} for row in rows]
    return {"model": model, "data": data, "loader": torch.utils.data.DataLoader(data, batch_size=8)}


def test_the_trainers_example_trains_and_resumes(tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / "hf_trainer.py", "20"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"update +(\d+)  lr (\S+)  loss (\S+)", done.stdout)
    assert [int(step) for step, _, _ in rows] == list(range(1, 21)), "no update is lost or told twice"
    assert float(rows[-1][1]) == 0 and float(rows[-1][2]) < float(rows[0][2]) - 1
    assert done.stdout.splitlines()[-1] == "linear 2 to 1, hold 14, sqrt 4 to 0"


def test_accelerates_example_learns_on_two_processes(tmp_path):
    out = on_two_processes(ROOT / "examples" / "accelerate_processes.py", 40, cwd=tmp_path)
    losses = [float(x) for x in re.findall(r"loss (\d+\.\d+)", out)]
    assert losses[-1] < losses[0] / 2 and "2 processes, 40 steps of the schedule" in out


def test_the_examples_are_short():
    for name in ("hf_trainer.py", "accelerate_processes.py", "torch_groups.py"):
        assert len((ROOT / "examples" / name).read_text().splitlines()) < 60


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")  # torch's, where there is no accelerator
def test_the_code_of_the_hugging_face_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = {"__name__": "__docs__", **what_the_page_speaks_of()}
    blocks = blocks_of("huggingface.md")
    assert len(blocks) >= 3
    for code in blocks:  # one after the other, as they are read
        exec(compile(code, "docs/huggingface.md", "exec"), told)


def test_the_code_of_the_accelerate_page_runs():
    told = {"__name__": "__docs__", "torch": torch, **what_the_page_speaks_of()}
    told["accelerator"] = Accelerator(cpu=True)
    told["optimizer"] = told["accelerator"].prepare(torch.optim.AdamW(told["model"].parameters(), lr=3e-4))
    opening, loop = blocks_of("accelerate.md")
    exec(compile(opening, "docs/accelerate.md", "exec"), told)
    assert told["optimizer"].param_groups[0]["lr"] == pytest.approx(3e-4 / 50)
    exec(compile(loop, "docs/accelerate.md", "exec"), told)
    # 8 batches, two to an update: four updates of a warmup of 50, and the fifth's rate is set
    assert told["optimizer"].param_groups[0]["lr"] == pytest.approx(5 / 50 * 3e-4)
