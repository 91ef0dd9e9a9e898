"""The examples and the README's Python, run as a reader would run them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import image

from lehr.train.config import Config, assign

ROOT = Path(__file__).parent.parent


def run_example(name, *words, cwd):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loop_by_hand_is_short_and_learns(tmp_path):
    lines = (ROOT / "examples" / "train_transformer.py").read_text().splitlines()
    assert len(lines) < 80
    out = run_example("train_transformer.py", "12", cwd=tmp_path)
    losses = [float(x) for x in re.findall(r"loss (\d+\.\d+)  ", out)]
    assert losses[-1] < losses[0] - 1 and "validation loss" in out
    assert "step    0  lr 0.00e+00" in out  # CS336 starts from 0


def test_two_groups_of_which_one_comes_later_learn(tmp_path):
    out = run_example("torch_groups.py", "200", cwd=tmp_path)
    losses = [float(x) for x in re.findall(r"loss (\d+\.\d+)", out)]
    assert losses[-1] < losses[0] / 2
    first, late = out.splitlines()[0], out.splitlines()[2]  # updates 0 and 50
    assert "head 1.00e-03 (decay 0.100)" in first and "body" not in first
    assert "head" in late and "body" in late


@pytest.mark.skipif(shutil.which("bash") is None, reason="the script is bash")
def test_the_slurm_script_is_bash_and_says_what_lehr_train_knows(tmp_path):
    script = ROOT / "examples" / "slurm.sh"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    words = re.search(r"-m (lehr train .*)", script.read_text(), re.DOTALL)[1].replace("\\\n", " ")
    options = re.findall(r"--[a-z-]+", words)
    known = subprocess.run([sys.executable, "-m", "lehr", "train", "--help"], capture_output=True, text=True).stdout
    assert len(options) >= 5 and all(option in known for option in options)
    settings = re.findall(r"--set (\S+)", words)
    assert len(settings) == 2 and assign(Config(), *settings)


def test_four_schedules_are_drawn(tmp_path):
    out = run_example("plot_schedules.py", cwd=tmp_path)
    assert image.imread(tmp_path / "schedules.png").std() > 0.02, "an empty picture is all white"
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["cosine", "linear", "constant", "inverse"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what it writes goes there
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {"__name__": "__readme__"})


def test_the_readme_names_two_make_commands_and_both_exist():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake (\w+)", readme))
    assert named == {"train", "test"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


@pytest.mark.parametrize(
    "command", [c for block in blocks("console") for c in re.findall(r"^\$ (lehr .*)", block, re.M)]
)
def test_the_readmes_commands_run(command, tmp_path):
    if " train " in command:
        command += " --dry-run"  # the training itself is tested on a small text
    done = subprocess.run(
        f"{sys.executable} -m {command}", shell=True, capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_every_file_of_the_package_has_its_clause_in_the_readme():
    tree = (ROOT / "README.md").read_text()
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lehr").rglob("*.py")
        if path.name != "__init__.py"
        and not any(
            re.search(rf"^\s*{name} +\S", tree, flags=re.MULTILINE) for name in (path.name, f"{path.parent.name}/")
        )
    ]
    assert not missing
