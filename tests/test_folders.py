"""A run's checkpoint folders: whole or not there, verified before use, never code; which of them are kept."""

import json
import os
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, load_file
from test_checkpoint import Malicious, make, trained_alike

from lehr.train.checkpoint import load_checkpoint
from lehr.train.durable import as_safetensors, holds, replace_text, write_file
from lehr.train.folders import Damaged, all_folders, newest, read, set_aside, verify, write
from lehr.train.retention import kept, most_at_once, prune, sweep
from lehr.train.snapshot import random_states, restore_random, take


def put(checkpoints, step, model, optimizer, facts=None):
    checkpoints.mkdir(exist_ok=True)
    return write(checkpoints, take(model, optimizer, step, facts or {}))


def test_a_folder_comes_back_as_it_was(tmp_path):
    model, optimizer = make()
    folder = put(tmp_path, 500, model, optimizer, {"schedule": "linear 10 to 1"})
    assert folder.name == "step-00000500"
    assert sorted(os.listdir(folder)) == [
        *("manifest.json", "model.safetensors", "optimizer.safetensors", "random-00000.json", "state.json")
    ]
    assert read(folder)["schedule"] == "linear 10 to 1"
    other, other_optimizer = make(seed=1, steps=1)
    assert load_checkpoint(folder, other, other_optimizer) == 500
    assert trained_alike((model, optimizer), (other, other_optimizer))


def test_the_names_of_the_first_checkpoint_are_flushed_up_to_the_runs_folder(tmp_path, monkeypatch):
    flushed, real = [], os.fsync

    def fsync(handle):
        flushed.append(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)  # nothing but a power cut would show it otherwise
    folder = put(tmp_path / "checkpoints", 1, *make())
    assert flushed[-3:] == [path.stat().st_ino for path in (folder, folder.parent, tmp_path)]


def test_a_snapshot_does_not_change_with_the_run(tmp_path):
    model, optimizer = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    snapshot = take(model, optimizer, 3, {})
    moments = {name: value.clone() for name, value in snapshot.optimizer.items()}
    model(torch.randn(16, 4)).square().mean().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 7.0
    assert all(torch.equal(before[name], snapshot.model[name]) for name in before)
    assert all(torch.equal(moments[name], snapshot.optimizer[name]) for name in moments)
    assert snapshot.state["optimizer"]["param_groups"][0]["lr"] == 1e-2


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=6),
    dtypes=st.lists(
        st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8, torch.float64]),
        min_size=6, max_size=6,
    ),
)  # fmt: skip
def test_what_is_written_is_what_the_reference_reader_of_safetensors_reads(shapes, dtypes):
    tensors = {
        f"t{index}": torch.randint(0, 2, shape).to(dtype)
        for index, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=False))
    }
    data = b"".join(map(bytes, as_safetensors(tensors)))
    back = load(data)
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor)


def test_large_and_small_parts_are_written_whole(tmp_path):
    tensors = {"large": torch.randn(5_000_000), "small": torch.randn(3), "middle": torch.randn(30_000)}
    fact = write_file(tmp_path / "file", as_safetensors(tensors))
    assert fact["size"] == (tmp_path / "file").stat().st_size
    back = load_file(tmp_path / "file")
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert holds(tmp_path / "file", as_safetensors(tensors))
    raw = (tmp_path / "file").read_bytes()
    for other in (raw[:-1], raw + b" ", raw[:9_000_000] + bytes([raw[9_000_000] ^ 1]) + raw[9_000_001:]):
        (tmp_path / "other").write_bytes(other)
        assert not holds(tmp_path / "other", as_safetensors(tensors))
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "file", [b"never over another"])


