"""The resume contract: a saved schedule that is not the code's is refused, unless another way on is chosen."""

import copy
import re
import warnings

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from stepping import lrs_used, named, optimizer_with, through_a_file, values
from strategies import schedules

import lehr
from lehr.integrations.resume import MISMATCH, settle
from lehr.integrations.torch import Scheduler, constant_product, scale_by_batch

OLD, NEW = lehr.cosine(total=100, warmup=10), lehr.cosine(total=200, warmup=10)


def saved_after(updates, lr, optimizer=None, **options):
    optimizer = optimizer or optimizer_with(0.1, weight_decay=0.1, momentum=0.9)
    scheduler = Scheduler(optimizer, lr, **options)
    lrs_used(optimizer, scheduler, updates)
    return through_a_file(scheduler.state_dict())


def loaded(state, lr, on_mismatch="error", optimizer=None, **options):
    optimizer = optimizer or optimizer_with(0.1, weight_decay=0.1, momentum=0.9)
    scheduler = Scheduler(optimizer, lr, on_mismatch=on_mismatch, **options)
    scheduler.load_state_dict(state)
    return scheduler


def test_the_refusal_is_one_line_with_both_texts_both_lrs_and_the_four_ways_on():
    with pytest.raises(ValueError, match="the saved schedule differs") as error:
        loaded(saved_after(50, OLD), NEW)
    told = str(error.value)
    for schedule in (OLD, NEW):
        assert f"'{schedule}' (LR {0.1 * schedule(50):.6g} at step 50)" in told
    assert all(f'on_mismatch="{way}"' in told for way in MISMATCH) and "\n" not in told


def test_saved_and_new_take_one_of_the_two_and_extend_goes_from_one_along_the_other():
    state = saved_after(50, OLD)
    for way, expected in (("saved", OLD), ("new", NEW), ("extend", OLD.extend(NEW, at=50))):
        scheduler = loaded(state, NEW, way)
        assert scheduler.lr == expected and scheduler.last_epoch == 50
        assert scheduler.get_last_lr() == [0.1 * expected(50)]
        assert lrs_used(scheduler.optimizer, scheduler, 160) == [[0.1 * expected(step)] for step in range(50, 210)]


def test_an_equal_schedule_is_no_mismatch_however_it_was_written():
    state = saved_after(50, OLD)
    for way in MISMATCH:
        assert loaded(state, lehr.parse("linear 10% to 1, cosine rest to 0.1", total=100), way).lr == OLD
        assert loaded(state, {"*": OLD}, way).lr == OLD


def test_a_refusal_leaves_everything_as_it_was():
    scheduler = Scheduler(optimizer_with(0.1), NEW)
    before, lr = scheduler.state_dict(), scheduler.get_last_lr()
    with pytest.raises(ValueError, match="differs"):
        scheduler.load_state_dict(saved_after(50, OLD))
    assert scheduler.state_dict() == before and scheduler.get_last_lr() == lr


@pytest.mark.parametrize("where", ["lr", "head", "weight_decay"])
def test_a_text_that_was_changed_after_it_was_saved_is_refused_by_name(where):
    """It was taken in silence where the code has the same schedule, or keeps to the saved one."""
    other = {"head": OLD, "*": OLD}
    given = {"lr": other if where == "head" else OLD, "weight_decay": OLD}

    def one():
        optimizer = named(head=0.1, body=0.5)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.1
        return optimizer

    state = saved_after(20, given["lr"], one(), weight_decay=OLD)
    whole = copy.deepcopy(state)
    if where == "lr":
        state["schedule"] = str(NEW)
    elif where == "head":
        state["schedule"]["head"] = str(NEW)
    else:
        state["others"]["weight_decay"]["schedule"] = str(NEW)
    name = {"lr": "lr", "head": "lr['head']", "weight_decay": "weight_decay"}[where]
    told = f"text of {name}, {str(NEW)!r}, has the fingerprint {NEW.fingerprint}, and the state has {OLD.fingerprint}"
    for way in ("error", "saved", "extend"):
        scheduler = Scheduler(one(), **given, on_mismatch=way)
        before = scheduler.state_dict()
        with pytest.raises(ValueError, match=re.escape(told)):
            scheduler.load_state_dict(state)
        assert scheduler.state_dict() == before, "nothing was taken over"
        scheduler.load_state_dict(whole)
    taken = Scheduler(one(), **given, on_mismatch="new")  # for which the saved text is nothing
    taken.load_state_dict(state)
    assert taken.get_last_lr() == [0.1 * OLD(20), 0.5 * OLD(20)]


