"""The Python of docs/torch.md and docs/speed.md, run block by block; docs/huggingface.md is in tests/integrations."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def test_the_code_of_the_torch_page_runs_and_sets_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the state it saves goes there
    told = {"__name__": "__docs__"}  # it stands on nothing but itself
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
            told["optimizer"].step()
            told["scheduler"].step(2_999)  # the peak of the LR
            assert told["optimizer"].param_groups[0]["momentum"] == pytest.approx(0.85)
        if "plateau.step" in code:
            assert told["optimizer"].param_groups[0]["initial_lr"] == 3e-4 / 2
        if "raised = " in code:
            assert told["raised"](6_000) == 2 * told["whole"](6_000)


def test_the_code_of_the_speed_page_runs_and_sets_what_it_says():
    told = {"__name__": "__docs__"}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / "speed.md").read_text(), flags=re.DOTALL):
        exec(compile(code, "docs/speed.md", "exec"), told)
    matrices, decay, _ = told["optimizer"].param_groups
    assert matrices["momentum"] == pytest.approx(0.8, abs=1e-3) and decay["betas"] == (0.9, 0.95)


def test_the_page_opens_with_the_lines_to_paste():
    for name in ("torch.md", "huggingface.md", "accelerate.md"):
        lines = (DOCS / name).read_text().splitlines()
        assert lines[2] == "```python" and lines.index("```") < 12
        opening = [line for line in lines[3 : lines.index("```")] if line]
        assert len(opening) == 5 or name != "torch.md"


def test_every_test_that_a_page_names_is_there():
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    named = {page: set(re.findall(r"`(test_\w+)`", page.read_text())) for page in DOCS.glob("*.md")}
    assert len(named[DOCS / "complaints.md"]) > 40 and len(named[DOCS / "speed.md"]) > 3
    assert not {name for names in named.values() for name in names if f"def {name}(" not in tests}
