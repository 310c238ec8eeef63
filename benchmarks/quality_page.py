"""The page docs/quality.md, from what benchmarks/quality.py measured."""

from collections.abc import Mapping, Sequence
from statistics import mean, mode, stdev
from typing import Any, NamedTuple

from spinlock.analysis.baselines import METHOD_NAMES, REFERENCE

Runs = Sequence[Mapping[str, Any]]

PEER_BEAM = 16  # encodings that faiss's residual quantisers follow

OTHERS = {method: name for method, name in METHOD_NAMES.items() if method != REFERENCE}
CURVE = "operators, random rows"
SIZES = (
    "operators, 1000",
    "operators, random rows",
    "operators, 10000",
    "operators, 40000",
    "operators, 100000",
)
INTRODUCTION = """\
# Quality of the tokens at equal bits

Written by `python -m benchmarks.quality --seeds 0 1 2 3 4 --gradient-steps 280 2800` (`make
quality`: one seed, 280 steps; simulated operators come from `datasets/baseline_100k`, where it
exists); the numbers are in [quality.json](quality.json). All values are R² (the metric `quality`
of [metrics.md](metrics.md)) on test rows that took no part in any fit, as mean ± standard deviation
over seeds. A seed decides split, start and training. For unseen kinds, the three policies or the
four kinds of initial condition are held out in turn: of five seeds two repeat a policy, one a kind.

## How to read it

- *start*: categories, linear embeddings, residual k-means, and a decoder fitted to these (ridge
  regression and a network), without end-to-end training.
- *trained*: after end-to-end training, the longest one measured (where training does not lower
  the validation error, the start is kept).
- *best peer*: the best of faiss PQ and RQ with 4-bit and 8-bit books and of PCA + Lloyd–Max,
  **picked on the test rows**, fitted on the same normalised train rows, with no fewer bits than
  the budget, or with as many as it can use.
- **Bold**: the higher mean, even if three digits do not show the difference.
- The summary shows the model that is shipped: *trained* where that was measured, else *start*.
- Where both numbers of bits are given, few columns or rows limit them: three levels of books with
  at most half as many codes as there are train rows hold fewer bits than the budget, and peers may
  not be able to use all bits either.

## Tables

- *Operators* are simulated: 4,000 of them where no number is given. In *unseen policy* and
  *unseen initial kind*, all operators of one evolution policy, or of one kind of initial condition,
  are test rows.
- *Foreign operators* come from a file that another program wrote (`--foreign FILE`; without it,
  its excerpt under `tests/data/`).
- *Photographs* are colour patches of 8 × 8 pixels of the two photographs in scikit-learn, which
  *digits*, *breast cancer*, *wine* and *diabetes* come from, too.
- *Messy* tables are the same with gaps, infinities, constant columns, repeats and outliers put in.
- *Shared factors* and *blobs* are synthetic and made to be hard for categories: all columns depend
  on common factors, or on the same clusters, which every category has to encode again.
- *Counts* (low counts of sixty kinds of events) and *mixed kinds* (lognormal columns, counts, yes
  or no, curves) are synthetic as well, and imitate tables of people and of instruments.

## Remarks

Columns of photographs, of cells (breast cancer) and of a few operators (the foreign ones) all vary
together. No categories of them are independent, and *orthogonality* misses its target of 0.25.

Some peers do not improve with more bits: RQ with 8-bit books where there are hardly more than 256
rows, and PQ of digits, whose books end up with one column each, and k-means finds no code for the
few rows in which such a column varies.

RQ keeps a beam of {beam} encodings, in fitting and in encoding (its default is 5; ours is 8). Ours
is measured again as it changes, one table at a time, with the date below. Tables of 10,000
operators and more were cleaned in the way of before 2026-12-02 (since then, gaps and equal values
no longer make the caps of outliers tighter: 5 % fewer values of operators are capped). The change
moved the means of other tables of operators by at most 0.002.
"""


CURVE_SHOWN = """\
![R² on test rows against bits per operator](images/quality.svg)

*R² against bits: operators, random rows; mean and standard deviation over seeds. Ours is the start
from data, without end-to-end training.*
"""
FINDINGS = """\
For a single seed, training changes R² on test rows by {low:+.4f} to {high:+.4f}; the largest gain
is at {rows} train rows, {bits} bits and {steps} gradient steps. Where training does not lower the
validation error, the start is what is shipped.
"""
GROWTH = """\
Mean gain of {steps} gradient steps at {bits} bits by train rows: {gains}.
"""