@pytest.mark.parametrize("change", [{"schedule": None}, {"fingerprint": None}, {"fingerprint": "0" * 12}], ids=str)
def test_a_fingerprint_without_its_text_and_the_reverse_are_refused(change):
    with pytest.raises(ValueError, match=r"the saved text of lr, .* has the fingerprint .*, and the state has .*"):
        loaded({**saved_after(20, OLD), **change}, OLD)


@pytest.mark.parametrize("way", ["error", "saved", "new", "extend"])
@pytest.mark.parametrize(
    "change", [{"last_epoch": s} for s in ("12", None, -5, float("nan"))] + [{"skipped": s} for s in ("a", -4)], ids=str
)
def test_a_step_that_is_none_is_refused_before_anything_is_taken_over(change, way):
    [(name, value)] = change.items()
    scheduler = Scheduler(optimizer_with(0.1), OLD, on_mismatch=way)
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match=rf"the saved {name} is {value!r}, which is no number of updates"):
        scheduler.load_state_dict({**saved_after(20, OLD), **change})
    assert scheduler.state_dict() == before and scheduler.get_last_lr() == [0.1 * OLD(0)]


def test_a_text_that_cannot_be_read_is_told_as_the_saved_one():
    with pytest.raises(ValueError, match=r"^the saved text of lr cannot be read: .*unknown shape 'mine'"):
        loaded({**saved_after(20, OLD), "schedule": "mine 100 from 1 to 0"}, OLD)


@given(schedules(longest=60), st.integers(0, 80))
def test_every_state_that_is_saved_has_the_fingerprint_of_its_text(schedule, step):
    scheduler = Scheduler(optimizer_with(0.1), schedule)
    scheduler.step(step)
    warnings.simplefilter("ignore")  # of low peaks
    assert loaded(scheduler.state_dict(), schedule, "saved").state_dict() == scheduler.state_dict()


def test_extending_goes_on_exactly_when_it_is_stopped_and_resumed_again():
    """Each restart of a requeued job says on_mismatch="extend" again: the curve is extended once, not at each."""
    state = saved_after(50, OLD)
    whole = loaded(state, NEW, "extend")
    expected = lrs_used(whole.optimizer, whole, 150)
    part = loaded(state, NEW, "extend")
    assert lrs_used(part.optimizer, part, 40) == expected[:40]
    for way in ("extend", "error", "saved"):
        again = loaded(through_a_file(part.state_dict()), NEW, way)
        assert again.lr == OLD.extend(NEW, at=50)
        assert lrs_used(again.optimizer, again, 110) == expected[40:]
    assert loaded(part.state_dict(), NEW, "new").lr == NEW
    with pytest.raises(ValueError, match="differs"):
        loaded(part.state_dict(), lehr.cosine(total=300, warmup=10))


def test_extending_a_run_that_has_ended_at_0_is_told_to_stay_there():
    state = saved_after(30, lehr.linear(total=30))
    with pytest.warns(
        UserWarning, match="is at 0 at step 30, .* nothing more would be learned; on_mismatch=.new. takes"
    ):
        scheduler = loaded(state, lehr.linear(total=60), "extend")
    assert scheduler.lr == lehr.linear(total=30).extend(lehr.linear(total=60), at=30)


def test_extending_before_the_first_update_takes_the_new_one():
    assert loaded(saved_after(0, OLD), NEW, "extend").lr == NEW


