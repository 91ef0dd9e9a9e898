"""Muon for the matrices of a model, AdamW for the rest, in one optimizer under one schedule."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lehr.optimizer import AdamW, split_by_decay
from lehr.sharding import is_split

__all__ = ["Muon", "muon_groups", "orthogonalized"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic: they take singular values to about 1 in few steps


class Muon(AdamW):
    """Momentum, orthogonalized (Jordan et al. 2024, "Muon"; the size of the step as Liu et al. 2025, arXiv 2502.16982).

    For the groups that have `matrix=True`, of parameters with two axes. Update of such an x [rows, columns] with
    gradient g:

        m = momentum m + (1 - momentum) g            n = momentum m + (1 - momentum) g       (Nesterov's)
        x = x - lr weight_decay x - lr 0.2 sqrt(max(rows, columns)) orthogonalized(n)

    An entry of that step has a root mean square of about 0.2, as AdamW's have, so that one LR and one weight decay
    serve both. All other groups are updated as by `lehr.optimizer.AdamW`, whose other arguments, `skip` and
    `last_grad_norm` these are; the state of a matrix is `step` and `momentum`. `muon_groups` makes the groups.

    The momentum is each matrix group's own, `group["momentum"]`, for a schedule of it to set
    (`Scheduler(momentum=...)`, which in the other groups sets betas[0]); the argument is for those that come without.

    `dtype`: in what the matrices are multiplied; float32 where the hardware has no bfloat16. ValueError as AdamW's, for
    a momentum outside [0, 1), a matrix group with a parameter that has not two axes, no matrix group at all, and for
    the state dict of an optimizer with other matrix groups.

    >>> x = torch.eye(2, requires_grad=True)
    >>> optimizer = Muon([{"params": [x], "matrix": True}], lr=0.1, weight_decay=0.0)
    >>> (x * torch.tensor([[3.0, 0.0], [0.0, 0.5]])).sum().backward()
    >>> optimizer.step()
    >>> bool(x[0, 0] < 1 and x[1, 1] < 1)  # both by nearly as much: the gradient's size has no say
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        max_grad_norm: float | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum!r}")
        self.momentum, self.dtype = momentum, dtype
        super().__init__(params, lr, betas, eps, weight_decay, max_grad_norm)
        if not any(group.get("matrix") for group in self.param_groups):
            raise ValueError(
                'Muon has no group of matrices, and would be AdamW alone; write {"params": ..., "matrix": True}, or '
                "lehr.muon.muon_groups(model, model.layers, weight_decay)"
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As AdamW's; a group with `matrix=True` must have nothing but matrices."""
        given = param_group["params"]
        param_group = {**param_group, "params": [given] if isinstance(given, Tensor) else list(given)}
        if param_group.get("matrix"):
            if not 0 <= param_group.setdefault("momentum", self.momentum) < 1:
                raise ValueError(f"momentum must be in [0, 1), got {param_group['momentum']!r}")
            for p in param_group["params"]:
                p = p[1] if isinstance(p, tuple) else p  # named
                if p.ndim != 2:
                    raise ValueError(f"Muon is for matrices; a parameter {list(p.shape)} belongs to another group")
                if is_split(p):
                    raise ValueError("Muon needs whole matrices; this one is split over processes (FSDP)")
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of a `Muon`, in copies; ValueError where other groups are of matrices than here."""
        pairs = zip(self.param_groups, state_dict["param_groups"], strict=False)  # torch refuses another number of them
        for index, (here, there) in enumerate(pairs):
            if bool(here.get("matrix")) != bool(there.get("matrix")):
                raise ValueError(
                    f"this state dict is not of a Muon with these groups: parameter group "
                    f"{here.get('name', index)!r} is of matrices {'here' if here.get('matrix') else 'there'} alone"
                )
        super().load_state_dict(state_dict)

    def _keys(self, group: dict[str, Any]) -> set[str]:
        return {"step", "momentum"} if group.get("matrix") else super()._keys(group)

    def _update(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Tensor]],
        group: dict[str, Any],
        divisor: Tensor | None,
        skip: Tensor | None,
    ) -> None:
        if not group.get("matrix"):
            super()._update(params, grads, states, group, divisor, skip)
            return
        if divisor is not None:
            grads = list(torch._foreach_div(grads, divisor))
        means = [state["momentum"] for state in states]
        if skip is not None:  # m goes towards itself, and the matrices by 0: nothing changes, whatever g is
            grads = [torch.where(skip, mean, grad) for mean, grad in zip(means, grads, strict=True)]
        momentum = group["momentum"]
        torch._foreach_lerp_(means, grads, 1 - momentum)
        ahead = torch._foreach_lerp(grads, means, momentum)
        lr, decay = group["lr"], group["lr"] * group["weight_decay"]
        if skip is not None:
            lr, decay = (torch.where(skip, 0.0, x) for x in (lr, decay))
        torch._foreach_mul_(params, 1 - decay)
        for p, direction in zip(params, _orthogonalized_together(ahead, self.dtype), strict=True):
            p.sub_(direction.to(p.dtype) * (lr * 0.2 * max(p.shape) ** 0.5))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "momentum": self.momentum, "dtype": self.dtype}


def orthogonalized(x: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """x [..., rows, columns] with its singular values brought to about 1, in the shape of x.

    That is U V^T of the singular value decomposition, nearly, by `steps` of a Newton-Schulz iteration in `dtype`
    (Jordan et al. 2024), without the decomposition. Five steps bring those above a hundredth of the matrix's norm to
    between 0.65 and 1.25; one far below that stays small, and a matrix of zeros stays one.

    >>> torch.linalg.svdvals(orthogonalized(torch.tensor([[3.0, 1.0], [0.0, 0.2]]))).round(decimals=1)
    tensor([1.0000, 0.7000])
    """
    wide = x.shape[-2] <= x.shape[-1]
    y = (x if wide else x.mT).to(dtype)
    y = y / (torch.linalg.matrix_norm(y.float(), keepdim=True) + 1e-7).to(dtype)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        square = y @ y.mT  # [..., n, n] of the smaller side
        y = a * y + (b * square + c * (square @ square)) @ y
    done: Tensor = y if wide else y.mT
    return done


def _orthogonalized_together(matrices: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """`orthogonalized` of each, those of one shape (or its transpose) in one batch: fewer and larger products."""
    places: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        places[tuple(sorted(matrix.shape))].append(index)
    out: dict[int, Tensor] = {}
    for indices in places.values():
        tall = [matrices[i].shape[0] > matrices[i].shape[1] for i in indices]
        batch = torch.stack([_turned(matrices[i].to(dtype), t) for i, t in zip(indices, tall, strict=True)])
        for i, t, direction in zip(indices, tall, orthogonalized(batch, dtype=dtype), strict=True):
            out[i] = _turned(direction, t)
    return [out[index] for index in range(len(matrices))]


def _turned(matrix: Tensor, turn: bool) -> Tensor:
    return matrix.T if turn else matrix


def muon_groups(model: nn.Module, layers: Iterable[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """The parameters of `model` for `Muon`: "matrices", those with two axes in `layers`, with `matrix=True`; then
    "decay" and "no_decay" of all others, as `lehr.optimizer.param_groups` splits them. Embeddings and head, outside the
    layers, are AdamW's (Jordan et al. 2024). Frozen parameters are left out.

    >>> model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5))
    >>> [(group["name"], len(group["params"])) for group in muon_groups(model, [model[1]], 0.1)]
    [('matrices', 1), ('decay', 2), ('no_decay', 2)]
    """
    inside = {id(p) for layer in layers for p in layer.parameters() if p.ndim == 2}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if id(p) in inside]
    return [
        {"name": "matrices", "params": matrices, "weight_decay": weight_decay, "matrix": True},
        *split_by_decay([p for p in trained if id(p) not in inside], weight_decay),
    ]
