"""lehr.depth: the stack of layers of a model, found or named, through `param_groups`."""

import pytest
from torch import nn, zeros

from lehr.depth import places
from lehr.optimizer import param_groups


def linear():
    return nn.Linear(2, 2, bias=False)


def lrs(model, layers=None):
    """Each parameter's LR, as the power of 1/2."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = param_groups(model, 0.1, lr=1.0, layer_decay=0.5, layers=layers)
    found = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert set(found) == set(names.values()), "each parameter is in one group"
    return {name: next(power for power in range(99) if 0.5**power == lr) for name, lr in found.items()}


class Experts(nn.Module):
    """A layer with more experts than the model has layers."""

    def __init__(self):
        super().__init__()
        self.attention, self.experts = linear(), nn.ModuleList(linear() for _ in range(5))


class Tower(nn.Module):
    def __init__(self, layers, kind=linear):
        super().__init__()
        self.embed = linear()
        self.layers = nn.ModuleList(kind() for _ in range(layers))
        self.norm = linear()


def test_a_list_in_a_layer_is_a_part_of_it_however_long_it_is():
    found = lrs(Tower(3, Experts))
    assert found["embed.weight"] == 4 and found["norm.weight"] == 0
    for layer in range(3):
        assert {power for name, power in found.items() if f"layers.{layer}." in name} == {3 - layer}
    mixed = Tower(3)
    mixed.layers[2] = Experts()  # in one layer alone
    assert lrs(mixed)["layers.2.experts.4.weight"] == 1 and lrs(mixed)["layers.0.weight"] == 3


def test_a_list_around_one_thing_is_no_stack():
    model = nn.ModuleDict({"towers": nn.ModuleList([Tower(3)])})
    assert lrs(model)["towers.0.layers.0.weight"] == 3 and lrs(model)["towers.0.norm.weight"] == 0
    assert lrs(Tower(1)) == {"embed.weight": 2, "layers.0.weight": 1, "norm.weight": 0}


def test_between_two_stacks_none_is_chosen_but_both_can_be_laid_end_to_end():
    model = nn.ModuleDict({"encoder": Tower(3), "decoder": Tower(3), "head": linear()})
    with pytest.raises(
        ValueError, match=r"several stacks of layers, 'encoder\.layers' \(3 layers\), 'decoder\.layers'"
    ):
        lrs(model)
    alone = lrs(model, "encoder.layers")
    assert alone["encoder.embed.weight"] == 4 and alone["decoder.layers.0.weight"] == 0
    both = lrs(model, "*.layers")
    assert [both[f"encoder.layers.{i}.weight"] for i in range(3)] == [6, 5, 4]
    assert [both[f"decoder.layers.{i}.weight"] for i in range(3)] == [3, 2, 1]
    assert both["encoder.embed.weight"] == 7 and both["decoder.norm.weight"] == both["head.weight"] == 0
    assert both["encoder.norm.weight"] == both["decoder.embed.weight"] == 4, "between: with the layer before"
    short = nn.ModuleDict({"encoder": Tower(6), "heads": nn.ModuleList([linear(), linear()])})
    assert lrs(short)["encoder.layers.0.weight"] == 6 and lrs(short)["heads.1.weight"] == 0


def test_torchs_own_transformer_has_two():
    model = nn.Transformer(4, 2, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=4, batch_first=True)
    with pytest.raises(ValueError, match=r"write layers='encoder\.layers', say"):
        lrs(model)
    assert set(lrs(model, "*.layers").values()) == {0, 1, 2, 3, 4}


def test_stages_of_blocks_are_told_by_a_pattern():
    model = nn.ModuleDict({"stem": linear(), "stages": nn.ModuleList(nn.Sequential(linear(), linear()) for _ in "abc")})
    assert set(lrs(model).values()) == {4, 3, 2, 1}, "the stages are the layers"
    assert set(lrs(model, "stages.*").values()) == {7, 6, 5, 4, 3, 2, 1}, "each block is one"


def test_children_without_parameters_are_no_layers():
    mlp = nn.Sequential(nn.Flatten(), linear(), nn.ReLU(), linear(), nn.Dropout(), linear())
    assert lrs(mlp) == {"1.weight": 3, "3.weight": 2, "5.weight": 1}


def test_a_body_within_a_sequential_is_found_and_two_such_are_not_chosen_between():
    body = nn.Sequential(*(nn.Sequential(linear(), nn.ReLU(), linear()) for _ in range(4)))
    model = nn.Sequential(linear(), body, linear())
    found = lrs(model)
    assert found["0.weight"] == 5 and found["1.0.2.weight"] == 4 and found["1.3.0.weight"] == 1
    assert found["2.weight"] == 0
    stages = nn.ModuleDict({f"layer{i}": nn.Sequential(*(linear() for _ in range(n))) for i, n in enumerate((3, 4, 6))})
    with pytest.raises(ValueError, match=r"several stacks of layers, 'layer2' \(6 layers\), 'layer0'"):
        lrs(stages)
    assert lrs(stages, "layer*")["layer0.0.weight"] == 13 and lrs(stages, "layer*")["layer2.5.weight"] == 1


def test_a_few_heads_in_a_list_do_not_pass_for_the_layers_in_a_sequential():
    model = nn.ModuleDict({"blocks": nn.Sequential(*(linear() for _ in range(4)))})
    model["heads"] = nn.ModuleList([linear(), linear()])
    with pytest.raises(ValueError, match=r"'heads' \(2 layers\), 'blocks' \(4 layers\)"):
        lrs(model)
    model["heads"] = nn.ModuleList([linear()])
    assert lrs(model)["blocks.0.weight"] == 4 and lrs(model)["heads.0.weight"] == 0


class Tokens(nn.Sequential):
    """A Sequential with a parameter of its own."""

    def __init__(self, *children):
        super().__init__(*children)
        self.token = nn.Parameter(zeros(2, 2))


def test_a_parameter_of_the_stacks_own_lies_before_it():
    assert lrs(Tokens(linear(), linear())) == {"token": 3, "0.weight": 2, "1.weight": 1}
    assert lrs(nn.ModuleDict({"head": linear(), "blocks": Tokens(linear(), linear())}))["blocks.token"] == 3


def test_what_there_is_not_is_told():
    with pytest.raises(
        ValueError, match=r"no stack of layers 'layers' in Transformer; its stacks are 'encoder\.layers'"
    ):
        lrs(nn.Transformer(4, 2, 1, 1, 4, batch_first=True), "layers")
    with pytest.raises(
        ValueError,
        match="no stack of layers in Sequential; its stacks are none: for such a model write the groups by hand",
    ):
        lrs(nn.Sequential(nn.ReLU(), nn.Flatten()))
    assert places(nn.ModuleDict({"a": nn.ModuleList([linear()])})) == ({"a.0.weight": 0}, 1)