@given(schedules(whole=True, longest=60, samples=("end",)), schedules(whole=True, longest=60, samples=("end",)))
def test_extend_is_schedule_extend_for_any_two(saved, here):
    assume(saved.fingerprint != here.fingerprint)
    assert settle(saved, here, 20, "saved") is saved and settle(saved, here, 20, "new") is here
    assert settle(saved, saved, 20) is saved
    with pytest.raises(ValueError, match="the saved schedule differs"):
        settle(saved, here, 20)
    warnings.simplefilter("ignore")  # that it stays at 0, where it does
    try:
        expected = saved.extend(here, at=20)
    except ValueError as error:  # no room for it, or a shape that cannot start from there
        with pytest.raises(ValueError, match=re.escape(str(error))):
            settle(saved, here, 20, "extend")
    else:
        assert settle(saved, here, 20, "extend") == expected


@given(st.sampled_from(MISMATCH), st.integers(1, 120))
def test_loading_twice_is_loading_once(way, updates):
    state = saved_after(updates, OLD)
    scheduler = Scheduler(optimizer_with(0.1), OLD, on_mismatch=way)
    for _ in range(2):
        scheduler.load_state_dict(state)
        assert scheduler.state_dict() == state and scheduler.get_last_lr() == [0.1 * OLD(updates)]


# --- groups and other hyperparameters ---


def test_the_group_whose_schedule_differs_is_named_with_its_own_lr():
    two = {"head": OLD, "*": lehr.constant(100)}
    state = saved_after(50, two, named(head=0.1, body=0.5))
    with pytest.raises(ValueError, match="the saved schedule for 'head' differs") as error:
        loaded(state, {**two, "head": NEW}, optimizer=named(head=0.1, body=0.5))
    assert f"LR {0.1 * OLD(50):.6g} at step 50" in str(error.value)
    for way, expected in (("saved", OLD), ("new", NEW), ("extend", OLD.extend(NEW, at=50))):
        scheduler = loaded(state, {**two, "head": NEW}, way, optimizer=named(head=0.1, body=0.5))
        assert scheduler.lr == {"head": expected, "*": lehr.constant(100)}
        assert values(scheduler.optimizer, "lr") == [0.1 * expected(50), 0.5]


def test_other_patterns_are_a_mismatch():
    state = saved_after(50, {"head": OLD, "*": NEW}, named(head=0.1, body=0.5))
    for way in ("error", "extend"):
        with pytest.raises(
            ValueError, match=r"the saved schedule differs: lr was scheduled by 'head': .*, here it is sch"
        ):
            loaded(state, OLD, way, optimizer=named(head=0.1, body=0.5))
    assert loaded(state, OLD, "new", optimizer=named(head=0.1, body=0.5)).lr == OLD
    assert loaded(state, OLD, "saved", optimizer=named(head=0.1, body=0.5)).lr == {"head": OLD, "*": NEW}
    with pytest.raises(
        ValueError, match=r"no pattern of lr \('head'\) fits parameter group 'x'"
    ):  # the saved patterns fit no group here
        loaded(saved_after(5, {"head": OLD}, named(head=0.1)), OLD, "saved", optimizer=named(x=0.1))
    scheduler = Scheduler(named(x=0.1), OLD, on_mismatch="saved")
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match="no pattern of lr"):
        scheduler.load_state_dict(saved_after(5, {"head": OLD}, named(head=0.1)))
    assert scheduler.state_dict() == before, "nothing was taken over"


def test_weight_decay_is_under_the_same_contract():
    state = saved_after(50, OLD, weight_decay=OLD)
    with pytest.raises(ValueError, match=r"saved schedule of weight_decay differs: .*weight_decay 0\.061\d+ at"):
        loaded(state, OLD, weight_decay=NEW)
    for way, expected in (("saved", OLD), ("new", NEW), ("extend", OLD.extend(NEW, at=50))):
        scheduler = loaded(state, OLD, way, weight_decay=NEW)
        assert values(scheduler.optimizer, "weight_decay") == [0.1 * expected(50)]
    with pytest.raises(ValueError, match=r"differs: weight_decay was scheduled by .*, here it is not scheduled"):
        loaded(state, OLD)
    with pytest.raises(ValueError, match="differs: momentum was not scheduled, here it is scheduled by"):
        loaded(state, OLD, weight_decay=OLD, momentum=NEW)
    assert values(loaded(state, OLD, "saved").optimizer, "weight_decay") == [0.1 * OLD(50)]
    assert "weight_decay" not in loaded(state, OLD, "new").targets


