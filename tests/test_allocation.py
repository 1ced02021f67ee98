"""`allocate`: the least loss under budgets."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sac._allocation import Option, OutOfBudget, allocate

pytestmark = pytest.mark.backend_free

NAMES = ("parameters", "macs")


@st.composite
def problems(draw):
    """Return parts with options, and budgets between the cheapest and the dearest."""
    names = NAMES[: draw(st.integers(1, 2))]
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        options = draw(st.integers(1, 5))
        losses, costs = rng.random(options), rng.integers(0, 20, (options, len(names)))
        parts.append(
            [
                Option(float(a), dict(zip(names, map(float, b), strict=True)), i)
                for i, (a, b) in enumerate(zip(losses, costs, strict=True))
            ]
        )
    level = draw(st.floats(0.0, 1.0))
    budgets = {}
    for name in names:
        least, most = (sum(f(o.costs[name] for o in part) for part in parts) for f in (min, max))
        budgets[name] = least + level * (most - least)
    return parts, budgets


def fits(chosen, budgets):
    return all(sum(o.costs[n] for o in chosen) <= limit for n, limit in budgets.items())


@given(problems())
def test_against_all_choices(problem):
    parts, budgets = problem
    possible = [c for c in itertools.product(*parts) if fits(c, budgets)]
    try:
        chosen = allocate(parts, budgets)
    except OutOfBudget:
        # With one budget, the cheapest options are a choice.
        assert len(budgets) == 2
        return
    assert fits(chosen, budgets)
    assert all(option in part for option, part in zip(chosen, parts, strict=True))
    total = sum(o.loss for o in chosen)
    best = min(sum(o.loss for o in c) for c in possible)
    # The relaxation is off by at most what one part can lose.
    assert total <= best + max(max(o.loss for o in p) - min(o.loss for o in p) for p in parts)


def convex(rng, parts, options):
    found = []
    for _ in range(parts):
        losses = np.cumsum(np.sort(rng.random(options)))[::-1]
        cost = float(rng.integers(1, 9))
        found.append(
            [Option(float(x), {"macs": cost * i}, i) for i, x in enumerate(losses, start=1)]
        )
    return found


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_near_the_lower_bound_where_losses_are_convex(level, rng):
    parts = convex(rng, parts=12, options=20)
    budget = level * sum(part[-1].costs["macs"] for part in parts)
    total = sum(o.loss for o in allocate(parts, {"macs": budget}))
    # The dual of the problem: no choice has less loss.
    prices = np.linspace(0, 2, 2001)
    dual = max(
        sum(min(o.loss + p * o.costs["macs"] for o in part) for part in parts) - p * budget
        for p in prices
    )
    assert dual <= total + 1e-9 <= 1.01 * dual


def test_pairs_are_exchanged():
    # At any price both parts would take the middle, and the budget has room for one more.
    first = [Option(4.0, {"macs": 1}), Option(1.0, {"macs": 2}), Option(0.0, {"macs": 4})]
    second = [Option(3.0, {"macs": 0}), Option(2.9, {"macs": 1})]
    chosen = allocate([first, second], {"macs": 4})
    assert [o.loss for o in chosen] == [0.0, 3.0]


def test_of_options_without_loss_the_cheapest():
    part = [Option(0.0, {"macs": 9}), Option(0.0, {"macs": 2}), Option(1.0, {"macs": 1})]
    assert allocate([part], {"macs": 100})[0].costs["macs"] == 2


def test_the_cheaper_of_equal_losses_still_meets_both_budgets():
    # By a common price the second option is cheaper; it spends more than all parameters.
    options = [
        Option(0.0, {"parameters": 5, "macs": 100}),
        Option(0.0, {"parameters": 9, "macs": 1}),
    ]
    (chosen,) = allocate([options], {"parameters": 8, "macs": 100})
    assert chosen.costs == {"parameters": 5, "macs": 100}


def test_no_option_or_no_choice():
    part = [Option(1.0, {"macs": 3, "parameters": 9}), Option(0.0, {"macs": 9, "parameters": 3})]
    with pytest.raises(OutOfBudget, match="smallest possible macs are 3. Received: a budget of 2"):
        allocate([part], {"macs": 2})
    with pytest.raises(OutOfBudget, match="No choice meets all budgets at once"):
        allocate([part], {"macs": 4, "parameters": 4})


def test_many_parts_with_two_budgets(rng):
    parts = []
    for _ in range(60):
        losses = np.sort(rng.random(300))[::-1] * rng.random()
        steps = np.arange(1, 301) * rng.integers(1, 200)
        parts.append(
            [
                Option(float(x), {"macs": float(c), "parameters": float(c * k)})
                for x, c, k in zip(losses, steps, 1 + rng.random(300), strict=True)
            ]
        )
    budgets = {n: 0.5 * sum(part[-1].costs[n] for part in parts) for n in NAMES}
    chosen = allocate(parts, budgets)
    assert fits(chosen, budgets)
    uniform = sum(part[149].loss for part in parts)
    assert sum(o.loss for o in chosen) < 0.8 * uniform
