"""Tables of results: mean and standard deviation over the seeds."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

# Column of the CSV file -> heading of the printed table.
ACCURACIES = {
    "test_accuracy": "test acc. %",
    "best_test_accuracy": "best test epoch %",
}


@dataclasses.dataclass(frozen=True)
class View:
    """Columns of a table besides those of every experiment.

    Args:
        fractions: name of a fact between 0 and 1 -> heading. Shown in percent, with deviation.
        counts: name of a fact that is a whole number -> heading. The mean is shown.
        seconds: name of a fact, which ends in `_seconds`, -> heading. The median is shown.
        gap: whether to show the difference to the accuracy of the baseline of the same seed.
        group: name of a row setting. Rows are compared with the baseline that has the same value.
        hidden: headings that the printed table omits.
    """

    fractions: dict[str, str] = dataclasses.field(default_factory=dict)
    counts: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: dict[str, str] = dataclasses.field(default_factory=dict)
    gap: bool = False
    group: str | None = None
    hidden: tuple[str, ...] = ()


PLAIN = View()


@dataclasses.dataclass(frozen=True)
class Results:
    """All runs of an output folder, as tables and for plots.

    Args:
        runs: contents of result files, at least one.
        order: names of the rows, in the order of the table; other rows come last.
        baseline: method of the row that trained parameters and accuracies are compared with.
        view: columns of the table.
        title: of the plots.
        first_trial: returns the data of the first seed.
    """

    runs: Sequence[dict[str, Any]]
    order: Sequence[str]
    baseline: str = "dense"
    view: View = PLAIN
    title: str = ""
    first_trial: Callable[[], Any] | None = None

    def only(self, keep: Callable[[dict[str, Any]], bool]) -> "Results":
        """Return the results of the runs for which `keep(run)` is true."""
        return dataclasses.replace(self, runs=[run for run in self.runs if keep(run)])

    def by_run(self) -> pd.DataFrame:
        """Return a table with one line per run.

        It has accuracies in 0..1, counts, times in seconds and latencies in milliseconds.
        """
        position = {name: i for i, name in enumerate(self.order)}
        ordered = sorted(
            self.runs,
            key=lambda run: (position.get(run["row"], len(position)), run["row"], run["seed"]),
        )
        view = self.view
        facts = (*view.fractions, *view.counts, *view.seconds)
        table = pd.DataFrame([_record(run, facts, view.group) for run in ordered])
        return table.astype(dict.fromkeys(facts, "float64"))

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """The table with one line per row: mean and standard deviation (ddof = 1) over the seeds.

        It has accuracies and fractions in percent (`*_mean` and `*_std`, which is NaN for one
        seed), counts, and medians of times and latencies; `gap_*`, the difference in points to the
        accuracy of the baseline of the same seed; and `trainable_saved`, the percentage of the
        trained parameters of the baseline that a row lacks. The last two need the baseline.
        """
        each, view = self.by_run(), self.view
        groups = each.groupby("row", sort=False)
        table = groups[["group", "method", "rank", "trainable", "stored", "macs"]].first()
        table.insert(3, "seeds", groups["seed"].count())
        shown = [*ACCURACIES, "final_test_accuracy", *view.fractions]
        if view.gap:
            base = each[each["method"] == self.baseline].set_index(["group", "seed"])
            same = pd.MultiIndex.from_frame(each[["group", "seed"]])
            each["gap"] = each["test_accuracy"] - base["test_accuracy"].reindex(same).to_numpy()
            shown.append("gap")
        for name in (*shown, *view.counts):
            scale = 1 if name in view.counts else 100
            table[f"{name}_mean"] = groups[name].mean().mul(scale)
            table[f"{name}_std"] = groups[name].std(ddof=1).mul(scale)
        base = table[table["method"] == self.baseline].set_index("group")
        reference = table["group"].map(base["trainable"].astype("float64"))
        # The group is a column of experiments that have groups.
        table = table.rename(columns={"group": view.group or ""}).drop(columns="", errors="ignore")
        table["trainable_saved"] = 100 * (1 - table["trainable"] / reference)
        measured = [c for c in each.columns if c.endswith(("_seconds", "_ms"))]
        return table.join(groups[measured].median()).reset_index()

    def printable(self) -> pd.DataFrame:
        """Return the table as strings, with mean and deviation in one column."""
        table, view = self.table, self.view
        out = pd.DataFrame({"row": table["row"]})
        out["rank"] = [_count(v) for v in table["rank"]]
        out["seeds"] = table["seeds"].astype(str)
        for name, heading in view.fractions.items():
            out[heading] = _with_deviation(table, name)
        for name, heading in ACCURACIES.items():
            out[heading] = _with_deviation(table, name)
            if view.gap and name == "test_accuracy":
                out["vs dense, points"] = _with_deviation(table, "gap", "+")
        out["trained"] = [_count(v) for v in table["trainable"]]
        out["trained vs dense"] = [
            "" if pd.isna(v) else f"{-v:+.1f} %" if v else "—" for v in table["trainable_saved"]
        ]
        out["stored"] = [_count(v) for v in table["stored"]]
        out["MACs"] = [_count(v) for v in table["macs"]]
        for name, heading in view.counts.items():
            out[heading] = [_count(v) for v in table[f"{name}_mean"].round()]
        times = {"epoch_seconds": "s/epoch", "first_epoch_seconds": "first epoch s"}
        times |= view.seconds
        for column in table.columns:
            if column.startswith("latency_"):
                times[column] = f"ms, batch {column.split('_')[1]}"
        for column, heading in times.items():
            out[heading] = ["" if pd.isna(v) else f"{v:.3g}" for v in table[column]]
        return out.drop(columns=list(view.hidden), errors="ignore")


def _record(run, facts, group):
    return {
        "group": run["row_settings"].get(group, ""),
        "row": run["row"],
        "method": run["row_settings"].get("method", run["row"]),
        "seed": run["seed"],
        "rank": run["facts"].get("rank"),
        "chosen_epoch": run["result"]["chosen_epoch"],
        **{name: run["result"][name] for name in (*ACCURACIES, "final_test_accuracy")},
        **{name: run["facts"].get(name) for name in facts},
        **run["counts"],
        "epoch_seconds": run["seconds"]["epoch"],
        "first_epoch_seconds": run["seconds"]["first_epoch"],
        "projection_seconds": run["facts"].get("projection_seconds"),
        **{f"latency_{item['batch_size']}_ms": item["median_ms"] for item in run["latency"]},
    }


def _with_deviation(table, name, sign=""):
    return [
        ""
        if pd.isna(mean)
        else f"{mean:{sign}.2f}"
        if pd.isna(std)
        else f"{mean:{sign}.2f} ± {std:.2f}"
        for mean, std in zip(table[f"{name}_mean"], table[f"{name}_std"], strict=True)
    ]


def _count(value):
    return "" if pd.isna(value) else f"{int(value):,}"
