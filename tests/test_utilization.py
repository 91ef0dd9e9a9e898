"""The operations of a training step, against those that torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lehr.nn import TransformerLM
from lehr.train.config import Model
from lehr.train.utilization import PEAKS, operations, peak, utilization


def test_operations_are_those_that_torch_counts():
    model = Model(vocab_size=100, context_length=64, d_model=48, num_layers=3, num_heads=4, d_ff=128)
    sizes = {name: value for name, value in vars(model).items() if name != "checkpoint_activations"}
    network = TransformerLM(**sizes)
    ids = torch.randint(100, (5, 64))
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.cross_entropy(network(ids).flatten(0, 1), ids.flatten()).backward()
    parameters = sum(p.numel() for p in network.parameters())
    # the formula counts the norms' weights too, a few thousandths
    assert operations(model, parameters) * ids.numel() == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_longer_name_goes_first():
    names = list(PEAKS)
    for index, name in enumerate(names):
        assert peak(f"NVIDIA {name}") == PEAKS[name], name
        assert not any(name in later and name != later for later in names[index + 1 :]), name


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("NVIDIA GeForce RTX 4090", 165e12), ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None), ("NVIDIA RTX A1000", None), ("NVIDIA L40", 181e12), ("NVIDIA L4", 121e12),
        ("NVIDIA H200 NVL", 835e12), ("NVIDIA GH200 480GB", 989e12), ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA GeForce RTX 3090 Ti", None),
    ],
)  # fmt: skip
def test_a_card_that_shares_part_of_another_name_has_not_its_peak(name, figure):
    assert peak(name) == figure


def test_a_device_whose_peak_is_not_known_has_no_share():
    assert utilization(Model(vocab_size=10), 10_000, 1e6, "some other") is None
    assert utilization(Model(vocab_size=10), 10_000, 1e6, "NVIDIA A100-SXM4-80GB").endswith("in bfloat16 (MFU)")
