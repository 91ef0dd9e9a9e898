"""Muon: against torch's own on the matrices, against AdamW on the rest, under `skip`, and in a run."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import same_end, timeless, train

import lehr
from lehr.integrations.torch import Scheduler
from lehr.muon import Muon, muon_groups, orthogonalized
from lehr.nn import TransformerLM
from lehr.optimizer import AdamW
from lehr.train.config import Config, assign
from lehr.train.setup import make_optimizer

SIZES = {"vocab_size": 20, "context_length": 8, "d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 40}


def model_of(seed=0):
    torch.manual_seed(seed)
    return TransformerLM(**SIZES)


def backward(model, seed):
    ids = torch.randint(20, (4, 9), generator=torch.Generator().manual_seed(seed))
    model.loss(ids[:, :-1], ids[:, 1:]).backward()


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_singular_values_come_near_one_whatever_the_size_of_the_matrix(rows, columns, seed, scale):
    x = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(seed))
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    x = scale * u * torch.linspace(0.1, 1, min(rows, columns)) @ v  # none so small that 5 steps do not reach it
    values = torch.linalg.svdvals(orthogonalized(x))
    assert values.min() > 0.5 and values.max() < 1.3
    assert torch.equal(orthogonalized(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_its_matrices_go_as_torchs_own_muon_takes_them_and_the_rest_as_adamw():
    ours, theirs = model_of(), model_of()
    groups = muon_groups(ours, ours.layers, weight_decay=0.1)
    mine = Muon(groups, lr=0.02, betas=(0.9, 0.95), weight_decay=0.1)
    others = muon_groups(theirs, theirs.layers, weight_decay=0.1)
    matrices = torch.optim.Muon(others[0]["params"], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    rest = AdamW(others[1:], lr=0.02, betas=(0.9, 0.95))
    for step in range(5):
        for model, optimizers in ((ours, [mine]), (theirs, [matrices, rest])):
            backward(model, step)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    moved = [(a - b).abs().max() for a, b in zip(ours.parameters(), model_of().parameters(), strict=True)]
    for (name, a), b, by in zip(ours.named_parameters(), theirs.parameters(), moved, strict=True):
        # both multiply in bfloat16, in another order
        assert by > 0.01 and (a - b).abs().max() < 0.05 * by, name


def test_groups_hold_every_trained_parameter_once_and_embeddings_and_head_are_no_matrices():
    model = model_of()
    model.layers[0].ln1.weight.requires_grad_(False)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = muon_groups(model, model.layers, weight_decay=0.1)
    found = {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}
    assert len(found["matrices"]) == 2 * 7 and all(name.startswith("layers.") for name in found["matrices"])
    assert found["decay"] == ["token_embeddings.weight", "lm_head.weight"]
    assert len(found["no_decay"]) == 4 and [group["weight_decay"] for group in groups] == [0.1, 0.1, 0.0]


def test_what_is_no_matrix_is_refused_and_so_is_a_momentum_of_one():
    with pytest.raises(ValueError, match=r"Muon is for matrices; a parameter \[3\] belongs to another group"):
        Muon([{"params": torch.zeros(3, requires_grad=True), "matrix": True}])
    with pytest.raises(ValueError, match="momentum must be in"):
        Muon([torch.zeros(2, 2, requires_grad=True)], momentum=1.0)


def test_without_a_matrix_group_it_would_be_adamw_alone_and_is_refused():
    with pytest.raises(ValueError, match=r"would be AdamW alone; write .*muon_groups"):
        Muon(model_of().parameters())


@pytest.mark.parametrize("matrices_of", ["the state", "the optimizer"])
def test_a_state_with_other_matrix_groups_is_refused_by_both_optimizers(matrices_of):
    """torch takes over the groups' keys, so Muon would have gone on as AdamW, without a word."""

    def trained(kind, matrices):
        model = model_of()
        groups = muon_groups(model, model.layers, 0.1)
        optimizer = kind([group | {"matrix": matrices and group.get("matrix", False)} for group in groups])
        backward(model, 0)
        optimizer.step()
        return optimizer

    muon, adamw = trained(Muon, matrices=True), trained(torch.optim.AdamW, matrices=False)
    if matrices_of == "the optimizer":
        with pytest.raises(ValueError, match="parameter group 'matrices' is of matrices here alone"):
            muon.load_state_dict(adamw.state_dict())
        assert muon.param_groups[0]["matrix"] is True
    else:
        model = model_of()
        with pytest.raises(
            ValueError, match="not an AdamW's: it has step, momentum of a parameter of group 'matrices'"
        ):
            AdamW(muon_groups(model, model.layers, 0.1)).load_state_dict(muon.state_dict())


