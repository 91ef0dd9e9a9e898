"""The model and its parts: against torch's own, against transformers' Llama, and against what they promise."""

import contextlib
import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lehr import nn
from lehr.nn import Block, RMSNorm, SwiGLU, TransformerLM, cross_entropy, gradient_clipping, rope, softmax
from lehr.nn.layers import causal_attention, drop
from lehr.optimizer import AdamW, param_groups

SIZES = {"vocab_size": 60, "context_length": 24, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48}
FLOAT32 = pytest.param(contextlib.nullcontext, id="float32")
BFLOAT16 = pytest.param(lambda: torch.autocast("cpu", torch.bfloat16), id="bfloat16 autocast")
BFLOAT16_EPS = 2**-8


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these tensors are too small to share
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def batch(model, rows=3, seq=20):
    """Random ids and targets for a model."""
    vocab_size = model.lm_head.out_features
    return torch.randint(vocab_size, (rows, seq)), torch.randint(vocab_size, (rows, seq))


def gradients(loss, model):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


# --- the functions against torch's own ---


def test_public_names_are_listed_once_and_sorted():
    assert nn.__all__ == sorted(set(nn.__all__))
    assert all(hasattr(nn, name) for name in nn.__all__)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_softmax_is_torchs(dtype, dim):
    x = (torch.randn(3, 5, 7) * 10).to(dtype).requires_grad_()
    ours, theirs = softmax(x, dim), torch.softmax(x.double(), dim)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs.to(dtype))
    weights = torch.randn(3, 5, 7).to(dtype)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, weights.to(y.dtype))[0] for y in (ours, theirs)))


def test_softmax_survives_large_values_and_shows_a_row_that_has_none():
    assert softmax(torch.tensor([1e38, 1e38, -1e38]), 0).tolist() == [0.5, 0.5, 0.0]
    rows = softmax(torch.tensor([[-math.inf, -math.inf], [-math.inf, 3.0]]), -1)
    assert rows[0].isnan().all() and rows[1].tolist() == [0.0, 1.0]


