"""Generation: the cache changes nothing but the time, and the draws are from the distribution that was asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr.nn import TransformerLM
from lehr.nn.generation import Cache, choose, stream

SIZES = {"vocab_size": 60, "context_length": 24, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TransformerLM(**SIZES)


def prompt(rows=2, seq=5):
    return torch.randint(60, (rows, seq), generator=torch.Generator().manual_seed(1))


@given(first=st.integers(1, 23), rows=st.integers(1, 3))
@settings(max_examples=20)
def test_the_cache_reads_what_the_model_reads(model, first, rows):
    ids = prompt(rows, 24)
    cache = Cache(model, rows, 24)
    with torch.no_grad():
        logits = [cache.read(ids[:, :first]), *(cache.read(ids[:, at : at + 1]) for at in range(first, 24))]
        whole = model(ids)[:, first - 1 :]
    torch.testing.assert_close(torch.stack(logits, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 19, 20, 70])  # the context is full after 19, and once more after that
@pytest.mark.parametrize("how", [{"temperature": 0}, {"seed": 3}, {"seed": 3, "top_k": 5, "top_p": 0.7}])
def test_with_and_without_the_cache_the_ids_are_the_same(model, count, how):
    cached = model.generate(prompt(), count, **how)
    assert torch.equal(cached, model.generate(prompt(), count, cache=False, **how))
    assert cached.shape == (2, 5 + count) and cached.dtype == torch.int64
    assert torch.equal(cached[:, :5], prompt())


def test_greedy_is_the_most_likely_next_id(model):
    ids = prompt(1)
    for _ in range(10):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(model.generate(prompt(1), 10, temperature=0), ids)
    assert torch.equal(model.generate(prompt(1)[0], 10, temperature=0), ids[0]), "one sequence needs no batch axis"


def test_a_full_context_forgets_its_older_half(model):
    long = prompt(1, 24)
    found = model.generate(long, 2, temperature=0)
    assert found[0, 24] == model(long)[0, -1].argmax()
    assert found[0, 25] == model(found[:, 13:25])[0, -1].argmax()
    longer = torch.cat([prompt(1, 9), long], dim=1)  # of a longer prompt the end is read
    assert torch.equal(model.generate(longer, 2, temperature=0)[:, 33:], found[:, 24:])


def test_a_context_of_one_generates():
    tiny = TransformerLM(**{**SIZES, "context_length": 1})
    assert torch.equal(tiny.generate(prompt(), 4, seed=0), tiny.generate(prompt(), 4, seed=0, cache=False))


def test_seeds_repeat_and_without_one_torchs_generator_draws(model):
    assert torch.equal(model.generate(prompt(), 9, seed=1), model.generate(prompt(), 9, seed=1))
    assert not torch.equal(model.generate(prompt(), 9, seed=1), model.generate(prompt(), 9, seed=2))
    state = torch.get_rng_state()
    model.generate(prompt(), 9, seed=1)
    assert torch.equal(state, torch.get_rng_state()), "a seed leaves the global generator alone"
    torch.manual_seed(5)
    one = model.generate(prompt(), 9)
    torch.manual_seed(5)
    assert torch.equal(one, model.generate(prompt(), 9))


def test_it_stops_at_the_end_of_text_and_fills_up_the_rows_that_have_ended(model):
    free = model.generate(prompt(), 15, seed=4)
    stop = int(free[0, 8])
    found = model.generate(prompt(), 15, seed=4, stop=stop)
    for row, before in zip(found[:, 5:].tolist(), free[:, 5:].tolist(), strict=True):
        end = before.index(stop) + 1 if stop in before else len(before)
        assert row[:end] == before[:end] and set(row[end:]) <= {stop}
    alone = model.generate(prompt()[:1], 15, temperature=0)
    stop = int(alone[0, 9])
    first = alone[0, 5:].tolist().index(stop)
    assert model.generate(prompt()[:1], 15, temperature=0, stop=[99, stop]).shape[1] == 5 + first + 1


def test_ids_beyond_the_tokenizers_are_never_drawn(model):
    assert model.generate(prompt(), 50, 5.0, seed=0, vocab_size=7)[:, 5:].max() < 7


def test_the_mode_of_the_model_is_as_before_even_if_nobody_reads_on(model):
    model.train()
    model.generate(prompt(), 2)
    assert model.training
    ids = stream(model, prompt(), 9)
    next(ids)
    assert not model.training
    ids.close()
    assert model.training
    model.eval()


LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def shares(**how):
    """How often each id is drawn."""
    generator = torch.Generator().manual_seed(0)
    drawn = choose(LOGITS.expand(20_000, 4), generator=generator, **how)
    return torch.bincount(drawn, minlength=4) / 20_000


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, [0.6849, 0.2466, 0.0616, 0.0068]),  # squares, normalised
        ({"temperature": 1e-30}, [1, 0, 0, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 9}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.51}, [0.625, 0.375, 0, 0]),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
        ({"top_p": 1}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 3, "top_p": 0.9}, [0.5263, 0.3158, 0.1579, 0]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0]),  # of the two that are left the first has 0.625
    ],
)
def test_draws_are_from_the_distribution_that_was_asked_for(how, expected):
    found = shares(**how)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), atol=0.015, rtol=0)
    assert (found == 0).tolist() == [share == 0 for share in expected]


def test_among_equals_top_k_keeps_as_many_as_it_says():
    drawn = choose(torch.zeros(2000, 8), top_k=3, generator=torch.Generator().manual_seed(0))
    assert len(drawn.unique()) == 3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": -1}, "temperature is 0 .* or above, not -1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k is 1 or more, not 0"),
        ({"top_p": 0}, "top_p is above 0 and at most 1, not 0"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_new_tokens": -1}, "max_new_tokens is 0 or more"),
        ({"vocab_size": 0}, "vocab_size is 1 or more"),
        ({"ids": torch.zeros(1, 0, dtype=torch.int64)}, r"at least one of each, not torch.int64 \[1, 0\]"),
        ({"ids": torch.zeros(2, 3)}, r"whole numbers \[batch, seq\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model, how, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**{"ids": prompt(), "max_new_tokens": 3, **how})


def test_a_diverged_model_says_so():
    model = TransformerLM(**SIZES)
    model.ln_final.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="logits are not finite"):
        model.generate(prompt(), 3)
