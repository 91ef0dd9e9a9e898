"""What is said where the memory is full. A whole run that comes to it is in test_faults.py."""

import re

import pytest
import torch

from lehr.train import RunFailed
from lehr.train.config import Config, assign
from lehr.train.out_of_memory import told
from lehr.train.parallel import _check


def said(processes, *settings):
    with pytest.raises(RunFailed) as failed, told(assign(Config(), *settings), processes):
        raise torch.OutOfMemoryError("CUDA out of memory, and many lines")
    message = str(failed.value)
    assert message.startswith("the GPU's memory is full; less is needed with ") and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "fewer"),
    [
        (16, 0, 1, 8),
        (16, 16, 1, 8),
        (9, 0, 1, 3),
        (7, 0, 1, 1),
        (12, 4, 1, 2),
        (8, 0, 2, 2),
        (8, 8, 2, 2),
        (6, 3, 2, 1),
    ],
)
def test_the_micro_batch_that_is_advised_is_smaller_than_now_and_taken(monkeypatch, batch, micro, processes, fewer):
    now = [f"train.batch_size={batch}", f"train.micro_batch_size={micro}"]
    message = said(processes, *now)
    [advised] = re.findall(r"--set (train\.micro_batch_size=\d+)", message)
    assert advised == f"train.micro_batch_size={fewer}" and fewer < min(micro or batch, batch // processes)
    config = assign(Config(), *now, advised)  # raises where the batch does not divide by it
    monkeypatch.setenv("RANK", "0")
    _check(config.train, "ddp", processes, "cpu")


def test_what_is_set_already_or_cannot_change_is_not_advised():
    least = said(2, "train.batch_size=2", "model.checkpoint_activations=true")
    assert "--set" not in least and "with a smaller model; a run" in least
    assert "(in a new run: it changes what dropout draws)" in said(1, "model.dropout=0.1")


def test_other_faults_of_torchs_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), told(Config()):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
