"""The curve of R² against bits in docs/quality.md, from what benchmarks/quality.py measured."""

from collections.abc import Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure

from benchmarks.quality_page import OTHERS, Runs, budgets_of, measured_at, quality_at
from spinlock.analysis.baselines import METHOD_NAMES, REFERENCE
from spinlock.analysis.figures.style import GREY, MARKERS, PALETTE, color_of, new_figure, styled


@styled
def quality_figure(runs: Runs) -> Figure:
    """Draw R² on test rows against bits for one table: mean and standard deviation over seeds."""
    figure = new_figure(3.4, 6.4)
    axes = figure.subplots()
    budgets = budgets_of(runs)
    known = {b: [run for run, _ in measured_at(runs, b)] for b in budgets}
    reference = _curve(
        budgets, [[quality_at(run, REFERENCE, b) for run in known[b]] for b in budgets]
    )
    if reference:
        axes.plot(*reference[:2], color=GREY, linestyle="--", label=METHOD_NAMES[REFERENCE])
    for i, (method, name) in enumerate(OTHERS.items(), 1):
        peer = _curve(budgets, [[quality_at(run, method, b) for run in known[b]] for b in budgets])
        if peer:
            axes.errorbar(*peer, color=color_of(i), marker=MARKERS[i], linewidth=1, label=name)
    own = _curve(budgets, [[one["quality"] for _, one in measured_at(runs, b)] for b in budgets])
    axes.errorbar(
        *own, color=PALETTE[0], marker="o", markersize=6, linewidth=2, zorder=5,
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


def _curve(
    budgets: Sequence[int], reached: Sequence[Sequence[float | None]]
) -> list[tuple[float, ...]]:
    """Return budgets, means and standard deviations, of the budgets that were reached at all."""
    known = [
        (bits, mean(found), stdev(found) if len(found) > 1 else 0.0)
        for bits, values in zip(budgets, reached, strict=True)
        if (found := [one for one in values if one is not None])
    ]
    return list(zip(*known, strict=True))
