"""AdamW against torch's own, which it must follow through states, groups and clipping; and the split into groups."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lehr import functional, optimizer
from lehr.nn import TransformerLM, gradient_clipping
from lehr.optimizer import AdamW, param_groups

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these tensors are too small to share
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def make_parameters(dtype=torch.float32, strided=False):
    """The same ones each time; `strided`, with gaps between their numbers in memory."""
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]
    return [torch.nn.Parameter(torch.stack([x, x], -1)[..., 0] if strided else x) for x in values]


def give_gradients(*sets, scale=1.0):
    """The same random gradients to each set of parameters."""
    for same in zip(*sets, strict=True):
        grad = torch.randn(same[0].shape, dtype=torch.float64) * scale
        for parameter in same:
            parameter.grad = grad.to(parameter.dtype, copy=True)


def two_groups(parameters):
    return [
        {"params": parameters[:1], "weight_decay": 0.3, "name": "matrices"},
        {"params": parameters[1:], "lr": 3e-3, "betas": (0.8, 0.95), "eps": 1e-6},
    ]


def assert_same(ours, theirs, atol):
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.detach(), expected.detach(), rtol=0, atol=atol)


# Both ways of the update: on a CPU, parameters in memory order take the fused kernel and others the readable form.
both_ways = pytest.mark.parametrize("strided", [False, True], ids=["fused", "readable"])


def test_public_names_are_sorted_and_the_cosine_schedule_is_handed_on():
    assert optimizer.__all__ == sorted(optimizer.__all__)
    assert optimizer.get_lr_cosine_schedule is functional.get_lr_cosine_schedule


@both_ways
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_a_thousand_steps_are_those_of_torchs_adamw(strided, dtype, atol):
    ours, theirs = make_parameters(dtype, strided), make_parameters(dtype)
    start = [p.detach().clone() for p in ours]
    mine, torchs = AdamW(two_groups(ours), lr=1e-3), torch.optim.AdamW(two_groups(theirs), lr=1e-3)
    for step in range(1000):
        give_gradients(ours, theirs, scale=10 ** math.cos(step))
        for either in (mine, torchs):  # a schedule at work
            either.param_groups[0]["lr"] = 1e-3 * (1 - step / 1000)
            either.step()
        if step % 100 == 99:
            assert_same(ours, theirs, atol)
    assert all((p - before).abs().max() > 0.01 for p, before in zip(ours, start, strict=True))


@both_ways
def test_bfloat16_parameters_are_updated_like_torchs(strided):
    ours, theirs = make_parameters(torch.bfloat16, strided), make_parameters(torch.bfloat16)
    mine, torchs = AdamW(ours, lr=0.05), torch.optim.AdamW(theirs, lr=0.05, fused=not strided)
    for _ in range(20):
        give_gradients(ours, theirs)
        mine.step()
        torchs.step()
    assert_same(ours, theirs, 2**-6 if strided else 0)


@both_ways
def test_parameters_without_gradients_stay_and_their_step_does_not_count(strided):
    ours, theirs = make_parameters(strided=strided), make_parameters()
    mine, torchs = AdamW(ours, lr=0.1), torch.optim.AdamW(theirs, lr=0.1)
    for step in range(6):
        give_gradients(ours, theirs)
        if step % 2:
            ours[0].grad = theirs[0].grad = None
        before = ours[0].detach().clone()
        mine.step()
        torchs.step()
        assert torch.equal(before, ours[0]) == bool(step % 2)
    assert_same(ours, theirs, 1e-6)
    assert [mine.state[p]["step"].item() for p in ours] == [3, 6, 6, 6]
    mine.zero_grad()
    mine.step()  # nothing to do is fine
    assert [mine.state[p]["step"].item() for p in ours] == [3, 6, 6, 6]


def test_parameters_and_gradients_out_of_memory_order_are_updated_too():
    """torch's fused kernel, on a CPU, reads them as if they were in order."""
    for view in (lambda x: x.t(), lambda x: x[:, :2], lambda x: x[:, ::2]):
        ours, theirs = (torch.nn.Parameter(view(torch.arange(24.0).view(6, 4))) for _ in range(2))
        mine, torchs = AdamW([ours], lr=0.1), torch.optim.AdamW([theirs], lr=0.1, foreach=False)
        for _ in range(3):
            give_gradients([ours], [theirs])
            mine.step()
            torchs.step()
        assert_same([ours], [theirs], 1e-6)