@pytest.mark.parametrize(
    "name", ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json", "random-00000.json"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_folder_is_named_and_the_one_before_is_found(tmp_path, name, damage):
    model, optimizer = make()
    put(tmp_path, 1, model, optimizer)
    bad = put(tmp_path, 2, model, optimizer)
    raw = (bad / name).read_bytes()
    middle = len(raw) // 2
    if damage == "remove":
        (bad / name).unlink()
    else:
        (bad / name).write_bytes(
            raw[:middle] + (b"" if damage == "cut" else bytes([raw[middle] ^ 1]) + raw[middle + 1 :])
        )
    with pytest.raises(Damaged, match=r"step-00000002 is (damaged|not whole)"):
        verify(bad)
    found = list(newest(tmp_path))
    assert isinstance(found[0][1], Damaged) and found[1][1]["step"] == 1
    with pytest.raises(ValueError, match="step-00000002"):
        load_checkpoint(bad, model)
    assert set_aside(bad).name == "step-00000002.damaged"
    assert set_aside(put(tmp_path, 2, model, optimizer)).name == "step-00000002.damaged-2"
    assert [step for step, _ in all_folders(tmp_path)] == [1]


def test_code_in_a_folder_is_refused_and_does_not_run(tmp_path):
    model, optimizer = make()
    trace = str(tmp_path / "executed")
    for number, name in enumerate(("model.safetensors", "optimizer.safetensors", "state.json", "random-00000.json")):
        folder = put(tmp_path, number, model, optimizer)
        evil = pickle.dumps(Malicious(trace))
        (folder / name).write_bytes(evil)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / name).unlink()
        manifest["files"][name] = write_file(folder / name, [evil])  # whoever forges a file forges its sum as well
        (folder / "manifest.json").write_text(json.dumps(manifest))
        verify(folder)
        with pytest.raises(ValueError, match=f"step-0000000{number} cannot be read"):
            load_checkpoint(folder, model, optimizer)
    assert not os.path.exists(trace)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(tmp_path):
    model, optimizer = make()
    folder = put(tmp_path / "checkpoints", 1, model, optimizer)
    fact = write_file(tmp_path / "checkpoints" / "elsewhere", [b"text"])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../elsewhere"] = fact
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match="elsewhere"):
        verify(folder)


def test_every_generator_goes_on_where_it_was():
    def draw():
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()

    draw()
    states = json.loads(json.dumps(random_states()))
    assert {"python", "numpy", "torch"} <= set(states)
    then = draw()
    assert draw() != then
    restore_random(states)
    assert draw() == then


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    model, optimizer = make()
    put(tmp_path, 1, model, optimizer)
    with pytest.raises(TypeError):
        put(tmp_path, 2, model, optimizer, {"unwritable": object()})
    assert os.listdir(tmp_path) == ["step-00000001"]


def test_what_stands_in_the_place_of_a_new_checkpoint_is_set_aside(tmp_path):
    model, optimizer = make()
    folder = put(tmp_path, 1, model, optimizer)
    (folder / "model.safetensors").write_bytes(b"")
    verify(put(tmp_path, 1, model, optimizer))
    assert sorted(os.listdir(tmp_path)) == ["step-00000001", "step-00000001.damaged"]


def test_text_is_replaced_whole(tmp_path):
    replace_text(tmp_path / "text", "one")
    replace_text(tmp_path / "text", "two")
    assert (tmp_path / "text").read_text() == "two" and os.listdir(tmp_path) == ["text"]


# ---------------------------------------------------------------------------------------------------------------------
# which are kept


def test_the_newest_and_the_best_are_kept_and_half_written_ones_swept(tmp_path):
    model, optimizer = make()
    checkpoints = tmp_path / "checkpoints"
    for step in (1, 2, 3, 10):
        put(checkpoints, step, model, optimizer)
    for left in (".step-00000011.1.tmp", ".step-00000001.1.old", "notes"):
        (checkpoints / left).mkdir()
    (tmp_path / ".config.json.1.tmp").write_text("{")
    assert sorted(sweep(tmp_path)) == [".step-00000001.1.old", ".step-00000011.1.tmp"]
    assert os.listdir(tmp_path) == ["checkpoints"]
    assert prune(checkpoints, keep=2, step=10, losses={1: 1.5, 2: 1.25, 10: 1.375}) == [1]
    assert sorted(os.listdir(checkpoints)) == ["notes", "step-00000002", "step-00000003", "step-00000010"]
    assert prune(checkpoints, keep=2, step=10) == [2]


def test_what_was_just_written_is_never_pruned_for_a_later_one(tmp_path):
    model, optimizer = make()
    for step in (1, 2, 3, 3000):
        put(tmp_path, step, model, optimizer)
    prune(tmp_path, keep=1, step=3)
    assert [step for step, _ in all_folders(tmp_path)] == [2, 3, 3000], "and never fewer than two are left"


@given(
    steps=st.sets(st.integers(0, 10**6), max_size=12),
    keep=st.integers(0, 5),
    losses=st.dictionaries(st.integers(0, 10**6), st.floats(0, 10), max_size=12),
)
def test_two_the_newest_and_the_best_are_always_kept(steps, keep, losses):
    left = kept(list(steps), keep, losses)
    assert left <= steps and len(left) >= min(2, len(steps)) and len(left) <= max(keep, 2) + 1
    assert set(sorted(steps)[-max(keep, 2) :]) <= left
    judged = [losses[step] for step in steps if step in losses]
    if judged and keep:
        assert min(judged) in [losses.get(step) for step in left]


def test_the_room_that_a_run_needs():
    assert most_at_once(keep=3, steps=1000, every=0) == 0
    assert most_at_once(keep=3, steps=1000, every=500) == 2
    assert most_at_once(keep=3, steps=1000, every=10) == 5 and most_at_once(keep=1, steps=1000, every=10) == 4
