"""From result files to one table: mean and standard deviation over the seeds."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

# Column of the CSV file -> heading of the printed table.
ACCURACIES = {
    "test_accuracy": "test acc. %",
    "best_test_accuracy": "best test epoch %",
}


def frame(runs: Sequence[dict[str, Any]], order: Sequence[str]) -> pd.DataFrame:
    """Put one run in one line.

    Args:
        runs: Contents of result files.
        order: Names of the rows, in the order of the table; others come last.

    Returns:
        A frame with row, method, seed, rank, accuracies (in 0..1), counts, times in seconds and
        latencies in milliseconds.
    """
    position = {name: i for i, name in enumerate(order)}
    ordered = sorted(
        runs, key=lambda run: (position.get(run["row"], len(order)), run["row"], run["seed"])
    )
    return pd.DataFrame([_record(run) for run in ordered])


def _record(run):
    return {
        "row": run["row"],
        "method": run["row_settings"].get("method", run["row"]),
        "seed": run["seed"],
        "rank": run["facts"].get("rank"),
        "chosen_epoch": run["result"]["chosen_epoch"],
        **{name: run["result"][name] for name in (*ACCURACIES, "final_test_accuracy")},
        **run["counts"],
        "epoch_seconds": run["seconds"]["epoch"],
        "first_epoch_seconds": run["seconds"]["first_epoch"],
        "projection_seconds": run["facts"].get("projection_seconds"),
        **{f"latency_{item['batch_size']}_ms": item["median_ms"] for item in run["latency"]},
    }


def summary(runs: Sequence[dict[str, Any]], order: Sequence[str], baseline: str) -> pd.DataFrame:
    """Put one row in one line: mean and standard deviation (ddof = 1) over the seeds.

    Args:
        runs: Contents of result files, at least one.
        order: Names of the rows, in the order of the table.
        baseline: Row that the numbers of trained parameters are compared with.

    Returns:
        A frame with accuracies in per cent (`*_mean`, `*_std`; the latter NaN for one seed),
        counts, medians of times and latencies, and `trainable_saved`, the per cent of the
        baseline's trained parameters that a row does without (NaN without baseline).
    """
    each = frame(runs, order)
    groups = each.groupby("row", sort=False)
    table = groups[["method", "rank", "trainable", "stored", "macs"]].first()
    table.insert(2, "seeds", groups["seed"].count())
    for name in (*ACCURACIES, "final_test_accuracy"):
        table[f"{name}_mean"] = groups[name].mean().mul(100)
        table[f"{name}_std"] = groups[name].std(ddof=1).mul(100)
    reference = float(table["trainable"].reindex([baseline]).iloc[0])
    table["trainable_saved"] = 100 * (1 - table["trainable"] / reference)
    measured = [c for c in each.columns if c.endswith(("_seconds", "_ms"))]
    return table.join(groups[measured].median()).reset_index()


def printable(table: pd.DataFrame) -> pd.DataFrame:
    """Format a `summary` for reading: strings, one column for a mean with its deviation."""
    out = pd.DataFrame({"row": table["row"]})
    out["rank"] = [_count(v) for v in table["rank"]]
    out["seeds"] = table["seeds"].astype(str)
    for name, heading in ACCURACIES.items():
        out[heading] = [
            f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} ± {std:.2f}"
            for mean, std in zip(table[f"{name}_mean"], table[f"{name}_std"], strict=True)
        ]
    out["trained"] = [_count(v) for v in table["trainable"]]
    out["trained vs dense"] = [
        "" if pd.isna(v) else f"{-v:+.1f} %" if v else "—" for v in table["trainable_saved"]
    ]
    out["stored"] = [_count(v) for v in table["stored"]]
    out["MACs"] = [_count(v) for v in table["macs"]]
    out["s/epoch"] = [f"{v:.3g}" for v in table["epoch_seconds"]]
    out["first epoch s"] = [f"{v:.3g}" for v in table["first_epoch_seconds"]]
    for column in table.columns:
        if column.startswith("latency_"):
            heading = f"ms, batch {column.split('_')[1]}"
            out[heading] = [f"{v:.3g}" for v in table[column]]
    return out


def _count(value):
    return "" if pd.isna(value) else f"{int(value):,}"