@both_ways
@pytest.mark.parametrize("initial", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_the_lr_may_be_a_number_or_a_tensor_and_change(strided, initial):
    ours, theirs = make_parameters(strided=strided), make_parameters()
    mine, torchs = AdamW(ours, lr=copy.copy(initial)), torch.optim.AdamW(theirs, lr=0.1)
    for lr in (0.1, 0.05, 0.0):
        give_gradients(ours, theirs)
        if isinstance(initial, torch.Tensor):
            mine.param_groups[0]["lr"] = torch.tensor(lr)
        else:
            mine.param_groups[0]["lr"] = lr
        torchs.param_groups[0]["lr"] = lr
        mine.step()
        torchs.step()
        assert_same(ours, theirs, 1e-6)


def test_a_closure_runs_once_with_gradients_on_and_its_loss_comes_back():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    adamw, calls = AdamW([parameter], lr=0.1, weight_decay=0.0), []

    def closure():
        calls.append(torch.is_grad_enabled())
        adamw.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert adamw.step(closure).item() == 1.0 and calls == [True]
    assert parameter.item() == pytest.approx(0.9)
    assert adamw.step() is None


# --- clipping inside the update ---


@both_ways
@pytest.mark.parametrize("max_grad_norm", [0.01, 5.0, 1e9], ids=["always", "sometimes", "never"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_max_grad_norm_is_a_clip_of_all_groups_and_then_a_step(strided, max_grad_norm, dtype):
    ours, theirs = make_parameters(dtype, strided), make_parameters(dtype)
    mine = AdamW(two_groups(ours), lr=1e-2, max_grad_norm=max_grad_norm)
    plain = AdamW(two_groups(theirs), lr=1e-2)
    assert mine.last_grad_norm is None
    norms = []
    for step in range(50):
        give_gradients(ours, theirs, scale=10 ** math.cos(step))
        norm = gradient_clipping(theirs, max_grad_norm)
        plain.step()
        mine.step()
        norms.append(norm.item())
        assert mine.last_grad_norm.shape == ()
        torch.testing.assert_close(mine.last_grad_norm, norm, rtol=0, atol=0)
        assert_same(ours, theirs, 1e-6)
    clipped = sum(norm > max_grad_norm for norm in norms)
    assert {0.01: clipped == 50, 5.0: 5 < clipped < 45, 1e9: clipped == 0}[max_grad_norm]
    assert plain.last_grad_norm is None


def test_clipping_changes_what_adamw_does():
    """Adam forgets a scale that never changes, so the test above needs one that does: as it has."""
    ours, theirs = make_parameters(), make_parameters()
    mine, plain = AdamW(ours, lr=1e-2, max_grad_norm=1.0), AdamW(theirs, lr=1e-2)
    for step in range(10):
        give_gradients(ours, theirs, scale=10 ** math.cos(step))
        mine.step()
        plain.step()
    assert (ours[0] - theirs[0]).abs().max() > 1e-3


def test_clipping_without_any_gradient_reports_a_norm_of_zero():
    adamw = AdamW(make_parameters(), max_grad_norm=1.0)
    adamw.step()
    assert adamw.last_grad_norm.item() == 0.0


@both_ways
def test_a_nan_gradient_shows_in_the_norm_and_in_the_parameters(strided):
    parameters = make_parameters(strided=strided)
    adamw = AdamW(parameters, max_grad_norm=1.0)
    give_gradients(parameters)
    parameters[1].grad[0] = math.nan
    adamw.step()
    assert adamw.last_grad_norm.isnan() and all(p.isnan().all() for p in parameters)  # as clip, then step


# --- state ---


def trained(kind, steps=5, **options):
    parameters = make_parameters()
    optimizer = kind(two_groups(parameters), lr=1e-2, **options)
    torch.manual_seed(steps)
    for _ in range(steps):
        give_gradients(parameters)
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize(
    ("giver", "taker", "options"),
    [
        (torch.optim.AdamW, AdamW, {}),
        (torch.optim.AdamW, AdamW, {"fused": True}),
        (torch.optim.AdamW, AdamW, {"foreach": True}),
        (AdamW, torch.optim.AdamW, {}),
        (AdamW, AdamW, {"max_grad_norm": 1e9}),
    ],
)
def test_either_adamw_goes_on_from_the_others_state(giver, taker, options):
    parameters, first = trained(giver, **options)
    others = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    second = taker([{"params": others[:1]}, {"params": others[1:]}])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.param_groups[0]["name"] == "matrices" and second.param_groups[1]["betas"] == (0.8, 0.95)
    for _ in range(5):
        give_gradients(parameters, others)
        first.step()
        second.step()
    assert_same(parameters, others, 1e-6)


def test_state_is_named_and_typed_as_torchs():
    for kind in (AdamW, torch.optim.AdamW):
        parameters, optimizer = trained(kind)
        for parameter in parameters:
            state = optimizer.state[parameter]
            assert sorted(state) == ["exp_avg", "exp_avg_sq", "step"]
            assert state["step"].item() == 5 and state["step"].dtype == torch.float32
            assert state["step"].shape == () and state["step"].device.type == "cpu"
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape


def test_a_loaded_state_is_a_copy():
    """`b.load_state_dict(a.state_dict())` would, in torch, leave both to count and average in the same tensors."""
    parameters, first = trained(AdamW)
    second = AdamW(two_groups(make_parameters()))
    second.load_state_dict(first.state_dict())
    give_gradients(parameters)
    first.step()
    assert [state["step"].item() for state in second.state.values()] == [5] * 4


def test_a_copy_and_a_pickle_keep_the_maximum_norm():
    parameters, adamw = trained(AdamW, max_grad_norm=0.5)
    for twin in (copy.deepcopy(adamw), pickle.loads(pickle.dumps(adamw))):
        assert twin.max_grad_norm == 0.5 and twin.last_grad_norm == adamw.last_grad_norm
        others = [p for group in twin.param_groups for p in group["params"]]
        give_gradients(others)
        twin.step()
        assert not torch.equal(others[0], parameters[0])


@pytest.mark.parametrize("option", ["amsgrad", "maximize"])
def test_the_state_of_another_algorithm_is_refused(option):
    _, foreign = trained(torch.optim.AdamW, **{option: True})
    with pytest.raises(ValueError, match=f"{option}=True"):
        AdamW(two_groups(make_parameters())).load_state_dict(foreign.state_dict())


def test_a_state_that_does_not_fit_is_refused():
    parameters = make_parameters()
    adamw = AdamW(parameters)
    with pytest.raises(ValueError, match="lacks betas, eps"):
        adamw.load_state_dict(torch.optim.SGD(parameters, lr=0.1).state_dict())
    give_gradients(parameters)
    adamw.step()
    state = adamw.state_dict()
    state["state"][0]["exp_avg"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"exp_avg \[2\] does not fit a parameter \[3, 4\]"):
        AdamW(make_parameters()).load_state_dict(state)


@pytest.mark.parametrize("step", [5, torch.tensor(5), torch.tensor(5.0, dtype=torch.float64)])
def test_a_step_of_another_type_is_taken_over_as_ours(step):
    _, adamw = trained(AdamW)
    state = adamw.state_dict()
    state["state"][0]["step"] = step
    parameters = make_parameters()
    other = AdamW(two_groups(parameters))
    other.load_state_dict(state)
    give_gradients(parameters)
    other.step()
    assert {(s["step"].item(), s["step"].dtype) for s in other.state.values()} == {(6.0, torch.float32)}


def test_a_state_saved_in_another_memory_order_goes_on_right():
    transposed = torch.nn.Parameter(torch.arange(12.0).view(4, 3).t())
    in_order = torch.nn.Parameter(transposed.detach().contiguous())
    first, second = AdamW([transposed], lr=0.1), AdamW([in_order], lr=0.1)
    give_gradients([transposed])
    first.step()
    in_order.data.copy_(transposed.data)
    second.load_state_dict(first.state_dict())
    give_gradients([transposed], [in_order])
    first.step()
    second.step()
    assert_same([in_order], [transposed], 1e-6)


def test_torchs_schedulers_drive_it():
    adamw = AdamW(two_groups(make_parameters()), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: 0.5**step)
    adamw.step()
    scheduler.step()
    assert [group["lr"] for group in adamw.param_groups] == [0.05, 1.5e-3]


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "lr must be 0 or more, got -0.1"),
        ({"lr": math.nan}, "lr must be 0 or more, got nan"),
        ({"lr": torch.tensor([0.1, 0.2])}, "a tensor lr must be 0-d"),
        ({"betas": (1.0, 0.999)}, "betas must be two numbers"),
        ({"betas": (0.9, -0.1)}, "betas must be two numbers"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"eps": -1e-8}, "eps must be 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be positive"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be positive"),
        ({"max_grad_norm": math.nan}, "max_grad_norm must be positive"),
    ],
)
def test_impossible_hyperparameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AdamW(make_parameters(), **options)


