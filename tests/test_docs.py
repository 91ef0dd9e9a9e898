"""The Python of docs/torch.md, run block after block as it is read; docs/huggingface.md is in tests/integrations."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parent.parent / "docs"


class Small(torch.nn.Module):
    """What the page calls `model`: a body and a head."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))


def train_step(model, optimizer):
    model(torch.ones(4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_the_code_of_the_torch_page_runs_and_sets_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the state it saves goes there
    stack = torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)]), torch.nn.Linear(4, 2))
    told = {"__name__": "__docs__", "torch": torch, "model": Small(), "stack": stack, "train_step": train_step}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "torch.md").read_text(), flags=re.DOTALL)
    assert len(blocks) >= 10
    for code in blocks:
        exec(compile(code, "docs/torch.md", "exec"), told)
        if "constant_product(floored)" in code:
            group, floored = told["optimizer"].param_groups[0], told["floored"]
            assert group["lr"] * group["weight_decay"] == pytest.approx(3e-4 * 0.1)
            assert group["lr"] == 3e-4 * floored(0)
        if "opposite(cycle" in code:
            assert told["optimizer"].param_groups[0]["momentum"] == pytest.approx(0.95, rel=1e-4)
            train_step(told["model"], told["optimizer"])
            told["scheduler"].step(2_999)  # the peak of the LR
            assert told["optimizer"].param_groups[0]["momentum"] == pytest.approx(0.85)
        if "plateau.step" in code:
            assert told["optimizer"].param_groups[0]["initial_lr"] == 3e-4 / 2
        if "raised = " in code:
            assert told["raised"](6_000) == 2 * told["whole"](6_000)


def test_the_page_opens_with_the_lines_to_paste():
    for name in ("torch.md", "huggingface.md"):
        lines = (DOCS / name).read_text().splitlines()
        assert lines[2] == "```python" and lines.index("```") < 12
