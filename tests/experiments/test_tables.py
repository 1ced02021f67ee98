"""Values of the table against values computed by hand."""

import math

import pytest

from harness import tables

pytestmark = pytest.mark.backend_free


@pytest.fixture
def runs(outcome):
    def one(row, seed, **values):
        method = row.split("-")[0]
        return {"row": row, "seed": seed, "row_settings": {"method": method}, **outcome(**values)}

    return [
        one("pca-8", 44, accuracy=0.56, best=0.6, trainable=50, rank=8, epoch=3.0),
        one("pca-8", 42, accuracy=0.50, best=0.6, trainable=50, rank=8, epoch=1.0),
        one("pca-8", 43, accuracy=0.53, best=0.6, trainable=50, rank=8, epoch=10.0),
        one("dense", 42, accuracy=0.52, trainable=1000),
    ]


def test_mean_and_sample_standard_deviation(runs):
    table = tables.Results(runs, ["dense", "pca-8"]).table.set_index("row")
    assert list(table.index) == ["dense", "pca-8"]
    pca = table.loc["pca-8"]
    assert pca["test_accuracy_mean"] == pytest.approx(53)
    # Deviations -3, 0, 3: sqrt((9 + 0 + 9) / 2).
    assert pca["test_accuracy_std"] == pytest.approx(3)
    assert pca["best_test_accuracy_mean"] == pytest.approx(60)
    assert (pca["seeds"], pca["rank"], pca["trainable"]) == (3, 8, 50)
    assert pca["epoch_seconds"] == 3.0
    assert pca["latency_1_ms"] == 0.25
    assert pca["trainable_saved"] == pytest.approx(95)
    dense = table.loc["dense"]
    assert math.isnan(dense["test_accuracy_std"])
    assert math.isnan(dense["rank"])
    assert dense["trainable_saved"] == 0


def test_the_printed_table(runs):
    readable = tables.Results(runs, ["dense", "pca-8"]).printable()
    dense, pca = readable.to_dict("records")
    assert pca["test acc. %"] == "53.00 ± 3.00"
    assert dense["test acc. %"] == "52.00"
    assert (dense["trained"], pca["trained"]) == ("1,000", "50")
    assert (dense["trained vs dense"], pca["trained vs dense"]) == ("—", "-95.0 %")
    assert (dense["rank"], pca["rank"]) == ("", "8")
    assert pca["ms, batch 1"] == "0.25"


def test_rows_without_the_baseline(runs):
    results = tables.Results(runs[:3], ["dense", "pca-8"])
    assert results.table["trainable_saved"].isna().all()
    assert results.printable()["trained vs dense"].tolist() == [""]


def test_one_line_per_run_in_the_order_of_the_rows(runs):
    frame = tables.Results(runs, ["pca-8", "dense"]).by_run()
    assert list(zip(frame["row"], frame["seed"], strict=True)) == [
        ("pca-8", 42),
        ("pca-8", 43),
        ("pca-8", 44),
        ("dense", 42),
    ]


def test_counts_are_means_without_a_fraction(runs):
    for run, count in zip(runs, (1000, 1001, 1003, None), strict=True):
        run["facts"] |= {} if count is None else {"bytes": count}
    view = tables.View(counts={"bytes": "file, bytes"})
    results = tables.Results(runs, ["dense", "pca-8"], view=view)
    table = results.table.set_index("row")
    assert table.loc["pca-8", "bytes_mean"] == pytest.approx(3004 / 3)
    # Deviations -4/3, -1/3, 5/3: sqrt((16 + 1 + 25) / 18).
    assert table.loc["pca-8", "bytes_std"] == pytest.approx(math.sqrt(42 / 18))
    readable = results.printable()
    assert readable["file, bytes"].tolist() == ["", "1,001"]


def test_fractions_and_the_gap_to_the_baseline(runs):
    for run, fraction in zip(runs, (0.8, 0.9, None, None), strict=True):
        run["facts"] |= {} if fraction is None else {"sparsity": fraction}
    runs[1]["seed"], runs[3]["seed"] = 42, 44
    view = tables.View(fractions={"sparsity": "zeros %"}, gap=True, hidden=("rank", "MACs"))
    results = tables.Results(runs, ["dense", "pca-8"], view=view)
    pca = results.table.set_index("row").loc["pca-8"]
    # Means of the present values; dense has only seed 44, with 52 %.
    assert pca["sparsity_mean"] == pytest.approx(85)
    assert pca["gap_mean"] == pytest.approx(4)
    dense, readable = results.printable().to_dict("records")
    assert (dense["zeros %"], dense["vs dense, points"]) == ("", "+0.00")
    assert readable["zeros %"] == "85.00 ± 7.07"
    assert not {"rank", "MACs"} & readable.keys()


def test_rows_of_a_group_are_compared_with_its_own_baseline(outcome):
    def one(network, method, seed, accuracy, trainable):
        made = outcome(accuracy=accuracy, trainable=trainable)
        made["facts"] = {"making_seconds": 10.0 * seed}
        settings = {"method": method, "network": network}
        return {"row": f"{network}.{method}", "seed": seed, "row_settings": settings, **made}

    runs = [
        one("a", "dense", 1, 0.9, 100),
        one("a", "dense", 2, 0.8, 100),
        one("b", "dense", 1, 0.5, 1000),
        one("a", "thin", 1, 0.7, 25),
        one("a", "thin", 2, 0.7, 25),
        one("b", "thin", 1, 0.6, 100),
        one("c", "thin", 1, 0.6, 100),
    ]
    view = tables.View(seconds={"making_seconds": "making s"}, gap=True, group="network")
    results = tables.Results(runs, [], view=view)
    table = results.table.set_index("row")
    assert table["network"].to_dict()["b.thin"] == "b"
    assert table.loc["a.thin", "gap_mean"] == pytest.approx(-15)
    assert table.loc["b.thin", "gap_mean"] == pytest.approx(10)
    assert math.isnan(table.loc["c.thin", "gap_mean"])
    assert table.loc["a.thin", "trainable_saved"] == pytest.approx(75)
    assert table.loc["b.thin", "trainable_saved"] == pytest.approx(90)
    assert math.isnan(table.loc["c.thin", "trainable_saved"])
    readable = results.printable().set_index("row")
    assert readable.loc["a.thin", "making s"] == "15"
    assert readable.loc["a.thin", "vs dense, points"] == "-15.00 ± 7.07"