def test_a_groups_own_hyperparameters_are_checked_and_the_error_names_it():
    parameters = make_parameters()
    with pytest.raises(ValueError, match="lr must be 0 or more, got -1 in parameter group 'head'"):
        AdamW([{"params": parameters[:1]}, {"params": parameters[1:], "lr": -1, "name": "head"}])
    adamw = AdamW(parameters[:1])
    with pytest.raises(ValueError, match="weight_decay"):
        adamw.add_param_group({"params": parameters[1:], "weight_decay": -1})
    assert len(adamw.param_groups) == 1


def test_sparse_and_complex_gradients_are_refused_before_anything_changes():
    embedding, other = torch.nn.Embedding(4, 2, sparse=True), torch.nn.Parameter(torch.ones(2))
    adamw = AdamW([other, embedding.weight])
    (embedding(torch.tensor([1])).sum() + other.sum()).backward()
    with pytest.raises(RuntimeError, match="dense"):
        adamw.step()
    assert other.tolist() == [1.0, 1.0] and not adamw.state
    number = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    number.grad = torch.ones_like(number)
    with pytest.raises(RuntimeError, match="real"):
        AdamW([number]).step()


# --- param_groups ---


def test_matrices_decay_and_the_rest_does_not():
    model = TransformerLM(50, 16, 32, num_layers=2, num_heads=4, d_ff=48)
    decay, no_decay = param_groups(model, 0.1)
    assert (decay["name"], decay["weight_decay"]) == ("decay", 0.1)
    assert (no_decay["name"], no_decay["weight_decay"]) == ("no_decay", 0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[p] for p in no_decay["params"]] == [name for name in names.values() if "ln" in name]
    assert {names[p] for p in decay["params"]} == {name for name in names.values() if "ln" not in name}
    assert "lr" not in decay and all(group["lr"] == 0.01 for group in param_groups(model, 0.1, lr=0.01))