def test_a_schedule_of_the_momentum_is_that_of_the_matrices():
    def trained(momentum, schedule):
        model = model_of()
        optimizer = Muon(muon_groups(model, model.layers, 0.1), momentum=momentum)
        scheduler = Scheduler(optimizer, lehr.constant(10), momentum=schedule)
        for seed in range(3):
            backward(model, seed)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        return optimizer, model

    scheduled, model = trained(0.9, {"matrices": lehr.parse("hold 10 from 0.5"), "*": lehr.constant(10)})
    _, other = trained(0.45, None)
    assert scheduled.param_groups[0]["momentum"] == 0.45 and scheduled.param_groups[1]["betas"] == (0.9, 0.95)
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert not all(map(torch.equal, model.parameters(), trained(0.9, None)[1].parameters()))


def test_clipping_is_folded_in():
    plain, folded = model_of(), model_of()
    optimizers = [Muon(muon_groups(m, m.layers, 0.1), max_grad_norm=c) for m, c in ((plain, None), (folded, 1e-3))]
    for model in (plain, folded):
        backward(model, 0)
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1e-3)
    for optimizer in optimizers:
        optimizer.step()
    assert torch.allclose(optimizers[1].last_grad_norm, norm)
    for a, b in zip(plain.parameters(), folded.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("on_device", [False, True])
def test_a_skipped_update_leaves_everything_and_one_that_is_not_skipped_changes_nothing(on_device):
    def updated(skip, bad=1.0):
        model = model_of()
        optimizer = Muon(muon_groups(model, model.layers, 0.1))
        backward(model, 0)
        optimizer.step()
        optimizer.zero_grad()
        backward(model, 1)
        group = optimizer.param_groups[0]
        for p in model.parameters():
            p.grad.mul_(bad)
        if on_device and skip is not None:  # as on an accelerator, where nobody looks at `skip`
            with torch.no_grad():
                states = [optimizer.state_of(p, group) for p in group["params"]]
                optimizer._update(group["params"], [p.grad for p in group["params"]], states, group, None, skip)
        elif skip is not None:
            optimizer.step(skip=skip)
        return [t.clone() for p in group["params"] for t in (p, optimizer.state[p]["momentum"])]

    before, skipped = updated(None), updated(torch.tensor(True), bad=float("nan"))
    assert all(map(torch.equal, before, skipped))
    done, plain = updated(torch.tensor(False)), updated(torch.tensor(False))
    assert all(map(torch.equal, done, plain)) and not any(map(torch.equal, done, before))


def test_state_is_saved_loaded_copied_and_a_foreign_shape_refused():
    model = model_of()
    optimizer = Muon(muon_groups(model, model.layers, 0.1), momentum=0.8)
    backward(model, 0)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    loaded = Muon(muon_groups(model, model.layers, 0.1))
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for p in model.parameters():
        assert optimizer.state[p].keys() == loaded.state[p].keys()
        assert all(torch.equal(a, loaded.state[p][key]) for key, a in optimizer.state[p].items())
    assert copy.deepcopy(optimizer).momentum == 0.8
    state = optimizer.state_dict()
    state["state"][0]["momentum"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"momentum \[2\] does not fit a parameter \[16, 16\]"):
        loaded.load_state_dict(state)


def test_a_run_with_muon_resumes_bit_for_bit_with_a_peak_of_its_own_for_matrices(forks, text, tmp_path):
    chosen = {"optimizer__name": "muon", "optimizer__matrix_lr_ratio": "0.5"}
    whole = forks.run(*train(text, tmp_path / "whole", **chosen))
    assert whole.status == 0, whole.err
    cut = forks.run(*train(text, tmp_path / "cut", **chosen), kill_at=40, plain=True)
    assert cut.status != 0
    resumed = forks.run(*train(text, tmp_path / "cut", "--resume-or-start", **chosen))
    assert resumed.status == 0, resumed.err
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")
    assert same_end(tmp_path / "cut", tmp_path / "whole", 12)
    refused = forks.run(*train(text, tmp_path / "cut", "--resume", optimizer__name="adamw"))
    assert refused.status == 2 and "optimizer.name was 'muon'" in refused.err


def test_the_config_makes_it():
    config = assign(Config(), "optimizer.name=muon", "optimizer.matrix_lr_ratio=2", "train.precision=float32")
    optimizer = make_optimizer(config, model_of())
    assert isinstance(optimizer, Muon) and optimizer.dtype == torch.float32
    assert [group.get("lr_ratio") for group in optimizer.param_groups] == [2.0, None, None]
    for key in ("momentum=0.8", "matrix_lr_ratio=0.5"):
        with pytest.raises(ValueError, match=r"is Muon's, and optimizer\.name is 'adamw'; leave it out"):
            assign(Config(), f"optimizer.{key}")
    with pytest.raises(ValueError, match=r"optimizer\.name is one of adamw, muon, not 'lion'"):
        assign(Config(), "optimizer.name=lion")