def test_a_function_and_a_schedule_are_a_mismatch_and_two_functions_cannot_be_compared():
    function = saved_after(50, lambda step: 0.5)
    for way in ("error", "saved", "extend"):
        with pytest.raises(ValueError, match=r'that of a plain function, here it is .*; write on_mismatch="new"'):
            loaded(function, OLD, way)
    assert loaded(function, OLD, "new").lr == OLD
    for way in ("error", "extend"):
        with pytest.raises(ValueError, match="here it is a plain function"):
            loaded(saved_after(50, OLD), lambda step: 0.5, way)
    assert loaded(saved_after(50, OLD), lambda step: 0.5, "saved").lr == OLD
    assert loaded(function, lambda step: 0.25).get_last_lr() == [0.025]
    with pytest.raises(ValueError, match=r"saved lr\['\*'\] was a plain function, which no state can hold"):
        loaded(function, {"head": OLD}, "saved", optimizer=named(head=0.1))


def test_a_state_that_was_saved_without_a_scheduler_does_not_make_its_current_lr_the_peak():
    foreign = optimizer_with(0.003, weight_decay=0.007, momentum=0.9)
    optimizer = optimizer_with(0.1, weight_decay=0.1, momentum=0.9)
    scheduler = Scheduler(optimizer, OLD, weight_decay=OLD)
    optimizer.load_state_dict(foreign.state_dict())
    optimizer.step()
    scheduler.step()
    assert values(optimizer, "lr") == values(optimizer, "weight_decay") == [0.1 * OLD(1)]


def test_a_loaded_peak_that_is_not_the_codes_is_told():
    first = optimizer_with(0.1)
    scheduler = Scheduler(first, OLD)
    lrs_used(first, scheduler, 5)
    second = optimizer_with(0.2)
    resumed = Scheduler(second, OLD)
    second.load_state_dict(first.state_dict())
    with pytest.warns(UserWarning, match=r"brings initial_lr=0\.1 for parameter group 0, which had 0\.2 here"):
        resumed.load_state_dict(scheduler.state_dict())
    assert resumed.get_last_lr() == [0.1 * OLD(5)]
    second.param_groups[0]["initial_lr"] = 0.2
    resumed.refresh()
    assert resumed.get_last_lr() == [0.2 * OLD(5)]


def test_what_is_told_points_to_the_line_that_stepped():
    first, second = optimizer_with(0.1), optimizer_with(0.2)
    Scheduler(first, OLD)
    resumed = Scheduler(second, OLD)
    lrs_used(second, resumed, 1)
    second.load_state_dict(first.state_dict())
    with pytest.warns(UserWarning, match=r"brings initial_lr=0\.1") as told:
        resumed.step()
    assert [each.filename for each in told if "brings" in str(each.message)] == [__file__]


@pytest.mark.parametrize("way", ["saved", "new", "extend"])
def test_the_first_update_has_the_chosen_schedules_lr_whichever_is_loaded_first(way):
    first = optimizer_with(0.1)
    scheduler = Scheduler(first, OLD)
    lrs_used(first, scheduler, 80)
    saved = through_a_file([first.state_dict(), scheduler.state_dict()])
    expected = {"saved": OLD, "new": NEW, "extend": OLD.extend(NEW, at=80)}[way]
    for optimizer_first in (True, False):
        second, used = optimizer_with(0.1), []
        resumed = Scheduler(second, NEW, on_mismatch=way)
        if optimizer_first:
            second.load_state_dict(saved[0])
        resumed.load_state_dict(saved[1])
        if not optimizer_first:
            second.load_state_dict(saved[0])
            assert resumed.record()["lr"] == 0.1 * expected(80), "what is told is what will be used"
        second.register_step_post_hook(lambda optimizer, *_: used.append(values(optimizer, "lr")))  # noqa: B023
        lrs_used(second, resumed, 2)
        assert used == [[0.1 * expected(80)], [0.1 * expected(81)]]


