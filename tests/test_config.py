"""The configuration of a run: strict sections, TOML, `--set`."""

import json
import re

import pytest

import lehr
from lehr.train.config import Config, assign, config_of, from_dict, from_toml, preset, presets, read, to_dict


def test_the_defaults_are_a_configuration_and_survive_json():
    config = Config()
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_every_key_of_the_plan_is_there():
    sections = to_dict(Config())
    assert set(sections["model"]) == {
        *("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", "rope_theta", "dropout"),
        "checkpoint_activations",
    }
    assert set(sections["data"]) == {"path", "tokenizer", "val_fraction", "field", "dtype"}
    assert set(sections["optimizer"]) == {
        *("name", "lr", "weight_decay", "betas", "eps", "max_grad_norm", "momentum", "matrix_lr_ratio")
    }
    assert set(sections["train"]) == {
        *("steps", "batch_size", "micro_batch_size", "seed", "precision", "compile", "device"),
        *("log_every", "eval_every", "eval_batches", "checkpoint_every", "keep", "on_nonfinite"),
        *("parallel", "timeout"),
    }


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("train.steps=2k", "train", "steps", 2000),
        ("optimizer.lr=1e-3", "optimizer", "lr", 1e-3),
        ("optimizer.betas=0.8,0.9", "optimizer", "betas", (0.8, 0.9)),
        ("train.compile=true", "train", "compile", True),
        ("data.tokenizer=char", "data", "tokenizer", "char"),
        ("data.path=a.txt,b.txt", "data", "path", ("a.txt", "b.txt")),
        ("schedule.lr=linear 10 to 1, hold rest", "schedule", "lr", "linear 10 to 1, hold rest"),
    ],
)
def test_an_assignment_sets_one_value(text, section, key, value):
    assert getattr(getattr(assign(Config(), text), section), key) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.steps", "is not an assignment; write section.key=value"),
        ("steps=3", "is not an assignment"),
        ("trian.steps=3", "unknown section 'trian'; did you mean 'train'?"),
        ("train.step=3", "unknown key train.step; did you mean 'steps'?"),
        ("train.steps=3.5", "train.steps is a whole number, not '3.5'"),
        ("train.steps=many", "train.steps: 'many' is not a number"),
        ("train.seed=1e20", "train.seed is beyond what it can be: '1e20'"),
        ("optimizer.lr=1e400", "optimizer.lr is beyond what it can be: '1e400'"),
        ("train.steps=0", "train.steps is above 0, not 0"),
        ("train.seed=-1", "train.seed is 0 or above, not -1"),
        ("train.compile=maybe", "train.compile is true or false, not 'maybe'"),
        ("optimizer.betas=0.9", "optimizer.betas is a list of 2, not"),
        ("optimizer.betas=0.9,1", "optimizer.betas are in [0, 1), not (0.9, 1.0)"),
        ("model.num_heads=7", "model.num_heads has to divide d_model=192, not 7"),
        ("model.num_heads=64", "even width"),
        ("data.val_fraction=1", "data.val_fraction is between 0 and 1"),
        ("train.micro_batch_size=5", "train.micro_batch_size divides batch_size=16, not 5"),
        ("train.precision=fp16", "train.precision is float32 or bfloat16, not 'fp16'"),
        ("train.on_nonfinite=ignore", "train.on_nonfinite is one of stop, skip, rollback, not 'ignore'"),
        ("model.dropout=1", "model.dropout is in [0, 1), not 1.0"),
        ("train.device=tpu", "train.device is one of cpu, cuda, mps, not 'tpu'"),
        ("train.device=cuda:one", "train.device has a number where it is one GPU of several, such as cuda:1, not"),
        ("train.device=cpu:1", "such as cuda:1, not 'cpu:1'"),
        ("train.device=cuda:01", "such as cuda:1, not 'cuda:01'"),
        ("train.device=cuda:١", "such as cuda:1, not 'cuda:١'"),
    ],
)
def test_a_wrong_assignment_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        assign(Config(), text)
    assert "\n" not in str(error.value)


def test_a_toml_file_uses_the_names_of_config_json(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[train]\nsteps = 7\n[optimizer]\nlr = 1e-4\nbetas = [0.8, 0.99]\n[data]\npath = ["x.txt"]\n')
    config = from_toml(file)
    assert (config.train.steps, config.optimizer.lr, config.optimizer.betas) == (7, 1e-4, (0.8, 0.99))
    assert config.data.path == ("x.txt",) and config.model == Config().model


@pytest.mark.parametrize("text", ["[train]\nsteps = ", "[train]\nsteps = inf", "[train]\nstepz = 3", "train = 3"])
def test_a_wrong_toml_file_is_named(tmp_path, text):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"run\.toml: "):
        from_toml(file)


@pytest.mark.parametrize("key", ["momentum = 0.9", "matrix_lr_ratio = 0.5"])
def test_muons_keys_in_a_toml_file_are_refused_where_nothing_looks_at_them(tmp_path, key):
    file = tmp_path / "run.toml"
    file.write_text(f"[optimizer]\n{key}\n")
    message = (
        rf"run\.toml: optimizer\.{key.split()[0]} is Muon's, and optimizer\.name is 'adamw'; leave it out, or write"
    )
    with pytest.raises(ValueError, match=message):
        from_toml(file)
    with pytest.raises(ValueError, match=message):
        from_toml(file, later=["train.steps=9", "optimizer.name=adamw"])
    assert from_toml(file, preset("shakespeare-char")).optimizer.name == "muon"
    muon = ["optimizer.name=muon"]
    assert assign(from_toml(file, later=muon), *muon).optimizer != Config().optimizer
    file.write_text(f'[optimizer]\nname = "muon"\n{key}\n')
    assert assign(from_toml(file, later=["optimizer.name=adamw"]), "optimizer.name=adamw").optimizer.name == "adamw"


# --- presets


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_a_whole_configuration_whose_schedule_fits_its_run(name):
    config = preset(name)
    schedule = lehr.parse(config.schedule.lr, total=config.train.steps)
    assert schedule.total == config.train.steps and config != Config()
    assert config.train.steps % config.train.checkpoint_every == 0 == config.train.steps % config.train.eval_every


def test_a_preset_goes_over_the_defaults_and_under_what_is_given(tmp_path):
    toml = tmp_path / "run.toml"
    toml.write_text("[train]\nsteps = 7\n")
    config = assign(from_toml(toml, preset("debug")), "model.d_model=64")
    assert (config.train.steps, config.model.d_model, config.train.batch_size) == (7, 64, 8)
    assert config.optimizer == Config().optimizer


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown preset 'shakespear-char'; did you mean 'shakespeare-char'"):
        preset("shakespear-char")
    with pytest.raises(ValueError, match="known are debug, gpt2-124m, shakespeare-char, tinystories"):
        preset("x")


@pytest.mark.parametrize("text", ["[]", "null", '{"model": {}}', '{"given": 3}'])
def test_a_config_json_that_is_no_runs_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="not one of lehr train"):
        config_of(read(tmp_path))