def test_tied_parameters_come_once_and_frozen_ones_not_at_all():
    model = TransformerLM(50, 16, 32, num_layers=1, num_heads=4, d_ff=48)
    model.lm_head.weight = model.token_embeddings.weight
    model.layers[0].attn.requires_grad_(False)
    params = [p for group in param_groups(model, 0.1) for p in group["params"]]
    assert len(params) == len(set(params)) == 1 + 3 + 3  # the embedding, three matrices of the SwiGLU, three norms
    assert not set(params) & set(model.layers[0].attn.parameters())


def test_the_groups_drive_an_optimizer_even_when_one_is_empty():
    model = torch.nn.Linear(3, 2, bias=False)
    adamw = AdamW(param_groups(model, 0.5, lr=0.1), max_grad_norm=1.0)
    assert [(group["name"], len(group["params"])) for group in adamw.param_groups] == [("decay", 1), ("no_decay", 0)]
    model(torch.ones(1, 3)).sum().backward()
    before = model.weight.detach().clone()
    adamw.step()
    assert not torch.equal(before, model.weight)


def test_layer_decay_makes_the_lr_fall_with_each_layer_towards_the_input():
    model = TransformerLM(vocab_size=16, context_length=8, d_model=8, num_layers=3, num_heads=2, d_ff=16)
    model.layers[1].requires_grad_(False)
    groups = param_groups(model, 0.1, lr=1.0, layer_decay=0.5)
    told = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}
    assert told == {
        "embeddings.decay": (0.5**4, 0.1),
        "layers.0.decay": (0.5**3, 0.1),
        "layers.0.no_decay": (0.5**3, 0.0),
        "layers.2.decay": (0.5, 0.1),
        "layers.2.no_decay": (0.5, 0.0),
        "head.decay": (1.0, 0.1),
        "head.no_decay": (1.0, 0.0),
    }
    names = {id(p): name for name, p in model.named_parameters()}
    for group in groups:
        for p in group["params"]:
            where = group["name"].rpartition(".")[0]
            assert (names[id(p)].startswith("layers.") and where in names[id(p)]) or where in ("embeddings", "head")
    kept = [p for group in groups for p in group["params"]]
    assert len(kept) == len({id(p) for p in kept}) == sum(p.requires_grad for p in model.parameters())
    assert len(AdamW(groups).param_groups) == 7