@pytest.mark.parametrize("order", ["optimizer scheduler", "scheduler optimizer", "optimizer look scheduler"])
def test_a_state_without_initial_values_never_becomes_the_peak_in_any_order(order):
    foreign = optimizer_with(0.003).state_dict()
    state = saved_after(50, OLD, optimizer_with(0.1))
    optimizer, used = optimizer_with(0.1), []
    scheduler = Scheduler(optimizer, OLD)
    for act in order.split():
        if act == "optimizer":
            optimizer.load_state_dict(foreign)
        elif act == "scheduler":
            scheduler.load_state_dict(state)
        else:
            assert scheduler.base_lrs == [0.1] and scheduler.record()["lr"] == 0.1 * OLD(0)
    optimizer.register_step_post_hook(lambda optimizer, *_: used.append(values(optimizer, "lr")))
    lrs_used(optimizer, scheduler, 2)
    assert used == [[0.1 * OLD(50)], [0.1 * OLD(51)]]


@pytest.mark.parametrize("order", ["optimizer scheduler", "scheduler optimizer"])
def test_new_takes_the_codes_peak_and_weight_decay_too(order):
    first = optimizer_with(0.1, weight_decay=0.1)
    state = saved_after(50, OLD, first, weight_decay=NEW)
    second, used = optimizer_with(0.2, weight_decay=0.3), []
    resumed = Scheduler(second, OLD, weight_decay=NEW, on_mismatch="new")
    for which in order.split():
        second.load_state_dict(first.state_dict()) if which == "optimizer" else resumed.load_state_dict(state)
    second.register_step_post_hook(lambda o, *_: used.append(values(o, "lr") + values(o, "weight_decay")))
    lrs_used(second, resumed, 2)
    assert used == [[0.2 * OLD(50), 0.3 * NEW(50)], [0.2 * OLD(51), 0.3 * NEW(51)]]


def test_a_loaded_weight_decay_that_is_not_the_codes_is_told():
    first = optimizer_with(0.1, weight_decay=0.1)
    state = saved_after(50, OLD, first, weight_decay=NEW)
    second = optimizer_with(0.1, weight_decay=0.2)
    resumed = Scheduler(second, OLD, weight_decay=NEW)
    second.load_state_dict(first.state_dict())
    with pytest.warns(
        UserWarning, match=r"brings initial_weight_decay=0\.1 for parameter group 0, which had 0\.2 here"
    ):
        resumed.load_state_dict(state)
    assert len(resumed.told) == 1 and values(second, "weight_decay") == [0.1 * NEW(50)]


@pytest.mark.parametrize("order", ["optimizer scheduler", "scheduler optimizer"])
def test_a_weight_decay_that_is_scheduled_no_more_is_the_initial_one_again(order):
    first = optimizer_with(0.1, weight_decay=0.1)
    state = saved_after(50, OLD, first, weight_decay=OLD)
    second = optimizer_with(0.1, weight_decay=0.1)
    resumed = Scheduler(second, OLD, on_mismatch="new")
    for which in order.split():
        second.load_state_dict(first.state_dict()) if which == "optimizer" else resumed.load_state_dict(state)
    second.step()
    assert values(second, "weight_decay") == [0.1]


@pytest.mark.parametrize("way", MISMATCH)
def test_an_optimizer_that_was_loaded_first_with_another_peak_is_told_at_construction(way):
    first = optimizer_with_defaults(lr=0.1, weight_decay=0.5)
    state = saved_after(5, OLD, first, weight_decay=NEW)
    second = optimizer_with_defaults(lr=0.2, weight_decay=0.5)
    second.load_state_dict(first.state_dict())
    with pytest.warns(UserWarning, match=r"made with lr=0\.2 and has loaded initial_lr=0\.1, which goes on; .*refresh"):
        resumed = Scheduler(second, OLD, weight_decay=NEW, on_mismatch=way)
    resumed.load_state_dict(state)  # no warning: an error would follow
    assert resumed.get_last_lr() == [0.1 * OLD(5)]
    third = optimizer_with_defaults(lr=0.1, weight_decay=0.25)
    third.load_state_dict(first.state_dict())
    with pytest.warns(UserWarning, match=r"made with weight_decay=0\.25 and has loaded initial_weight_decay=0\.5"):
        Scheduler(third, OLD, weight_decay=NEW)


