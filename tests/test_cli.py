"""The command line as a person meets it: real processes, exit statuses, and errors of one line."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lehr


def lehr_command(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "lehr", *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_show_prints_the_curve_and_its_key_points():
    done = lehr_command("show", "linear 2% to 1, cosine rest to 0.1", "--total", "10k", "--lr", "6e-4")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("linear 200 to 1, cosine 9800 to 0.1  [4f058912b79f]\n")
    schedule = lehr.parse("linear 200 to 1, cosine 9800 to 0.1")
    table = {line[:15].strip(): line[15:].split() for line in done.stdout.splitlines()}
    assert table["first update"] == ["0", "3e-06", "warmup"]
    assert table["end of warmup"] == ["199", "0.0006", "warmup"]
    assert table["half way"] == ["5,000", f"{6e-4 * schedule(5000):.4g}", "decay"]
    assert table["last update"] == ["9,999", "6e-05", "decay"]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_show_takes_other_units():
    done = lehr_command("show", "linear 1B tokens to 1, hold rest", "--total", "10k", "--tokens-per-step", "1M")
    assert done.stdout.startswith("linear 1000 to 1, hold 9000  [")


def test_plot_writes_a_picture(tmp_path):
    out = tmp_path / "two.png"
    done = lehr_command("plot", "linear 10 to 1, cosine 90 to 0", "cosine 100 from 1 to 0.1", "--out", out)
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_check_says_what_is_wrong_and_what_to_write_and_its_status_is_1_for_a_warning():
    # the page shows what the command prints
    page = (Path(__file__).parent.parent / "docs" / "check.md").read_text()
    command, printed = re.search(r"```console\n\$ lehr (.*?)\n(.*?)```", page, flags=re.DOTALL).groups()
    done = lehr_command(*shlex.split(command))
    assert (done.returncode, done.stdout, done.stderr) == (1, printed, "")
    assert max(map(len, done.stdout.splitlines())) < 80
    done = lehr_command("check", "linear 2% to 1, cosine rest to 0.1", "--total", "10k")
    assert done.returncode == 0 and done.stdout.endswith("over 10,000 updates: nothing found\n")
    done = lehr_command("check", "linear 20% to 1, cosine rest to 0.1", "--total", "10k")
    assert done.returncode == 0 and "over 10,000 updates: 1 info" in done.stdout and "long-warmup" in done.stdout
    assert lehr_command("check", "linear 20 to 1, hold 980", "--beta2", "0.999").returncode == 1
    assert lehr_command("check", "linear 20 to 1, cosine 980 to 3e-5", "--lr", "3e-4").returncode == 1


def test_json_answers_what_the_text_says():
    text = ("linear 10 to 1, cosine 90 to 0.1", "--lr", "1e-3")
    shown = json.loads(lehr_command("show", *text, "--total", 200, "--json").stdout)
    schedule = lehr.parse(text[0])
    assert (
        lehr.from_dict({"sample": shown["sample"], "ramps": shown["ramps"]})
        == schedule
        == lehr.parse(shown["schedule"])
    )
    assert (shown["fingerprint"], shown["total"], shown["peak"]) == (schedule.fingerprint, 100, 1)
    assert (shown["lr"], shown["updates"]) == (1e-3, 200)
    points = {point["name"]: (point["step"], point["lr"], point["phase"]) for point in shown["points"]}
    assert points["end of warmup"] == (9, 1e-3, "warmup") and points["last update"] == (199, 1e-4, "done")

    done = lehr_command("check", *text, "--total", 200, "--json")
    checked = json.loads(done.stdout)
    assert done.returncode == 1 and checked["passed"] is False and checked["updates"] == 200
    (finding,) = checked["findings"]
    (expected,) = lehr.check(schedule, total=200, lr=1e-3)
    assert finding == {key: getattr(expected, key) for key in ("code", "severity", "step", "message", "instead")}

    done = lehr_command("convert", "torch.CosineAnnealingLR", "T_max=50", "--lr", "3e-4", "--json")
    converted = json.loads(done.stdout)
    assert converted["name"] == "torch.CosineAnnealingLR" and converted["arguments"] == {"T_max": 50}
    assert lehr.parse(converted["schedule"]) == lehr.convert("torch.CosineAnnealingLR", lr=3e-4, T_max=50)


def test_plot_answers_json(tmp_path):
    done = lehr_command("plot", "linear 10 to 1", "hold 20", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert (tmp_path / answer["out"]).exists()
    assert [it["schedule"] for it in answer["schedules"]] == ["linear 10 to 1", "hold 20"]


def test_a_runs_folder_is_shown_checked_and_drawn(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 100)
    done = lehr_command(
        *("train", "--data", text, "--out", "run", "--dry-run", "--steps", 60, "--lr", "1e-3"),
        *("--schedule", "linear 0.5 epochs to 1, cosine 20 to 0", "--set", "model.context_length=32"),
        cwd=tmp_path,
    )
    # an epoch is 3690 tokens (90 % of 4100) = 115 windows, 16 an update
    assert "schedule 0.001 * (linear 4 to 1, cosine 20 to 0)" in done.stdout
    assert "warning  shorter-than-run: the schedule ends after 24 updates, the run after 60" in done.stdout
    shown = json.loads(lehr_command("show", "run", "--json", cwd=tmp_path).stdout)
    assert (shown["run"], shown["schedule"]) == ("run", "linear 4 to 1, cosine 20 to 0")
    assert (shown["lr"], shown["updates"]) == (1e-3, 60)
    assert "\nfirst update            0     0.00025  warmup\n" in lehr_command("show", "run", cwd=tmp_path).stdout
    done = lehr_command("check", "run", cwd=tmp_path)
    assert done.returncode == 1 and "shorter-than-run" in done.stdout and "beta2=0.95" in done.stdout
    done = lehr_command("plot", "run", "--log", "--out", "run.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "run.png\n")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "llama"}')
    for command in ("show", "check", "plot"):
        done = lehr_command(command, "foreign", cwd=tmp_path)
        assert done.stderr == "lehr: foreign holds no run: its config.json is not one of lehr train\n"
    for words in (["show", "run", "--lr", "1"], ["plot", "run", "--total", "5"], ["check", "run", "--beta2", "0.9"]):
        done = lehr_command(*words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "") and f"leave out {words[2]}\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shwo"], "lehr: unknown command 'shwo'; did you mean 'show'?"),
        (["show"], "the following arguments are required: SPEC"),
        (["show", "lineer 10 to 1"], "unknown shape 'lineer'; did you mean 'linear'?"),
        (["show", "linear 2% to 1"], "--total 10k"),
        (["show", "linear 10 to 1, cosin 90 to 0"], "did you mean 'cosine'? (column 17)"),
        (["show", "runs/none"], "no such folder: runs/none"),
        (["show", "."], ". holds no run: its config.json is missing or damaged"),
        (["check", "linear 5 epochs to 1"], "'5 epochs' needs steps_per_epoch; write clock=Clock(steps_per_epoch=...)"),
        (["check", "linear 10 to 1", "--beta2", "1"], "beta2 is a number from 0 to below 1"),
        (["check", "linear 10 to 1", "--lr", "0"], "lr is the peak learning rate, a number above 0"),
        (["convert", "torch.ConstantLR", "--json", "--output", "shell"], "--output: not allowed with argument --json"),
        (["show", "linear 10 to 1", "--totl", "5"], "unknown option '--totl'; did you mean '--total'?"),
        (["show", "linear 10 to 1", "--total", "ten"], "argument --total: 'ten' is not a number"),
        (["show", "linear 10 to 1", "--total", "2.5"], "'2.5' is not a whole number of updates"),
        (["show", "linear 10 to 1", "more"], "unknown word 'more'"),
        (["show", "linear 10 tokens to 1"], "tokens_per_step"),
        (["plot", "linear 10 to 1", "--out", "curve.xyz"], "xyz"),
        (["plot", "linear 10 to 1", "--out", "no/such/folder/x.png"], "no/such/folder"),
        (["train", "--set", "train.step=4"], "unknown key train.step; did you mean 'steps'?"),
        (["train", "--set", "steps"], "write section.key=value"),
        (["train", "--steps", "many"], "train.steps: 'many' is not a number"),
        (["train", "--resume"], "write --out DIR"),
        (["train", "--resume", "--out", "nowhere"], "nowhere holds no run to resume; write --resume-or-start"),
        (["train", "run.toml"], "no such file: run.toml"),
        (["train", sys.executable], "is not a .toml file; to train on it write --data"),
        (["show", "linear 10 to 1", "--total", "-5"], "'-5' is negative"),
        (["train", "--out", sys.executable], "is a file; --out is the run's folder"),
        (["train", "--data", "no/such/file", "--out", "x"], "no such file or folder: no/such/file"),
        (["train", "--schedule", "cosine 10 to 0", "--out", "x"], "write 'from 1 to 0'"),
        (["train", "--out", "x", "--set", "model.vocab_size=100"], "smaller than the tokenizer's 256"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_status_2(tmp_path, words, message):
    done = lehr_command(*words, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.startswith("lehr: ")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
    assert not list(tmp_path.iterdir()), "a refused request leaves nothing behind"


def test_convert_gives_another_systems_schedule_as_text_shell_and_python():
    words = ("torch.CosineAnnealingLR", "T_max=1000", "eta_min=1e-5", "--lr", "3e-4")
    text = lehr_command("convert", *words).stdout.strip()
    assert lehr.parse(text) == lehr.convert("torch.CosineAnnealingLR", lr=3e-4, T_max=1000, eta_min=1e-5)
    assert lehr_command("convert", *words, "--output", "shell").stdout == f"lehr show '{text}'\n"
    assert lehr_command("convert", *words, "--output", "python").stdout == f"lehr.parse({text!r})\n"
    refused = lehr_command("convert", "torch.CosineAnnealing")
    assert refused.returncode == 2 and "did you mean 'CosineAnnealingLR'?" in refused.stderr
    assert "write key=value" in lehr_command("convert", "torch.CosineAnnealingLR", "1000").stderr


def test_debug_shows_the_traceback():
    done = lehr_command("show", "lineer 10 to 1", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "unknown shape 'lineer'" in done.stderr


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m lehr show 'linear 10 to 1' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("linear 10 to 1") and done.stderr == ""


def test_help_and_version_answer_without_loading_torch_or_rich():
    for words in (["--help"], ["--version"], ["train", "--help"], []):
        code = (
            f"import sys, lehr.cli\ntry:\n    lehr.cli.main({words!r})\n"
            "except SystemExit as exit:\n    assert not exit.code\n"
            "assert not {'torch', 'numpy', 'rich', 'matplotlib', 'plotille'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert lehr_command("--version").stdout == f"lehr {lehr.__version__}\n"


def test_a_dry_run_writes_the_configuration_and_trains_nothing(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 100)
    run = tmp_path / "run"
    done = lehr_command(
        *("train", "--data", text, "--out", run, "--dry-run", "--steps", 50, "--lr", "1e-3"),
        *("--set", "model.d_model=32", "--set", "model.num_heads=2", "--set", "model.d_ff=64"),
        *("--set", "model.context_length=32", "--set", "data.tokenizer=char"),
    )
    assert done.returncode == 0 and "nothing is trained" in done.stdout
    config = json.loads((run / "config.json").read_text())
    assert config["schedule"]["lr"] == "linear 3 to 1, cosine 47 to 0.1"  # 2.5 rounds half up
    assert config["model"]["vocab_size"] == len(set(text.read_text()))
    assert config["train"]["precision"] == "float32" and config["train"]["steps"] == 50
    assert not (run / "metrics.jsonl").exists() and not (run / "checkpoints").exists()


def test_a_preset_is_taken_by_name_and_options_go_over_it(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 200)
    run = tmp_path / "run"
    done = lehr_command(
        "train", "--preset", "shakespeare-char", "--data", text, "--out", run, "--dry-run", "--steps", 50
    )
    assert done.returncode == 0, done.stderr
    assert "memory   about" in done.stdout and "for the activations of 12 sequences" in done.stdout
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["tokenizer"] == "char" and config["train"]["steps"] == 50
    assert config["model"]["d_model"] == 128

    refused = lehr_command("train", "--preset", "shakespeare", "--dry-run")
    assert refused.returncode == 2 and "did you mean 'shakespeare-char'?" in refused.stderr
