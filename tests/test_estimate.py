"""What a step takes, against what autograd really keeps."""

from dataclasses import replace

import pytest
import torch

from lehr.nn import TransformerLM
from lehr.train.config import Config, Model, Optimizer, Train, assign, to_dict
from lehr.train.estimate import memory
from lehr.train.folders import write
from lehr.train.setup import build, make_optimizer
from lehr.train.snapshot import take

SHAPES = {  # d_model, num_heads, d_ff, context_length
    "narrow": (64, 4, 192, 64),
    "wide": (256, 4, 1024, 128),
    "with a context beyond 512, whose scores are not kept": (64, 2, 192, 768),
}


def kept_and_estimated(shape, precision, dropout, checkpointed=False):
    d_model, num_heads, d_ff, context = SHAPES[shape]
    model = Model(64, context, d_model, 4, num_heads, d_ff, dropout=dropout, checkpoint_activations=checkpointed)
    config = replace(Config(), model=model, train=Train(micro_batch_size=2, precision=precision, device="cpu"))
    lm = TransformerLM(**to_dict(config)["model"])
    weights = {p.untyped_storage().data_ptr() for p in lm.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros(2, context, dtype=torch.int64)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        loss = lm.loss(ids, ids)
    estimate = memory(config, sum(p.numel() for p in lm.parameters()))
    assert loss.requires_grad
    return sum(kept.values()), estimate.activations


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_activations_are_what_autograd_keeps(shape, precision, dropout):
    kept, estimated = kept_and_estimated(shape, precision, dropout)
    assert kept == pytest.approx(estimated, rel=0.1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_checkpointed_activations_are_what_goes_into_the_layers_and_one_layer(precision):
    plain, all_layers = kept_and_estimated("wide", precision, 0.0)
    kept, estimated = kept_and_estimated("wide", precision, 0.0, checkpointed=True)
    # what the head and the last norm keep is not a layer's: up to a seventh here, nothing in a model of many layers
    assert kept + plain / 4 == pytest.approx(estimated, rel=0.15) and estimated < all_layers / 2


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_state_and_the_copy_that_a_checkpoint_is_written_from_are_what_is_there(name):
    sizes = {"vocab_size": 8, "context_length": 8, "d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32}
    config = replace(Config(), model=Model(**sizes), optimizer=Optimizer(name=name))
    lm = TransformerLM(**sizes)
    optimizer = make_optimizer(config, lm)
    lm.loss(torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 8, dtype=torch.int64)).backward()
    optimizer.step()
    estimate = memory(config, sum(p.numel() for p in lm.parameters()))
    counts = sum(state["step"].nbytes for state in optimizer.state.values())  # which are not estimated
    snapshot = take(lm, optimizer, 1, {})
    held = sum(t.nbytes for t in (*snapshot.model.values(), *snapshot.optimizer.values()))
    assert held - counts == estimate.snapshot
    moments = sum(t.nbytes for state in optimizer.state.values() for t in state.values())
    weights = sum(p.nbytes + p.grad.nbytes for p in lm.parameters())
    assert weights + moments - counts == estimate.state


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_what_a_checkpoint_takes_on_the_disk_is_about_what_is_said(text, tmp_path, name):
    shape = ("model.d_model=64", "model.num_heads=2", "model.num_layers=4", "model.d_ff=192", "model.context_length=16")
    parts = build(assign(Config(), *shape, f"data.path={text}", f"optimizer.name={name}", "train.device=cpu"))
    parts.model.loss(*parts.batch(0)).backward()
    parts.optimizer.step()
    folder = write(tmp_path, take(parts.model, parts.optimizer, 1, {}))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size == pytest.approx(parts.checkpoint_bytes, rel=0.03)
