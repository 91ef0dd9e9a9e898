"""AdamW, and the split of a model's parameters into those that decay and those that do not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lehr.depth import places
from lehr.functional import get_lr_cosine_schedule
from lehr.sharding import global_norm, is_split, local

__all__ = ["AdamW", "get_lr_cosine_schedule", "param_groups"]

FUSED = ("cpu", "cuda")  # where torch's fused kernel is used


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101; Kingma & Ba 2015, arXiv 1412.6980).

    Update number t = 1, 2, ... of a parameter x with gradient g, in the letters of the paper:

        m = beta1 m + (1 - beta1) g                  m^ = m / (1 - beta1^t)
        v = beta2 v + (1 - beta2) g^2                v^ = v / (1 - beta2^t)
        x = x - lr weight_decay x - lr m^ / (sqrt(v^) + eps)

    `params` are tensors, named tensors, or groups: dicts with "params", any of the hyperparameters, and whatever other
    keys they should carry, such as "name". `lr` is a number or a 0-d tensor. A parameter without a gradient is passed
    over, and its t does not advance.

    `max_grad_norm` folds `lehr.nn.gradient_clipping` into the update: the parameters come out as if the gradients of
    all groups together had been clipped to that norm first, and `last_grad_norm` is their norm before it, a 0-d tensor
    (None until then, and without `max_grad_norm`). What it leaves in `.grad` is unspecified.

    The state of a parameter is `step`, `exp_avg` and `exp_avg_sq`, as in `torch.optim.AdamW`: either loads the other's
    state dict, and `torch.load(..., weights_only=True)` reads it. `max_grad_norm` is not in it. Parameters that are
    split over processes (DTensor, as FSDP2 makes them) are updated where they are, each process its part, with the norm
    of all; every process has to call `step`.

    ValueError: a negative or NaN lr, eps or weight_decay, a beta outside [0, 1), a max_grad_norm that is not positive,
    a state dict of another optimizer, of AMSGrad, or of `maximize=True`. RuntimeError: a sparse or complex gradient, or
    a `step` captured in a CUDA graph.

    >>> x = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([x], lr=0.1, weight_decay=0.0, max_grad_norm=1.0)
    >>> x.square().sum().backward()
    >>> optimizer.step()
    >>> x, optimizer.last_grad_norm
    (tensor([0.9000], requires_grad=True), tensor(2.))
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        max_grad_norm: float | None = None,
    ) -> None:
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, or None for no clipping, got {max_grad_norm!r}")
        self.max_grad_norm = max_grad_norm
        self.last_grad_norm: Tensor | None = None
        self._counted: list[Tensor] = []  # the counts that the last update advanced before it was known to be one
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with the constructor's hyperparameters where it has none of its own (ValueError as there)."""
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, skip: Tensor | None = None) -> Any:
        """Update every parameter that has a gradient; `closure`, if given, is called before, and its value returned.

        Where `skip`, a 0-d boolean tensor, is true, neither parameters nor state change, whatever the gradients are: an
        update that is not finite never reaches the weights. It is looked at on its own device, so that an accelerator
        need not be waited for. The counts of updates are kept on the CPU and advance all the same in that case; call
        `uncount` once `skip` is known to have been true. (With everything on the CPU it is known at once.)
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        groups = [(group, [p for p in group["params"] if p.grad is not None]) for group in self.param_groups]
        grads = [p.grad for _, params in groups for p in params]
        for grad in grads:
            if grad.layout != torch.strided or grad.is_complex():
                raise RuntimeError(f"AdamW takes dense, real gradients; this one is {grad.layout}, {grad.dtype}")
        if skip is not None and skip.device.type == "cpu":
            if skip:
                return loss
            skip = None
        self._counted = []
        divisor: Tensor | None = None  # of all gradients: 1 or norm / maximum, decided on the device
        if self.max_grad_norm is not None:
            norm = self.last_grad_norm = global_norm(grads)
            divisor = torch.where(norm <= self.max_grad_norm, 1.0, (norm + 1e-6) / self.max_grad_norm)
            if norm.device.type == "cpu" and divisor == 1:  # asking costs nothing there, and spares a pass over .grad
                divisor = None

        for group, params in groups:
            for device, dtype in dict.fromkeys((p.device, p.dtype) for p in params):  # CUDA's kernel takes one dtype
                if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                    raise RuntimeError(
                        "AdamW counts on the host: capture forward and backward in a CUDA graph, not step"
                    )
                here = [p for p in params if (p.device, p.dtype) == (device, dtype)]
                states = [self.state_of(p, group) for p in here]
                gradients = [p.grad for p in here]
                if any(map(is_split, here)):  # each process updates what it holds
                    states = [{key: local(value) for key, value in state.items()} for state in states]
                    here, gradients = ([local(x) for x in xs] for xs in (here, gradients))
                torch._foreach_add_([state["step"] for state in states], 1)
                if skip is not None:
                    self._counted += [state["step"] for state in states]
                there = (None if x is None else x.to(device) for x in (divisor, skip))
                self._update(here, gradients, states, group, *there)
        return loss

    def uncount(self) -> None:
        """Take back the counts of the last `step`, whose `skip` has turned out true: see there."""
        if self._counted:
            torch._foreach_sub_(self._counted, 1)
        self._counted = []

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of an `AdamW`, ours or torch's, in copies; ValueError for any other, see the class."""
        for group in state_dict["param_groups"]:
            missing = [key for key in ("lr", "betas", "eps", "weight_decay") if key not in group]
            if missing:
                raise ValueError(f"this state dict is not an AdamW's: a parameter group lacks {', '.join(missing)}")
            for variant in ("amsgrad", "maximize"):
                if group.get(variant):
                    raise ValueError(f"this state dict is of an AdamW with {variant}=True, which lehr's does not have")
            for state in (state_dict["state"][i] for i in group["params"] if state_dict["state"].get(i)):
                if state.keys() != self._keys(group):
                    raise ValueError(
                        f"this state dict is not an {type(self).__name__}'s: it has {', '.join(state)} of a parameter "
                        f"of group {group.get('name', 'without a name')!r}, not {', '.join(sorted(self._keys(group)))}"
                    )
        super().load_state_dict(state_dict)
        for p in (p for group in self.param_groups for p in group["params"] if p in self.state):
            state = self.state[p]
            for key in state.keys() - {"step"}:  # exp_avg, exp_avg_sq
                if state[key].shape != p.shape:
                    raise ValueError(f"{key} {list(state[key].shape)} does not fit a parameter {list(p.shape)}")
                # A copy, in the parameter's memory order: torch would share tensors with whom the dict came from.
                state[key] = torch.empty_like(p).copy_(state[key])
            state["step"] = torch.tensor(float(state["step"]), dtype=torch.float32, device="cpu")

    def __getstate__(self) -> dict[str, Any]:  # for copy and pickle; torch's forgets attributes of our own
        own: dict[str, Any] = {
            "max_grad_norm": self.max_grad_norm,
            "last_grad_norm": self.last_grad_norm,
            "_counted": [],
        }
        return {**super().__getstate__(), **own}

    def _keys(self, group: dict[str, Any]) -> set[str]:
        """What the state of a parameter of this group consists of."""
        return {"step", "exp_avg", "exp_avg_sq"}

    def state_of(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The state of a parameter, of a group, made where there is none yet."""
        state: dict[str, Tensor] = self.state[p]
        if not state:
            # The count is kept on the CPU, as torch does: bias corrections are plain numbers, and no device must wait.
            state["step"] = torch.tensor(0.0, dtype=torch.float32, device="cpu")
            state |= {key: torch.zeros_like(p) for key in sorted(self._keys(group) - {"step"})}
        return state

    def _update(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Tensor]],
        group: dict[str, Any],
        divisor: Tensor | None,
        skip: Tensor | None,
    ) -> None:
        update = _fused_update if all(map(_fusible, params, grads)) else _update
        update(params, grads, states, group, divisor, skip)


def _update(
    params: list[Tensor],
    grads: list[Tensor],
    states: list[dict[str, Tensor]],
    group: dict[str, Any],
    divisor: Tensor | None,
    skip: Tensor | None,
) -> None:
    """The update as AdamW's docstring has it, each line for all parameters at once: few launches on an accelerator."""
    lr, (beta1, beta2), eps, weight_decay = (group[key] for key in ("lr", "betas", "eps", "weight_decay"))
    if isinstance(lr, Tensor):
        lr = lr.to(params[0].device)
    m, v = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq"))
    steps = [state["step"].item() for state in states]  # they may differ: a parameter can miss gradients
    if divisor is not None:
        grads = list(torch._foreach_div(grads, divisor))
    kept, keep, towards = 1 - lr * weight_decay, beta2, grads
    if skip is not None:
        # 1 and 0 in the places that leave everything as it is, to the bit: m goes towards itself. A NaN or an infinity
        # must be replaced, since 0 times either is NaN. In float64 where there is one, as exact as the plain numbers.
        wide = torch.float32 if skip.device.type == "mps" else torch.float64
        one, zero = (make((), dtype=wide, device=skip.device) for make in (torch.ones, torch.zeros))
        kept, keep, lr = (torch.where(skip, still, x) for still, x in ((one, kept), (one, beta2), (zero, lr)))
        towards = [torch.where(skip, mean, grad) for mean, grad in zip(m, grads, strict=True)]
        grads = [grad.masked_fill(skip, 0.0) for grad in grads]

    torch._foreach_mul_(params, kept)
    torch._foreach_lerp_(m, towards, 1 - beta1)
    torch._foreach_mul_(v, keep)
    torch._foreach_addcmul_(v, grads, grads, 1 - beta2)

    denominators = torch._foreach_sqrt(v)
    torch._foreach_div_(denominators, [(1 - beta2**t) ** 0.5 for t in steps])
    torch._foreach_add_(denominators, eps)
    torch._foreach_mul_(denominators, [1 - beta1**t for t in steps])
    updates = torch._foreach_div(m, denominators)
    torch._foreach_mul_(updates, lr)
    torch._foreach_sub_(params, updates)


def _fused_update(
    params: list[Tensor],
    grads: list[Tensor],
    states: list[dict[str, Tensor]],
    group: dict[str, Any],
    divisor: Tensor | None,
    skip: Tensor | None,
) -> None:
    """The same in torch's fused kernel, in one pass over memory (8 ms for 12M parameters on 2 cores)."""
    beta1, beta2 = group["betas"]
    m, v, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
    lr, device = group["lr"], params[0].device
    if device.type != "cpu":
        steps = _counts_on(device, steps)
        if isinstance(lr, Tensor) and lr.device.type != "cpu":
            lr = lr.to(device, torch.float32)  # read there, and as float32 whatever it is
    torch._fused_adamw_(
        params,
        grads,
        m,
        v,
        [],  # AMSGrad's maxima
        steps,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
        grad_scale=None if divisor is None else divisor.float(),  # divides .grad in place, too
        found_inf=None if skip is None else skip.float(),  # where it is 1 the kernel leaves everything as it is
    )


def _counts_on(device: torch.device, steps: list[Tensor]) -> list[Tensor]:
    """Counts where the kernel reads them: filled on the device, since a copy from the host could wait for it."""
    counts = [step.item() for step in steps]
    filled = {count: torch.full((), count, dtype=torch.float32, device=device) for count in set(counts)}
    return [filled[count] for count in counts]


def _fusible(p: Tensor, grad: Tensor) -> bool:
    """Whether torch's fused kernel is right for p.

    That of a CPU reads memory in order, whatever the strides say; CUDA's refuses a gradient whose strides are not p's.
    """
    in_order = p.is_contiguous() and p.stride() == grad.stride()
    return p.device.type in FUSED and in_order and grad.dtype == p.dtype


def _check(group: dict[str, Any]) -> None:
    where = f" in parameter group {group['name']!r}" if "name" in group else ""
    if isinstance(group["lr"], Tensor) and group["lr"].dim() != 0:
        raise ValueError(f"a tensor lr must be 0-d, got shape {list(group['lr'].shape)}{where}")
    for key in ("lr", "eps", "weight_decay"):
        if not group[key] >= 0:  # NaN included
            raise ValueError(f"{key} must be 0 or more, got {group[key]!r}{where}")
    if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"betas must be two numbers in [0, 1), got {group['betas']!r}{where}")