def page(results: Mapping[str, Runs]) -> str:
    """Return the whole page."""
    parts = [INTRODUCTION.format(beam=PEER_BEAM), "## Summary\n", summary_table(results)]
    if CURVE in results:
        parts.append(CURVE_SHOWN)
    parts.append(scaling(results))
    parts += [f"## {name}\n\n{table_of(runs)}" for name, runs in results.items()]
    return "\n".join(parts).rstrip() + "\n"


def best_peer(run: Mapping[str, Any], bits: float) -> Mapping[str, Any]:
    """Return what was measured of the best of the other methods, see `peer_at`."""
    found = [peer_at(run, method, bits) for method in OTHERS]
    return max((one for one in found if one is not None), key=lambda one: one["quality"])


def peer_at(run: Mapping[str, Any], method: str, bits: float) -> Mapping[str, Any] | None:
    """Return what was measured of a method at the first budget that is no less than `bits`.

    Where it cannot spend so many, at the most that it can; None where it was not measured.
    """
    known = sorted(
        (one for one in run["others"] if one["method"] == method), key=lambda one: one["bits"]
    )
    enough = [one for one in known if one["bits"] >= bits]
    return (enough or known[-1:])[0] if known else None


def quality_at(run: Mapping[str, Any], method: str, bits: float) -> float | None:
    """Return the R² of what `peer_at` finds."""
    found = peer_at(run, method, bits)
    return None if found is None else found["quality"]


def budgets_of(runs: Runs) -> list[int]:
    """Return the budgets that any of the runs was measured at, ascending."""
    return sorted({one["budget"] for run in runs for one in run["ours"]})


