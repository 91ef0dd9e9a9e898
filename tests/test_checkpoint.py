"""Checkpoints of one file: whole or not there, verified before use, and never code."""

import io
import os
import pickle
import random
import shutil

import pytest
import torch
from torch import nn

from lehr.train.checkpoint import load_checkpoint, save_checkpoint


def make(seed=0, steps=3):
    """A small model of anybody's with an optimizer that has some state."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def trained_alike(one, two):
    """Whether both go on to the same weights: optimizer state included."""
    for model, optimizer in (one, two):
        torch.manual_seed(9)
        model(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()
    return same(one[0], two[0])


@pytest.mark.parametrize("kind", ["path", "string", "memory", "file"])
def test_a_checkpoint_comes_back_as_it_was(tmp_path, kind):
    path = tmp_path / "model.ckpt"
    model, optimizer = make()
    out = {"path": path, "string": str(path), "memory": io.BytesIO(), "file": path}[kind]
    if kind == "file":
        with open(path, "wb") as file:
            save_checkpoint(model, optimizer, 17, file)
        out = open(path, "rb")  # noqa: SIM115 - an open file is what is tested; closed below
    else:
        save_checkpoint(model, optimizer, 17, out)
    if kind == "memory":
        out.seek(0)
    other, other_optimizer = make(seed=1, steps=1)
    assert load_checkpoint(out, other, other_optimizer) == 17
    if kind == "file":
        out.close()
    assert trained_alike((model, optimizer), (other, other_optimizer))
    assert os.listdir(tmp_path) in ([], ["model.ckpt"])  # nothing left beside


def test_the_optimizer_may_be_left_out(tmp_path):
    model, optimizer = make()
    save_checkpoint(model, optimizer, 3, tmp_path / "with")
    save_checkpoint(model, None, 4, tmp_path / "without")
    other, other_optimizer = make(seed=1)
    assert load_checkpoint(tmp_path / "with", other, None) == 3 and same(model, other)
    assert load_checkpoint(tmp_path / "without", other) == 4
    with pytest.raises(ValueError, match="saved without an optimizer; write optimizer=None"):
        load_checkpoint(tmp_path / "without", other, other_optimizer)


def test_a_flipped_or_missing_byte_is_noticed_and_changes_nothing(tmp_path):
    model, optimizer = make()
    save_checkpoint(model, optimizer, 5, tmp_path / "good")
    raw = (tmp_path / "good").read_bytes()
    weights = raw.find(next(iter(model.state_dict().values())).numpy().tobytes())
    assert weights > 0
    rng = random.Random(0)
    # bytes of the weights themselves, and the file cut short anywhere
    damaged = [raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :] for at in range(weights, weights + 128, 16)]
    damaged += [raw[: rng.randrange(len(raw))] for _ in range(20)]
    other, other_optimizer = make(seed=1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    for data in damaged:
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(ValueError, match=r"bad is (no checkpoint of lehr's|damaged)"):
            load_checkpoint(tmp_path / "bad", other, other_optimizer)
        assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def test_foreign_files_are_refused_and_none_of_their_code_runs(tmp_path):
    trace = str(tmp_path / "executed")
    torch.save({"lehr": "checkpoint", "model": Malicious(trace)}, tmp_path / "evil.pt")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Malicious(trace)))
    torch.save({"weights": torch.ones(3)}, tmp_path / "foreign.pt")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path, "text")
    model, _ = make()
    for name in ("evil.pt", "evil.pickle", "foreign.pt", "text", "empty", "archive.zip"):
        with pytest.raises(ValueError, match="no checkpoint of lehr's"):
            load_checkpoint(tmp_path / name, model)
    assert not os.path.exists(trace)
    torch.save({"lehr": "checkpoint", "model": 3}, tmp_path / "nearly")
    with pytest.raises(ValueError, match="no checkpoint of lehr's"):
        load_checkpoint(tmp_path / "nearly", model)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none", model)


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    model, optimizer = make()
    save_checkpoint(model, optimizer, 5, tmp_path / "good")
    wider = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    with pytest.raises(ValueError, match=r"3\.weight is \[2, 8\] in the checkpoint and \[3, 8\] in the model"):
        load_checkpoint(tmp_path / "good", wider)
    other, _ = make(seed=1)
    halves = torch.optim.AdamW([{"params": [p]} for p in other.parameters()])
    unchanged = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit the optimizer"):
        load_checkpoint(tmp_path / "good", other, halves)
    for now, then in ((wider.state_dict(), before), (other.state_dict(), unchanged)):
        assert all(torch.equal(now[name], then[name]) for name in then)


def test_another_models_checkpoint_is_refused_in_one_line(tmp_path):
    save_checkpoint(nn.Linear(3, 3), None, 1, tmp_path / "linear")
    with pytest.raises(ValueError, match=r"does not fit the model: 0\.weight is missing") as error:
        load_checkpoint(tmp_path / "linear", make()[0])
    assert "\n" not in str(error.value)