def param_groups(
    model: nn.Module,
    weight_decay: float,
    lr: float | Tensor | None = None,
    layer_decay: float | None = None,
    layers: str | None = None,
) -> list[dict[str, Any]]:
    """The parameters of `model` for an optimizer, split into those that weight decay is for and those it is not.

    Two groups, in this order and even if one is empty: "decay", the matrices (two axes or more: linear layers,
    embeddings), with `weight_decay`; and "no_decay", the rest (the scales of norms, biases), with 0. `lr` goes into
    both where given. The parameters are in the model's order, a tied one once, a frozen one (`requires_grad=False`) not
    at all.

    `layer_decay`, with `lr`, makes the LR smaller the deeper a layer lies, for fine-tuning (Howard & Ruder 2018,
    arXiv 1801.06146; counted as in Clark et al. 2020, arXiv 2003.10555): what comes after the stack of L layers, the
    head, has `lr`; layer i has lr * layer_decay ** (L - i); what comes before it, the embeddings, has
    lr * layer_decay ** (L + 1). Then the groups are "embeddings.decay", "embeddings.no_decay", "layers.0.decay", ...,
    "head.decay", "head.no_decay", the empty ones left out. The stack is the longest `nn.ModuleList` that lies in no
    other (without one, `nn.Sequential`), or the one called `layers`, such as "encoder.blocks"; a pattern, such as
    "stages.*.blocks", lays several end to end. What is before it and after goes by the order of
    `model.named_parameters()`. Children without parameters are no layers.

    Raises ValueError for a layer_decay outside 0 to 1 or without `lr`, where there is no such stack, and where another
    is half as long as the longest: an encoder and a decoder, say.

    >>> groups = param_groups(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), weight_decay=0.1)
    >>> [(group["name"], group["weight_decay"], [tuple(p.shape) for p in group["params"]]) for group in groups]
    [('decay', 0.1, [(3, 2)]), ('no_decay', 0.0, [(3,), (3,), (3,)])]
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]  # a tied one stands there once
    if layer_decay is None:
        if layers is not None:
            raise ValueError("layers names the stack for layer_decay; write layer_decay=0.8, say, or leave it out")
        groups = split_by_decay([p for _, p in trained], weight_decay)
        return groups if lr is None else [group | {"lr": lr} for group in groups]
    if lr is None:
        raise ValueError("layer_decay makes each layer's LR from lr; write lr=3e-4, say")
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay is a factor a layer, above 0 and at most 1, not {layer_decay!r}")
    where, count = places(model, layers)
    groups = []
    for place in range(-1, count + 1):
        name = "embeddings" if place < 0 else "head" if place == count else f"layers.{place}"
        pair = split_by_decay([p for n, p in trained if where[n] == place], weight_decay, f"{name}.")
        groups += [group | {"lr": lr * layer_decay ** (count - place)} for group in pair if group["params"]]
    return groups


def split_by_decay(params: list[nn.Parameter], weight_decay: float, prefix: str = "") -> list[dict[str, Any]]:
    """The two groups of `param_groups`, "decay" and "no_decay", each name after `prefix`."""
    return [
        {"name": f"{prefix}decay", "params": [p for p in params if p.ndim >= 2], "weight_decay": weight_decay},
        {"name": f"{prefix}no_decay", "params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