def measured_at(runs: Runs, budget: int) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the runs that were measured at a budget, each with our measurement there."""
    return [(run, one) for run in runs for one in run["ours"] if one["budget"] == budget]


def shipped(one: Mapping[str, Any]) -> float:
    """Return what a user gets: the model of the longest training, else the start."""
    lengths = trainings(one)
    return lengths[max(lengths)] if lengths else one["quality"]


def trainings(one: Mapping[str, Any]) -> dict[int, float]:
    """Return the R² of trained models by their number of gradient steps."""
    return {int(steps): value for steps, value in one.get("trained", {}).items()}


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def against(own: Sequence[float], peer: Sequence[float]) -> tuple[str, str]:
    """Return both as text, the better one bold."""
    left, right = spread(own), spread(peer)
    return (f"**{left}**", right) if mean(own) >= mean(peer) else (left, f"**{right}**")


def summary_table(results: Mapping[str, Runs]) -> str:
    """Return ours beside the best peer at 96, 160 and 288 bits, for all tables."""
    lines = [
        "| ours / best peer | train rows × columns | seeds | 96 bits | 160 bits | 288 bits |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        cells = []
        for budget in (96, 160, 288):
            known = measured_at(runs, budget)
            peers = [best_peer(run, budget) for run, _ in known]
            cells.append(_compared([one for _, one in known], peers, budget) if known else "–")
        size = f"{_range(runs, 'train_rows')} × {_range(runs, 'columns')}"
        lines.append(f"| {name} | {size} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _compared(
    own: Sequence[Mapping[str, Any]], peers: Sequence[Mapping[str, Any]], budget: int
) -> str:
    """Return ours beside peers of the same seeds, and the bits of both where one spent fewer."""
    bits = [mean(one["bits"] for one in measured) for measured in (own, peers)]
    told = "" if min(bits) > budget - 1 else f" ({bits[0]:.0f} / {bits[1]:.0f} bits)"
    quality = [shipped(one) for one in own], [one["quality"] for one in peers]
    return " / ".join(against(*quality)) + told


def _range(runs: Runs, name: str) -> str:
    """Return the least and the most of a number over seeds."""
    least, most = (choose(run[name] for run in runs) for choose in (min, max))
    return f"{least}" if least == most else f"{least}–{most}"


def scaling(results: Mapping[str, Runs]) -> str:
    """Return what training adds to its start as rows grow."""
    lines = [
        "## Training and the number of rows\n",
        "What end-to-end training adds to its start, random rows of simulated operators:\n",
        "| train rows | bits | gradient steps | seeds | start | trained | gain | best peer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in SIZES:
        runs = results.get(name, [])
        for budget in budgets_of(runs):
            measured = measured_at(runs, budget)
            for steps in sorted({steps for _, one in measured for steps in trainings(one)}):
                known = [(run, one) for run, one in measured if steps in trainings(one)]
                start = [one["quality"] for _, one in known]
                trained = [trainings(one)[steps] for _, one in known]
                gain = [b - a for a, b in zip(start, trained, strict=True)]
                peer = [best_peer(run, budget)["quality"] for run, _ in known]
                lines.append(
                    f"| {known[0][0]['train_rows']} | {budget} | {steps} | {len(known)} | "
                    f"{spread(start)} | {spread(trained)} | {mean(gain):+.4f} | "
                    f"{spread(peer)} |"
                )
    return "\n".join(lines) + "\n" + _findings(results)


class Gain(NamedTuple):
    """What a training added to the R² of its start."""

    gain: float
    rows: int
    bits: int
    steps: int


def _findings(results: Mapping[str, Runs]) -> str:
    """Return what the table says, in words."""
    gains = [
        Gain(trained - one["quality"], run["train_rows"], one["budget"], steps)
        for name in SIZES
        for run in results.get(name, [])
        for one in run["ours"]
        for steps, trained in trainings(one).items()
    ]
    if not gains:
        return ""
    low, high = min(gains), max(gains)
    found = FINDINGS.format(low=low.gain, high=high.gain, **high._asdict())
    return f"\n{found}\n{_growth(gains)}"


def _growth(gains: Sequence[Gain]) -> str:
    """Return the gain of the longest trainings by rows, at the bits that most sizes have."""
    longest = max(one.steps for one in gains)
    sizes = {(one.rows, one.bits) for one in gains if one.steps == longest}
    budget = mode(bits for _, bits in sorted(sizes))
    told = []
    for rows in sorted(rows for rows, bits in sizes if bits == budget):
        some = [one for one in gains if one[1:] == (rows, budget, longest)]
        told.append(f"{mean(one.gain for one in some):+.4f} at {rows}")
    return GROWTH.format(steps=longest, bits=budget, gains=", ".join(told))


def _when(runs: Runs) -> str:
    """Return when ours was measured: the program may have become better since."""
    last = max(one["measured_on"] for run in runs for one in run["ours"])
    return f"measured up to {last}"


def table_of(runs: Runs) -> str:
    """Return the curve of R² against bits of one table, all methods."""
    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    lines = [
        f"{_range(runs, 'train_rows')} train rows, {_range(runs, 'test_rows')} test rows, "
        f"{_range(runs, 'columns')} columns, {seeds}; ours {_when(runs)}.\n",
        "| budget | our bits | categories | start | trained | "
        + " | ".join(OTHERS.values())
        + f" | {METHOD_NAMES[REFERENCE]} | utilization | orthogonality |",
        "|---" * (8 + len(OTHERS)) + "|",
    ]
    for budget in budgets_of(runs):
        known = measured_at(runs, budget)
        trained = [shipped(one) for _, one in known if trainings(one)]
        part = "" if len(known) == len(runs) else f" ({len(known)} of the seeds)"
        cells = [
            f"{budget}{part}",
            f"{mean(one['bits'] for _, one in known):.0f}",
            f"{mean(one['categories'] for _, one in known):.0f}",
            spread([one["quality"] for _, one in known]),
            _trained(trained, len(known)),
            *(_other([run for run, _ in known], method, budget) for method in OTHERS),
            _other([run for run, _ in known], REFERENCE, budget),
            f"{mean(one['utilization'] for _, one in known):.2f}",
            f"{mean(one['orthogonality'] for _, one in known):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _trained(values: Sequence[float], seeds: int) -> str:
    """Return what training reaches, and of how many seeds where not of all."""
    if not values:
        return "–"
    return spread(values) + ("" if len(values) == seeds else f" ({len(values)} of {seeds} seeds)")


def _other(runs: Sequence[Mapping[str, Any]], method: str, budget: int) -> str:
    found = [value for run in runs if (value := quality_at(run, method, budget)) is not None]
    return spread(found) if found else "–"