def optimizer_with_defaults(**settings):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **settings)


@pytest.mark.parametrize("tensor", ["first", "second"])
def test_a_peak_in_a_tensor_and_the_same_as_a_number_are_the_same(tensor):
    """Warnings are errors here: float32 has 0.1 as 0.10000000149."""
    lrs = (torch.tensor(0.1), 0.1, 0.1) if tensor == "first" else (0.1, torch.tensor(0.1), torch.tensor(0.1))
    first, second, third = (optimizer_with_defaults(lr=lr, foreach=False) for lr in lrs)
    state = saved_after(5, OLD, first)
    resumed = Scheduler(second, OLD)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(state)
    third.load_state_dict(first.state_dict())
    assert loaded(state, OLD, optimizer=third).get_last_lr() == [pytest.approx(0.1 * OLD(5))]


def test_what_the_code_says_in_its_groups_is_no_other_peak():
    """Warnings are errors here: groups with values of their own, a second scheduler, a default that nobody gave."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2)]
    for settings in ({"lr": 0.3}, {}):
        first = torch.optim.SGD([dict(group) for group in groups], **settings)
        state = saved_after(5, OLD, first)
        Scheduler(first, OLD)
    again = torch.optim.SGD([dict(group) for group in groups])
    again.load_state_dict(first.state_dict())
    loaded(state, OLD, optimizer=again)
    half = torch.optim.SGD([groups[0], {"params": [torch.nn.Parameter(torch.zeros(1))]}], lr=0.2)
    half.load_state_dict(first.state_dict())
    loaded(state, OLD, optimizer=half)


# --- couplings: they go with the schedule that goes on ---

FLOORED, LONGER = lehr.cosine(total=100, warmup=10, final=0.1), lehr.cosine(total=200, warmup=20, final=0.1)


@pytest.mark.parametrize("way", ["saved", "new", "extend"])
@pytest.mark.parametrize("order", ["optimizer scheduler", "scheduler optimizer"])
def test_lr_times_weight_decay_stays_what_it_is_whichever_schedule_goes_on(way, order):
    first = optimizer_with(0.1, weight_decay=0.5)
    state = saved_after(50, FLOORED, first, weight_decay=constant_product(FLOORED))
    second = optimizer_with(0.1, weight_decay=0.5)
    resumed = Scheduler(second, LONGER, weight_decay=constant_product(LONGER), on_mismatch=way)
    for which in order.split():
        second.load_state_dict(first.state_dict()) if which == "optimizer" else resumed.load_state_dict(state)
    expected = {"saved": FLOORED, "new": LONGER, "extend": FLOORED.extend(LONGER, at=50)}[way]
    for step in range(50, 210):
        second.step()  # what was loaded is set before an update, at the latest
        assert values(second, "lr") == [0.1 * expected(step)]
        assert values(second, "lr")[0] * values(second, "weight_decay")[0] == pytest.approx(0.05, rel=1e-12)
        resumed.step()
    again = loaded(through_a_file(resumed.state_dict()), LONGER, way, second, weight_decay=constant_product(LONGER))
    assert again.lr == expected and again.targets["weight_decay"]["*"].schedule == expected


def test_another_schedule_within_a_coupling_is_refused_with_the_weight_decays_of_both():

    def lr(step):  # which nobody can look into
        return 0.5

    state = saved_after(50, lr, weight_decay=constant_product(FLOORED))
    with pytest.raises(ValueError, match="the saved schedule of weight_decay differs") as error:
        loaded(state, lr, weight_decay=constant_product(LONGER))
    for schedule in (FLOORED, LONGER):
        assert f"'{schedule}' (weight_decay {0.1 / schedule(50):.6g} at step 50)" in str(error.value)
    assert loaded(state, lr, weight_decay=constant_product(FLOORED)).targets["weight_decay"]["*"].schedule == FLOORED


def test_another_coupling_is_a_mismatch_that_saved_or_new_settle():
    saved, here = constant_product(FLOORED), constant_product(FLOORED, most=5)
    state = saved_after(50, OLD, weight_decay=saved)
    for curve in (here, FLOORED, lambda step: 1.0):
        for way in ("error", "extend") if curve is not here else ("error",):
            with pytest.raises(ValueError, match=r"of weight_decay is that of constant_product\('lin.*'\), here it is"):
                loaded(state, OLD, way, weight_decay=curve)
        assert loaded(state, OLD, "saved", weight_decay=curve).targets["weight_decay"]["*"] == saved
        assert loaded(state, OLD, "new", weight_decay=curve).targets["weight_decay"]["*"] == curve
    assert loaded(state, OLD, "saved").targets["weight_decay"]["*"] == saved, "though the code schedules none"
    with pytest.raises(ValueError, match=r"is that of constant_product\('.*', most=5\), here it is constant_product"):
        loaded(saved_after(50, OLD, weight_decay=here), OLD, weight_decay=saved)


def test_extending_goes_on_under_the_limit_that_the_code_has():
    to_0 = lehr.linear(200, warmup=20)
    state = saved_after(50, FLOORED, weight_decay=constant_product(FLOORED))
    scheduler = loaded(state, to_0, "extend", weight_decay=constant_product(to_0, most=20))
    assert scheduler.targets["weight_decay"]["*"] == constant_product(FLOORED.extend(to_0, at=50), most=20)
    lrs_used(scheduler.optimizer, scheduler, 150)
    assert values(scheduler.optimizer, "weight_decay") == [0.1 * 20]


def test_a_coupling_that_cannot_go_with_the_schedule_that_goes_on_is_refused_and_nothing_is_taken_over():
    state = saved_after(50, FLOORED, weight_decay=constant_product(FLOORED))
    options = {"weight_decay": constant_product(LONGER)}
    scheduler = Scheduler(optimizer_with(0.1, weight_decay=0.1), LONGER, on_mismatch="saved", **options)
    falling = lehr.linear(100)
    changed = {"schedule": str(falling), "fingerprint": falling.fingerprint}
    to_0 = dict(state, others={"weight_decay": {**state["others"]["weight_decay"], **changed}})
    with pytest.raises(ValueError, match="goes to an LR of 0, where no weight decay holds"):
        scheduler.load_state_dict(to_0)
    assert scheduler.last_epoch == 0


def test_batch_sizes_are_the_codes_and_the_schedule_is_under_the_contract():
    def batch(step):
        return 256 if step < 60 else 1024

    state = saved_after(50, scale_by_batch(OLD, batch, reference=256))
    assert (state["schedule"], state["fingerprint"]) == (str(OLD), OLD.fingerprint)
    with pytest.raises(ValueError, match=r"the saved schedule differs: saved .* at step 50"):
        loaded(state, scale_by_batch(NEW, batch, reference=256))
    for way, expected in (("saved", OLD), ("new", NEW), ("extend", OLD.extend(NEW, at=50))):
        scheduler = loaded(state, scale_by_batch(NEW, batch, reference=256), way)
        assert scheduler.lr == scale_by_batch(expected, batch, reference=256)
        scheduler.optimizer.step()
        scheduler.step(70)
        assert scheduler.get_last_lr() == [0.1 * (expected(70) * 2)] and scheduler.record()["phase"] == "decay"
    assert loaded(state, scale_by_batch(OLD, batch, reference=64), "saved").lr.reference == 256
    with pytest.raises(ValueError, match=r"was scale_by_batch\('.*', reference=256\), whose batch sizes no state"):
        loaded(state, OLD, "saved")