def test_silu_is_x_times_its_sigmoid():
    x = torch.linspace(-20, 20, 101)
    torch.testing.assert_close(nn.silu(x), x * torch.sigmoid(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_cross_entropy_is_torchs(dtype):
    logits = torch.randn(2, 5, 11).to(dtype).requires_grad_()
    targets = torch.randint(11, (2, 5))
    ours = cross_entropy(logits, targets)
    theirs = F.cross_entropy(logits.flatten(0, 1).to(ours.dtype), targets.flatten())
    assert ours.dtype == torch.promote_types(dtype, torch.float32) and ours.shape == ()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(y, logits)[0] for y in (ours, theirs)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("target", [0, 1])
def test_cross_entropy_and_its_gradient_are_finite_for_enormous_logits(sign, target):
    logits = torch.tensor([[1e4, -1e4, 0.0]]).mul(sign).requires_grad_()
    loss = cross_entropy(logits, torch.tensor([target]))
    loss.backward()
    assert loss.item() == (0.0 if (sign > 0) == (target == 0) else 2e4)
    assert logits.grad.isfinite().all() and logits.grad.sum() == 0


def test_cross_entropy_refuses_targets_that_do_not_fit():
    with pytest.raises(ValueError, match=r"targets \[1\] do not fit logits \[4, 10\]"):
        cross_entropy(torch.zeros(4, 10), torch.zeros(1, dtype=torch.int64))
    for outside in (-100, 10):  # -100 is what torch's own would leave out of the mean
        with pytest.raises((IndexError, RuntimeError)):
            cross_entropy(torch.zeros(1, 10), torch.tensor([outside]))


@pytest.mark.parametrize("kind", ["none", "causal", "random", "per head", "a query without keys"])
def test_attention_is_torchs(kind):
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 6)
    for x in (q, k, v):
        x.requires_grad_()
    mask = {
        "none": None,
        "causal": torch.ones(5, 7, dtype=torch.bool).tril(),
        "random": (torch.rand(5, 7) < 0.5) | (torch.arange(7) == 0),
        "per head": (torch.rand(2, 3, 5, 7) < 0.5) | (torch.arange(7) == 0),
        "a query without keys": torch.arange(5)[:, None].expand(5, 7) != 2,
    }[kind]
    ours, theirs = (
        attend(q, k, v, mask) for attend in (nn.scaled_dot_product_attention, F.scaled_dot_product_attention)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    weights = torch.randn_like(ours)
    for mine, torchs in zip(*(torch.autograd.grad(y, (q, k, v), weights) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-6)


def test_a_query_that_attends_nothing_gets_zeros_and_no_nan_anywhere():
    q = torch.randn(2, 4, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):  # nor on the way
        out = nn.scaled_dot_product_attention(q, q, q, torch.tensor([[False, False], [True, True]]))
        out.sum().backward()
    assert out[0].tolist() == [0.0] * 4 and q.grad.isfinite().all()


def test_attention_refuses_a_mask_of_numbers():
    q = torch.zeros(2, 4)
    with pytest.raises(TypeError, match="boolean"):
        nn.scaled_dot_product_attention(q, q, q, torch.zeros(2, 2))


@pytest.mark.parametrize("seq", [1, 9, 520], ids=["one", "short", "beyond the explicit form"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_models_attention_is_the_readable_one_with_a_causal_mask(seq, dtype):
    q, k, v = torch.randn(3, 1, 2, seq, 4).to(dtype)
    readable = nn.scaled_dot_product_attention(q, k, v, torch.ones(seq, seq, dtype=torch.bool).tril())
    tolerance = 1e-5 if dtype == torch.float32 else 4 * BFLOAT16_EPS
    torch.testing.assert_close(causal_attention(q, k, v), readable, rtol=tolerance, atol=tolerance)


# --- rope ---


def rope_by_complex_numbers(x, positions, theta):
    """Pair (2i, 2i + 1) as a complex number, times e^(i angle), in float64."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    angles = positions.double().unsqueeze(-1) * theta ** (-torch.arange(0, x.shape[-1], 2).double() / x.shape[-1])
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def test_rope_turns_interleaved_pairs():
    x = torch.randn(2, 3, 7, 8)
    for positions in (torch.arange(7), torch.randint(500, (2, 1, 7)), torch.randint(500, (2, 3, 7))):
        expected = rope_by_complex_numbers(x, positions, 10000.0).float()
        torch.testing.assert_close(rope(x, positions, 10000.0), expected, rtol=0, atol=2e-4)


def test_rope_makes_scores_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 16)
    scores = [
        (rope(q, torch.tensor([a]), 100.0) * rope(k, torch.tensor([b]), 100.0)).sum().item()
        for a, b in [(3, 0), (13, 10), (103, 100)]
    ]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-4)
    assert abs(scores[0] - (q * k).sum().item()) > 0.01


def test_rope_works_for_one_vector_sequence_and_refuses_an_odd_size():
    assert rope(torch.ones(4, 6), torch.arange(4), 10000.0).shape == (4, 6)
    with pytest.raises(ValueError, match="must be even, got 5"):
        rope(torch.ones(4, 5), torch.arange(4), 10000.0)


def test_rope_of_bfloat16_is_exact_but_for_the_last_rounding():
    x, positions = torch.randn(4000, 8).bfloat16(), torch.arange(4000)
    ours = rope(x, positions, 10000.0)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), rope_by_complex_numbers(x, positions, 10000.0), rtol=2**-8, atol=1e-3)


def test_a_bfloat16_model_keeps_its_far_positions_apart():
    seq = 600
    model = TransformerLM(**(SIZES | {"context_length": seq, "num_layers": 1})).bfloat16()
    exact = TransformerLM(**(SIZES | {"context_length": seq, "num_layers": 1}))
    exact.load_state_dict(model.state_dict())  # the same, rounded weights; only the arithmetic differs
    for lm in (model, exact):
        for projection in (lm.layers[0].attn.q_proj, lm.layers[0].attn.k_proj):
            projection.weight.data *= 4  # sharp attention, which feels the angles
    ids, _ = batch(model, rows=1, seq=seq)
    with torch.no_grad():
        error = (model(ids).float() - exact(ids)).abs().mean(-1)[0]
    assert error[500:].mean() < 1.5 * error[20:120].mean() + 1e-3


# --- the layers ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rms_norm_is_torchs(dtype):
    x, ours, theirs = (
        torch.randn(2, 5, 12, dtype=dtype),
        RMSNorm(12).to(dtype),
        torch.nn.RMSNorm(12, eps=1e-5).to(dtype),
    )
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.normal_())
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_rms_norm_goes_backward_whatever_the_order_of_axes_in_memory(order):
    norm, x = RMSNorm(4), torch.randn(2, 3, 4)
    upstream = torch.randn(2, 3, 4).permute(order).contiguous()  # what comes back has that order, too
    found = []
    for form in (norm, lambda x: torch.nn.functional.rms_norm(x, (4,), norm.weight, norm.eps)):
        leaf = x.permute(order).contiguous().permute(*map(order.index, range(3))).detach().requires_grad_()
        (form(leaf).permute(order) * upstream).sum().backward()
        found.append((leaf.grad, norm.weight.grad))
        norm.weight.grad = None
    torch.testing.assert_close(*found)


def test_rms_norm_computes_in_float32_and_returns_the_dtype_it_was_given():
    x = (torch.randn(64, 512) * 100).bfloat16()
    exact = x.double() * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + 1e-5)
    y = RMSNorm(512).bfloat16()(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=0)


def test_rms_norm_survives_zeros_and_squares_beyond_float16():
    assert RMSNorm(4)(torch.zeros(4)).tolist() == [0.0] * 4
    torch.testing.assert_close(RMSNorm(4)(torch.full((4,), 6e4).half()), torch.ones(4).half())


def test_swiglu_is_its_formula():
    layer, x = SwiGLU(6, 10), torch.randn(2, 3, 6)
    w1, w2, w3 = (getattr(layer, name).weight for name in ("w1", "w2", "w3"))
    gate = x @ w1.T
    torch.testing.assert_close(layer(x), (gate / (1 + torch.exp(-gate)) * (x @ w3.T)) @ w2.T)
    assert sorted(layer.state_dict()) == ["w1.weight", "w2.weight", "w3.weight"]


BLOCK_NAMES = sorted(
    [f"attn.{name}_proj.weight" for name in ("q", "k", "v", "output")]
    + ["ln1.weight", "ln2.weight"]
    + [f"ffn.{name}.weight" for name in ("w1", "w2", "w3")]
)


def test_a_block_alone_does_what_it_does_in_a_model():
    model = TransformerLM(**SIZES)
    block = Block(32, 4, 48, 24, 10000.0)
    assert sorted(block.state_dict()) == BLOCK_NAMES
    block.load_state_dict(model.layers[0].state_dict())
    ids, _ = batch(model)
    seen = []
    model.layers[0].register_forward_hook(lambda _, inputs, output: seen.append(output))
    model(ids)
    torch.testing.assert_close(block(model.token_embeddings(ids)), seen[0])


# --- the model ---


def test_state_dict_holds_the_parameters_under_the_names_of_the_contract():
    model = TransformerLM(**SIZES)
    names = ["token_embeddings.weight", "ln_final.weight", "lm_head.weight"]
    names += [f"layers.{layer}.{name}" for layer in range(2) for name in BLOCK_NAMES]
    assert sorted(model.state_dict()) == sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert {tuple(model.state_dict()[name].shape) for name in ("token_embeddings.weight", "lm_head.weight")} == {
        (60, 32)
    }


def test_logits_are_those_of_transformers_llama_with_the_same_weights():
    transformers = pytest.importorskip("transformers")
    theta = 500.0  # not the default, so that it has to arrive
    model = TransformerLM(**SIZES, rope_theta=theta)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # norms that do something
                parameter.uniform_(0.5, 1.5)
            elif "q_proj" in name or "k_proj" in name:  # attention that is not nearly uniform
                parameter.mul_(4)
    config = transformers.LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=24,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=False,
    )
    llama = transformers.LlamaForCausalLM(config).eval()
    llama.load_state_dict(llama_state(model.state_dict(), num_heads=4))
    ids, _ = batch(model, seq=24)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), llama(ids).logits, rtol=0, atol=1e-4)


def llama_state(state, num_heads):
    """Our state dict under transformers' names. It pairs row i of a head with row i + d_head / 2, we 2i with 2i + 1."""
    renamed = {}
    for name, weight in state.items():
        if "q_proj" in name or "k_proj" in name:
            d_head = weight.shape[0] // num_heads
            weight = weight.view(num_heads, d_head // 2, 2, -1).transpose(1, 2).reshape(weight.shape)
        for ours, theirs in [
            ("token_embeddings", "embed_tokens"),
            ("attn.output_proj", "self_attn.o_proj"),
            ("attn.", "self_attn."),
            ("ln1", "input_layernorm"),
            ("ln2", "post_attention_layernorm"),
            ("ffn.w1", "mlp.gate_proj"),
            ("ffn.w2", "mlp.down_proj"),
            ("ffn.w3", "mlp.up_proj"),
            ("ln_final", "norm"),
        ]:
            if ours in name and theirs not in name:
                name = name.replace(ours, theirs)
                break
        renamed[name if name == "lm_head.weight" else f"model.{name}"] = weight
    return renamed


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
def test_later_ids_do_not_change_earlier_logits(precision):
    model = TransformerLM(**SIZES)
    ids, _ = batch(model)
    changed = ids.clone()
    changed[:, 12:] = (ids[:, 12:] + 1) % 60
    with torch.no_grad(), precision():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12], after[:, 12]) and not torch.equal(before[:, 19], after[:, 19])


@pytest.mark.parametrize(
    ("vocab_size", "d_model"),
    [(64, 32), (64, 768), (256, 32), (256, 128), (256, 768), (1000, 64), (8192, 384), (50257, 32)],
)
def test_a_fresh_model_knows_nothing_its_loss_is_near_log_vocab_size(vocab_size, d_model):
    model = TransformerLM(vocab_size, 32, d_model, num_layers=2, num_heads=d_model // 16, d_ff=d_model)
    with torch.no_grad():
        assert model.loss(*batch(model, rows=4, seq=32)).item() == pytest.approx(math.log(vocab_size), abs=0.7)


def assert_gradients_are_close(ours, theirs, model, relative):
    mine, expected = gradients(ours, model), gradients(theirs, model)
    for name in expected:
        assert (mine[name] - expected[name]).norm() <= relative * expected[name].norm(), name


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("seq", [1, 20], ids=["one token each", "many"])
def test_loss_is_the_cross_entropy_of_the_whole_logits(precision, seq):
    model = TransformerLM(**SIZES)
    ids, targets = batch(model, seq=seq)
    with precision():
        ours, whole = model.loss(ids, targets), cross_entropy(model(ids), targets)
        # Under autocast both round to bfloat16 on the way back, at different places.
        relative = 4 * BFLOAT16_EPS if torch.is_autocast_enabled("cpu") else 1e-5
    assert ours.dtype == torch.float32 and ours.shape == ()
    torch.testing.assert_close(ours, whole, rtol=0, atol=1e-5)
    assert_gradients_are_close(3 * ours, 3 * whole, model, relative)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-12), (torch.bfloat16, 4 * BFLOAT16_EPS)])
def test_loss_follows_the_dtype_of_the_model(dtype, relative):
    model = TransformerLM(**SIZES).to(dtype)
    ids, targets = batch(model)
    ours, whole = model.loss(ids, targets), cross_entropy(model(ids), targets)
    assert ours.dtype == whole.dtype
    torch.testing.assert_close(ours, whole, rtol=0, atol=1e-5)
    assert_gradients_are_close(ours, whole, model, relative)


class LargestTensor(TorchDispatchMode):
    """Records the most elements that any tensor made inside it had, forward or backward."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("vocab_size", [300, 5000])
def test_loss_never_holds_the_whole_logits(vocab_size, precision):
    model = TransformerLM(**(SIZES | {"vocab_size": vocab_size, "num_layers": 1, "num_heads": 2}))
    ids, targets = batch(model, rows=8, seq=24)
    logits = ids.numel() * vocab_size
    with LargestTensor() as largest, precision():
        cross_entropy(model(ids), targets).backward()
    assert largest.elements == logits  # so the watch sees what it should
    with LargestTensor() as largest, precision():
        model.loss(ids, targets).backward()
    assert 0 < largest.elements < logits / 3


def test_loss_without_gradients_and_with_frozen_ends():
    model = TransformerLM(**SIZES)
    ids, targets = batch(model)
    whole = gradients(cross_entropy(model(ids), targets), model)
    with torch.no_grad():
        assert not model.loss(ids, targets).requires_grad
    model.lm_head.requires_grad_(False)
    model.zero_grad()
    model.loss(ids, targets).backward()
    assert model.lm_head.weight.grad is None
    torch.testing.assert_close(model.token_embeddings.weight.grad, whole["token_embeddings.weight"])
    model.requires_grad_(False).lm_head.requires_grad_(True)
    model.loss(ids, targets).backward()
    torch.testing.assert_close(model.lm_head.weight.grad, whole["lm_head.weight"])


def test_loss_goes_backward_twice_if_the_graph_is_kept_but_has_no_second_derivative():
    model = TransformerLM(**SIZES)
    loss = model.loss(*batch(model))
    once, twice = (torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(loss, model.lm_head.weight, create_graph=True)


def test_loss_refuses_targets_of_another_shape_or_outside_the_vocabulary():
    model = TransformerLM(**SIZES)
    ids, targets = batch(model)
    with pytest.raises(ValueError, match=r"targets \[3, 19\] and ids \[3, 20\]"):
        model.loss(ids, targets[:, 1:])
    for outside in (-100, 60):
        with pytest.raises((IndexError, RuntimeError)):
            model.loss(ids, torch.full_like(targets, outside))


def test_a_few_updates_learn_a_batch_by_heart():
    model = TransformerLM(**SIZES)
    ids, targets = batch(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(ids, targets).backward()
        optimizer.step()
    assert model.loss(ids, targets).item() < 0.2


@pytest.mark.parametrize("settings", [{}, {"checkpoint_activations": True}, {"dropout": 0.1}])
def test_an_update_asks_the_device_for_no_number(settings):
    """An accelerator would have to be waited for. A number of a tensor on "meta" cannot be had: asking raises."""
    model = TransformerLM(**SIZES, **settings).to("meta")
    optimizer = AdamW(param_groups(model, 0.1))
    tokens = torch.empty(3, 20, dtype=torch.int64, device="meta")
    for _ in range(2):
        loss = model.loss(tokens, tokens)
        loss.backward()
        norm = gradient_clipping(model.parameters(), 1.0)
        optimizer.step(skip=~(torch.isfinite(loss) & torch.isfinite(norm)))
        optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()


@pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning")  # torch's own doing
@pytest.mark.parametrize("settings", [{}, {"checkpoint_activations": True}])
def test_torch_compiles_the_loss_as_one_graph_and_once_for_all_updates(settings):
    model = TransformerLM(**SIZES, **settings)
    plain = copy.deepcopy(model)
    counter = CompileCounterWithBackend("aot_eager")  # its graphs are run as they are: no C++ compiler is needed
    torch._dynamo.reset()
    losses = {model: torch.compile(model.loss, fullgraph=True, backend=counter), plain: plain.loss}
    optimizers = {side: AdamW(param_groups(side, 0.1)) for side in losses}
    for step in range(4):
        ids, targets = batch(model)
        values = []
        for side, loss_of in losses.items():
            optimizers[side].param_groups[0]["lr"] = 1e-3 * (step + 1)
            with torch.autocast("cpu", torch.bfloat16):
                values.append(loss_of(ids, targets))
            values[-1].backward()
        if not step:  # nothing of the backward pass is rounded that is not without the compiler
            for compiled, as_is in zip(model.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(
                    compiled.grad, as_is.grad, rtol=1e-4, atol=1e-6 * as_is.grad.abs().max().item()
                )
        for side in losses:
            optimizers[side].step()
            optimizers[side].zero_grad()
        torch.testing.assert_close(*values, rtol=1e-2, atol=0)
    assert counter.frame_count == 1


def test_it_can_be_planned_on_the_meta_device_and_filled_from_a_state_dict():
    model = TransformerLM(**SIZES)
    ids, targets = batch(model)
    with torch.device("meta"):
        planned = TransformerLM(**SIZES)
    meta = torch.empty(3, 20, dtype=torch.int64, device="meta")
    assert planned(meta).shape == (3, 20, 60) and planned.loss(meta, meta).shape == ()
    planned.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(planned(ids), model(ids))  # nothing but parameters had to be filled
    empty = TransformerLM(**SIZES).to("meta").to_empty(device="cpu")
    empty.load_state_dict(model.state_dict())
    assert torch.equal(empty.loss(ids, targets), model.loss(ids, targets))


def test_weights_start_as_in_cs336():
    model = TransformerLM(1000, 8, 64, 3, 2, 128)
    for weight, sigma in [
        (model.token_embeddings.weight, 1),
        (model.layers[2].attn.output_proj.weight, math.sqrt(2 / (64 + 64))),
        (model.layers[0].ffn.w1.weight, math.sqrt(2 / (64 + 128))),
        (model.lm_head.weight, math.sqrt(2 / (64 + 1000))),
    ]:
        assert weight.std().item() == pytest.approx(0.987 * sigma, rel=0.05)  # 0.987: cut at 3 sigma
        assert weight.mean().item() == pytest.approx(0, abs=0.1 * sigma)
        assert 2.5 * sigma < weight.abs().max().item() <= 3 * sigma
    assert all(p.eq(1).all() for name, p in model.named_parameters() if "ln" in name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be a whole number above 0, got 0"),
        ({"num_layers": 0}, "num_layers must be a whole number above 0, got 0"),
        ({"d_model": -8}, "d_model must be a whole number above 0, got -8"),
        ({"d_ff": 2.5}, "d_ff must be a whole number above 0, got 2.5"),
        ({"context_length": 0}, "context_length must be a whole number above 0, got 0"),
        ({"num_heads": 5}, "d_model 32 does not divide into 5 heads"),
        ({"num_heads": 32}, "gives each an odd size, 1"),
        ({"rope_theta": 0.0}, "rope_theta must be positive, got 0.0"),
    ],
)
def test_impossible_sizes_are_refused_at_construction(change, message):
    with pytest.raises(ValueError, match=message):
        TransformerLM(**(SIZES | change))


def test_a_sequence_beyond_the_context_is_refused_with_both_numbers():
    model = TransformerLM(**SIZES)
    ids = torch.zeros(1, 25, dtype=torch.int64)
    for call in (lambda: model(ids), lambda: model.loss(ids, ids), lambda: model.layers[0](torch.zeros(1, 25, 32))):
        with pytest.raises(ValueError, match=r"25 .* 24"):
            call()
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.tensor([[60]]))


# --- gradient clipping ---


def parameters_with_gradients(*shapes, scale=1.0, dtype=torch.float32):
    parameters = [torch.nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) * scale
    return parameters


@pytest.mark.parametrize("scale", [1e-6, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("name", ["max_l2_norm", "max_norm"])
def test_gradient_clipping_is_torchs(scale, name):
    ours = parameters_with_gradients((3, 4), (5,), (), (2, 1, 2), scale=scale)
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    for a, b in zip(ours, theirs, strict=True):
        b.grad = a.grad.clone()
    norm = gradient_clipping(iter(ours), **{name: 0.5})
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=2e-6, atol=1e-6)


def test_gradients_within_the_norm_are_left_as_they_are_to_the_bit():
    (parameter,) = parameters_with_gradients((2,))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert gradient_clipping([parameter], 5.0) == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_clipping_takes_one_tensor_none_and_those_without_gradients():
    (one,) = parameters_with_gradients((3,), scale=100.0)
    norm = gradient_clipping(one, 1.0)
    assert norm > 1 and one.grad.norm().item() == pytest.approx(1.0, rel=1e-5)
    without = torch.nn.Parameter(torch.zeros(2))
    assert gradient_clipping([without, one], 1.0).item() == pytest.approx(1.0, rel=1e-5) and without.grad is None
    for nothing in ([], iter(()), [without], without):
        norm = gradient_clipping(nothing, 1.0)
        assert norm.shape == () and norm.item() == 0.0


def test_clipping_measures_mixed_dtypes_together_and_half_precision_without_overflow():
    mixed = [
        *parameters_with_gradients((40, 40), dtype=torch.float16, scale=0.0),
        *parameters_with_gradients((50,), dtype=torch.bfloat16),
        *parameters_with_gradients((50,)),
        *parameters_with_gradients((50,), dtype=torch.float64),
    ]
    mixed[0].grad += 30000.0  # 1.2e6 together, beyond float16
    exact = torch.cat([p.grad.double().flatten() for p in mixed]).norm()
    dtypes = [p.grad.dtype for p in mixed]
    torch.testing.assert_close(gradient_clipping(mixed, 10.0).double(), exact, rtol=1e-6, atol=0)
    assert [p.grad.dtype for p in mixed] == dtypes
    assert torch.cat([p.grad.double().flatten() for p in mixed]).norm().item() == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_clipping_reports_a_non_finite_norm_and_raises_only_when_asked(bad):
    good, broken = parameters_with_gradients((2,), (2,))
    broken.grad[0] = bad
    before = good.grad.clone()
    with pytest.raises(RuntimeError, match=r"nan|inf"):
        gradient_clipping([good, broken], 1.0, error_if_nonfinite=True)
    assert torch.equal(good.grad, before)
    assert not gradient_clipping([good, broken], 1.0).isfinite()
    assert broken.grad[0].isnan()
    assert (
        good.grad.isnan().all() if math.isnan(bad) else good.grad.eq(0).all()
    )  # as torch's: it does not pass for good


def test_clipping_wants_exactly_one_maximum():
    with pytest.raises(TypeError, match="neither"):
        gradient_clipping([])
    with pytest.raises(TypeError, match="both"):
        gradient_clipping([], 1.0, max_norm=1.0)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        gradient_clipping([], -1)


# ---------------------------------------------------------------------------------------------------------------------
# dropout


def test_dropout_acts_while_training_alone_and_is_drawn_from_torchs_generator():
    plain = TransformerLM(**SIZES)
    model = TransformerLM(**SIZES, dropout=0.3)
    model.load_state_dict(plain.state_dict())  # the same names: it has no parameters
    ids, targets = batch(model)
    assert torch.equal(model.eval()(ids), plain(ids))
    model.train()
    torch.manual_seed(3)
    one = model.loss(ids, targets)
    torch.manual_seed(3)
    assert torch.equal(model.loss(ids, targets), one) and not torch.equal(model.loss(ids, targets), one)
    assert one != plain.loss(ids, targets)


def test_without_dropout_nothing_is_drawn():
    model = TransformerLM(**SIZES)
    ids, targets = batch(model)
    before = torch.get_rng_state()
    model.loss(ids, targets).backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    dropped = drop(torch.ones(200_000), 0.25, True)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01) and torch.equal(drop(dropped, 0.25, False), dropped)
    for share in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="dropout is a share in"):
            TransformerLM(**SIZES, dropout=share)


@pytest.mark.parametrize(("dropout", "dtype"), [(0.0, torch.float32), (0.2, torch.float32), (0.2, torch.bfloat16)])
def test_checkpointed_activations_give_the_same_gradients_from_fewer_kept_arrays(dropout, dtype):
    ids = torch.randint(50, (3, 32))
    kept, gradients = [], []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = TransformerLM(50, 32, 32, 3, 2, 64, dropout=dropout, checkpoint_activations=checkpointed)
        size = 0

        def count(tensor):
            nonlocal size
            size += tensor.numel() * (not isinstance(tensor, torch.nn.Parameter))
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
        ):
            loss = model.loss(ids, ids)
        kept.append(size)
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(map(torch.equal, *gradients)) and kept[1] < kept[0] / 4