def test_layer_decay_finds_the_stack_or_is_told_it():
    """A ModuleList goes before a Sequential; a name chooses; real models of transformers have theirs."""
    inner = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(2)])
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ModuleDict({"blocks": inner}), torch.nn.Linear(2, 2))
    names = [group["name"] for group in param_groups(model, 0.1, lr=1.0, layer_decay=0.5)]
    assert names[::2] == ["embeddings.decay", "layers.0.decay", "layers.1.decay", "head.decay"]
    outer = [group["name"] for group in param_groups(model, 0.1, lr=1.0, layer_decay=0.5, layers="")]
    assert outer[::2] == ["layers.0.decay", "layers.1.decay", "layers.2.decay"]
    with pytest.raises(ValueError, match=r"no stack of layers 'block' in Sequential; its stacks are '', '1.blocks'"):
        param_groups(model, 0.1, lr=1.0, layer_decay=0.5, layers="block")
    with pytest.raises(ValueError, match="its stacks are none: for such a model write the groups by hand"):
        param_groups(torch.nn.Linear(2, 2), 0.1, lr=1.0, layer_decay=0.5)
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="layer_decay is a factor a layer, above 0 and at most 1"):
            param_groups(model, 0.1, lr=1.0, layer_decay=wrong)
    with pytest.raises(ValueError, match="layer_decay makes each layer's LR from lr; write lr=3e-4"):
        param_groups(model, 0.1, layer_decay=0.5)
    with pytest.raises(ValueError, match="layers names the stack for layer_decay"):
        param_groups(model, 0.1, layers="1.blocks")


# ---------------------------------------------------------------------------------------------------------------------
# updates that must not be made


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("maximum", [None, 1.0])
def test_a_skipped_update_leaves_parameters_and_state_as_they_were_to_the_bit(bad, strided, maximum):
    ours = make_parameters(strided=strided)
    adamw = AdamW(ours, lr=1e-2, max_grad_norm=maximum)
    for _ in range(3):
        give_gradients(ours)
        adamw.step(skip=torch.tensor(False))
    before = copy.deepcopy((ours, adamw.state_dict()["state"]))
    for parameter in ours:
        parameter.grad = torch.full_like(parameter, bad)
    adamw.step(skip=torch.tensor(True))
    assert all(torch.equal(one, two) for one, two in zip(ours, before[0], strict=True))
    for index, state in adamw.state_dict()["state"].items():
        assert all(torch.equal(value, before[1][index][key]) for key, value in state.items())


@pytest.mark.parametrize("update", [optimizer._update, optimizer._fused_update])
def test_on_the_device_too_a_skip_leaves_everything_and_no_skip_changes_nothing(update):
    # what an accelerator runs: the decision is a tensor there, and the counts are put right afterwards
    def updated(skip, bad=1.0):
        ours = make_parameters()
        adamw = AdamW(ours, lr=1e-2)
        for _ in range(2):
            give_gradients(ours)
            adamw.step()
        give_gradients(ours, scale=bad)
        before = copy.deepcopy((ours, adamw.state_dict()["state"]))
        states = [adamw.state[p] for p in ours]
        adamw._counted = [state["step"] for state in states]
        torch._foreach_add_(adamw._counted, 1)
        with torch.no_grad():
            update(ours, [p.grad for p in ours], states, adamw.param_groups[0], None, skip)
        return ours, adamw, before

    ours, adamw, before = updated(torch.tensor(True), bad=math.nan)
    adamw.uncount()
    adamw.uncount()  # there is only one to take back
    assert all(torch.equal(one, two) for one, two in zip(ours, before[0], strict=True))
    for index, state in adamw.state_dict()["state"].items():
        assert all(torch.equal(value, before[1][index][key]) for key, value in state.items())
    torch.manual_seed(5)
    plain, _, _ = updated(None)
    torch.manual_seed(5)
    judged, _, _ = updated(torch.tensor(False))
    assert all(torch.equal(one, two) for one, two in zip(plain, judged, strict=True))


