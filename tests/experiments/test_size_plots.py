"""Plots of accuracy and size, and which points are on the Pareto front."""

import numpy as np
import pytest

from harness import size_plots, tables

pytestmark = pytest.mark.backend_free

VIEW = tables.View(
    fractions={"activation_sparsity": "zero activations %"}, counts={"gzip_bytes": "gzip"}
)


@pytest.fixture
def runs(outcome):
    def one(row, seed, accuracy, size):
        made = outcome(accuracy=accuracy)
        made["facts"] = {"gzip_bytes": size, "activation_sparsity": 0.4}
        return {"row": row, "seed": seed, "row_settings": {"method": row}, **made}

    return [
        run
        for seed in (1, 2)
        for run in (
            one("dense", seed, 0.99 - 0.001 * seed, 1_000_000),
            one("perfect", seed, 1.0, 2_000_000),
            one("failed", seed, 0.1 * seed, 900_000 + seed),
            one("pruned", seed, 0.98, 200_000),
        )
    ]


@pytest.mark.parametrize("seeds", [{1}, {1, 2}])
def test_both_plots(tmp_path, runs, seeds):
    results = tables.Results(runs, [], view=VIEW).only(lambda run: run["seed"] in seeds)
    size_plots.accuracy_and_size(results, tmp_path / "bars.png")
    size_plots.accuracy_against_size(results, tmp_path / "front.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.png", "front.png"]


def test_one_row_is_its_own_front(tmp_path, runs):
    size_plots.accuracy_against_size(
        tables.Results(runs[:1], [], view=VIEW), tmp_path / "front.png"
    )
    assert (tmp_path / "front.png").exists()


@pytest.mark.parametrize(
    ("sizes", "errors", "expected"),
    [
        ([1, 2, 3], [3, 2, 1], [True, True, True]),
        ([1, 2, 3], [1, 2, 3], [True, False, False]),
        ([1, 1, 2], [2, 1, 1], [False, True, False]),
        # Equal points do not beat each other.
        ([1, 1], [2, 2], [True, True]),
    ],
)
def test_the_front(sizes, errors, expected):
    assert size_plots.on_front(np.array(sizes), np.array(errors)).tolist() == expected


def test_the_front_by_its_definition(rng):
    sizes, errors = rng.integers(0, 6, (2, 40))
    points = list(zip(sizes, errors, strict=True))
    beaten = [
        any(s <= size and e <= error and (s, e) != (size, error) for s, e in points)
        for size, error in points
    ]
    assert size_plots.on_front(sizes, errors).tolist() == [not b for b in beaten]
