"""The curve of R² against bits in docs/quality.md, from what benchmarks/quality.py measured."""

from statistics import mean, stdev

from matplotlib.figure import Figure

from benchmarks.quality_page import OTHERS, Runs, ours_at, peer_at
from spinlock.analysis.figures.style import GREY, PALETTE, color_of, marker_of, new_figure, styled

REFERENCE = "gaussian_reference"


@styled
def quality_figure(runs: Runs) -> Figure:
    """Draw R² on test rows against bits for one table: mean and standard deviation over seeds."""
    figure = new_figure(3.4, 6.4)
    axes = figure.subplots()
    budgets = [one["budget"] for one in runs[0]["ours"]]
    for i, (method, name) in enumerate({**OTHERS, REFERENCE: "Gaussian reference"}.items(), 1):
        reached = [[peer_at(run, method, bits) for run in runs] for bits in budgets]
        known = [
            (bits, mean(found), stdev(found) if len(found) > 1 else 0.0)
            for bits, values in zip(budgets, reached, strict=True)
            if (found := [one for one in values if one is not None])
        ]
        if not known:
            continue
        x, y, error = zip(*known, strict=True)
        if method == REFERENCE:
            axes.plot(x, y, color=GREY, linestyle="--", label=name)
        else:
            axes.errorbar(
                x, y, error, color=color_of(i), marker=marker_of(7 * i), linewidth=1, label=name
            )
    own = [[ours_at(run, bits)["quality"] for run in runs] for bits in budgets]
    axes.errorbar(
        budgets,
        [mean(values) for values in own],
        [stdev(values) if len(values) > 1 else 0.0 for values in own],
        color=PALETTE[0], marker="o", markersize=6, linewidth=2, zorder=5,
        label="spinlock, start",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(budgets, [str(bits) for bits in budgets])
    axes.minorticks_off()
    axes.set_xlabel("bits per operator")
    axes.set_ylabel("R² on test rows")
    axes.grid(linewidth=0.3, color="#DDDDDD")
    figure.legend(loc="outside right upper")
    return figure