class Ops(TorchDispatchMode):
    """The operations that reach a device, with their arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.seen.append((op, args, kwargs or {}))
        if op is torch.ops.aten._fused_adamw_.tensor_lr:
            return None  # torch lacks its form for meta tensors, and there are no numbers to change in place
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("maximum", [None, 1.0])
@pytest.mark.parametrize("lr", [1e-3, torch.tensor(1e-3), torch.tensor(1e-3, dtype=torch.float64, device="meta")])
def test_on_an_accelerator_the_update_is_one_kernel_a_group_and_the_host_neither_waits_nor_sends(
    maximum, lr, monkeypatch
):
    # "meta" stands for CUDA, which is not here: its tensors have no numbers either that the host could read. What the
    # real kernel computes is not tested.
    monkeypatch.setattr(optimizer, "FUSED", ("cpu", "meta"))
    ours = [torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in SHAPES]
    groups = [{"params": ours[:1], "weight_decay": 0.3}, {"params": ours[1:], "lr": 3e-3, "betas": (0.8, 0.95)}]
    adamw = AdamW(groups, max_grad_norm=maximum)
    adamw.param_groups[0]["lr"] = lr  # as a scheduler would: the constructor looks at its value
    for _ in range(2):
        for parameter in ours:
            parameter.grad = torch.zeros_like(parameter)
        skip = ~torch.isfinite(gradient_clipping(ours, 1.0))
        with Ops() as ops:
            adamw.step(skip=skip)
    fused = [(args, named) for op, args, named in ops.seen if "_fused_adamw_" in str(op)]
    assert len(fused) == 2
    for (params, *_, counts), named in fused:
        read = [*params, *counts, named["found_inf"], *([named["grad_scale"]] if maximum else [])]
        assert {tensor.device.type for tensor in read} == {"meta"}
        assert len(counts) == len(params) and len({id(count) for count in counts}) == 1, "one count serves them all"
        assert (
            not isinstance(named["lr"], torch.Tensor)
            or named["lr"].device.type == "cpu"
            or (named["lr"].dtype == torch.float32)
        )
    assert [args[1] for op, args, _ in ops.seen if op is torch.ops.aten.full.default] == [2.0, 2.0]
    sent = [named for op, _, named in ops.seen if "_to_copy" in str(op) and named.get("device") is not None]
    assert all(named["device"] == lr.device for named in sent), "from meta to meta alone"
    assert {float(adamw.state[parameter]["step"]) for parameter in ours} == {2.0}
    adamw.uncount()  # as the host does once it has heard of a skip
    assert {float(adamw.state[parameter]["step"]) for parameter in ours} == {1.0}


def test_of_two_dtypes_each_has_a_kernel_of_its_own():
    ours = [torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.bfloat16, torch.float32, torch.bfloat16)]
    theirs = copy.deepcopy(ours)
    mine, torchs = AdamW(ours, lr=0.1), torch.optim.AdamW(theirs, lr=0.1, fused=True)
    for parameter in (*ours, *theirs):
        parameter.grad = torch.full_like(parameter, 0.5)
    with Ops() as ops:
        mine.step()
    torchs.step()
    calls = [args for op, args, _ in ops.seen if "_fused_adamw_" in str(op)]
    assert [[p.dtype for p in params] for params, *_ in calls] == [[torch.bfloat16] * 2, [torch.float32]]
    assert_same(ours, theirs, atol=0)


def test_a_gradient_in_another_order_of_memory_is_read_as_it_says():
    ours = torch.nn.Parameter(torch.zeros(2, 3))
    theirs = copy.deepcopy(ours)
    theirs.grad = torch.arange(6.0).view(2, 3)
    ours.grad = theirs.grad.t().contiguous().t()
    assert ours.grad.stride() != ours.stride()
    AdamW([ours], lr=0.1, eps=1.0).step()  # the size of a gradient counts, not its sign alone
    torch.optim.AdamW([theirs], lr=0.1, eps=1.0, fused=True).step()
    assert_same([ours], [theirs], atol=1e-7)


def test_counts_that_differ_are_filled_one_for_each():
    steps = [torch.tensor(float(t)) for t in (3, 5, 3)]
    filled = optimizer._counts_on(torch.device("cpu"), steps)
    assert filled == steps and filled[0] is filled[2] and filled[0] is not steps[0]
