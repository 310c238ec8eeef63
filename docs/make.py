"""Write what is generated: templates of settings, blocks of the pages, pictures of the README.

The rule graph comes from Snakemake, the table of quality from docs/quality.md; the table of targets
and the pictures from results/arch_summary, made by `make all`, and stay as they are where those
results are not there.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from spinlock import Tokenizer
from spinlock.analysis.baselines import METHOD_NAMES
from spinlock.features.series import describe_series, restore_series
from spinlock.settings.documentation import dataset_yaml, default_yaml

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEMPLATE = ROOT / "configs/vqvae/default.yaml"
API = ROOT / "docs/api.md"
LAYOUT = ROOT / "docs/dataset-layout.md"
QUALITY = ROOT / "docs/quality.md"
METRICS = ROOT / "results/arch_summary/metrics.json"
REPORT = "results/arch_summary/report.html"
FIGURES = ROOT / "results/arch_summary/figures"
PICTURES = ROOT / "docs/images"
PICTURED = ("rate_distortion", "correlation", "token_meanings")
PICTURE_WIDTH, PICTURE_COLORS = 900, 256  # small enough for a repository
EDGE = re.compile(r"^\s*(id\d+) --> (id\d+)$")
NODE = re.compile(r"^\s*(id\d+)\[(\w+)\]$")


def rule_graph() -> str:
    """Return the rules and what follows what, as a Mermaid diagram."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js", "--forceall", REPORT]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = shown.splitlines()
    names = {match[1]: match[2] for line in lines if (match := NODE.match(line))}
    arrows = [match.groups() for line in lines if (match := EDGE.match(line))]
    edges = sorted(f"  {names[before]} --> {names[after]}" for before, after in arrows)
    return "\n".join(["```mermaid", "flowchart LR", *edges, "```"])


def target_table() -> str:
    """Return the seed's targets with the values reached, and the baselines."""
    measured = json.loads(METRICS.read_text(encoding="utf-8"))
    counted = measured["rows"]
    tested = f"{counted['test']:,}, test"
    paired = "test" if counted["pairs_of"] <= counted["test"] else "test and validation"
    of = {
        "utilization": f"all {counted['utilization_of']:,}",
        "topographic": f"pairs of {counted['pairs_of']:,}, {paired}",
    }
    rows = [
        f"| {t['name']} | {'<' if t['below'] else '>'} {t['target']:.2f} | {t['value']:.3f} "
        f"| {of.get(t['name'], tested)} |"
        for t in measured["targets"]
    ]
    methods = sorted(measured["baselines"].items(), key=lambda one: -one[1]["quality"])
    compared = [
        f"| {METHOD_NAMES[name]} | {one['bits']:.0f} | {one['quality']:.3f} |"
        for name, one in methods
    ]
    capped, before = measured["quality_by_feature"], measured["quality_before_caps"]
    ours = f"| **spinlock** | {measured['bits']['nominal']:.0f} | **{measured['quality']:.3f}** |"
    return "\n".join(
        [
            "Default experiment:",
            "",
            "| metric | target | reached | rows |",
            "|---|---|---|---|",
            *rows,
            "",
            "| method | bits per operator | quality (R²) |",
            "|---|---|---|",
            ours,
            *compared,
            "",
            "Quality is measured on features whose outliers cleaning has capped "
            f"({before['capped_share']:.1%} of the values).",
            f"The median feature has R² {capped['median']:.3f}, and a tenth of the features "
            f"have less than {capped['percentile_10']:.3f}.",
            f"Measured against the values before capping, these are {before['median']:.3f} and "
            f"{before['percentile_10']:.3f}, and the R² of all features",
            f"pooled is {before['pooled']:.3f}, because a few long tails dominate it. "
            "`feature_cleaning.outliers: log` makes tokens describe the tails, too.",
        ]
    )


def quality_table() -> str:
    """Return the summary that `make quality` wrote."""
    _, _, below = QUALITY.read_text(encoding="utf-8").partition("## Summary\n\n")
    table, _, _ = below.partition("\n\n")
    return table


def tokenizer_tables() -> str:
    """Return the public methods and attributes of the tokenizer, one line each."""
    members = {
        name: inspect.getattr_static(Tokenizer, name)
        for base in Tokenizer.__mro__[:-1]
        for name in vars(base)
        if not name.startswith("_")
    }
    attributes = [
        f"| `{name}` | {_first_line(member)} |"
        for name, member in members.items()
        if isinstance(member, property)
    ]
    methods = [
        f"| `{_call(name, getattr(Tokenizer, name))}` | {_first_line(getattr(Tokenizer, name))} |"
        for name, member in members.items()
        if not isinstance(member, property)
    ]
    return "\n".join(
        [
            "| method | what it does |",
            "|---|---|",
            *methods,
            "",
            "| attribute | what it is |",
            "|---|---|",
            *attributes,
        ]
    )


def series_table() -> str:
    """Return the functions that make columns of series, and series of columns."""
    functions = (describe_series, restore_series)
    rows = [f"| `{_call(one.__name__, one)}` | {_first_line(one)} |" for one in functions]
    return "\n".join(["| function | what it does |", "|---|---|", *rows])


def _call(name: str, function: Callable[..., Any]) -> str:
    """Return how a function or method is called: its parameters and their defaults."""
    given = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in inspect.signature(function).parameters.values()
        if one.name != "self"
    ]
    return f"{name}{inspect.Signature(given)}"


def _first_line(documented: Any) -> str:
    """Return the first line of a docstring, as a cell of a table."""
    first, _, _ = str(inspect.getdoc(documented)).partition("\n")
    return first.replace("|", "\\|")


def write_pictures() -> None:
    """Write small copies of some figures of the default experiment."""
    PICTURES.mkdir(exist_ok=True)
    for name in PICTURED:
        with Image.open(FIGURES / f"{name}.png") as figure:
            picture = figure.convert("RGB")
        picture.thumbnail((PICTURE_WIDTH, 2 * PICTURE_WIDTH))
        # rare colours stay what they are: the ends of a scale are among them
        coverage, plain = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        few = picture.quantize(PICTURE_COLORS, method=coverage, dither=plain)
        few.save(PICTURES / f"{name}.png", optimize=True)


def with_block(text: str, name: str, content: str) -> str:
    """Return `text` with the block between two markers replaced."""
    pattern = re.compile(f"(<!-- {name}:begin -->).*?(<!-- {name}:end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n{match[2]}", text)


def write_block(page: Path, name: str, content: str) -> None:
    """Replace a block of a page."""
    text = page.read_text(encoding="utf-8")
    page.write_text(with_block(text, name, content), encoding="utf-8")


def main() -> None:
    """Write everything that is generated."""
    TEMPLATE.write_text(default_yaml(), encoding="utf-8")
    write_block(API, "api", tokenizer_tables())
    write_block(API, "series", series_table())
    write_block(LAYOUT, "settings", f"```yaml\n{dataset_yaml()}\n```")
    readme = with_block(README.read_text(encoding="utf-8"), "rules", rule_graph())
    readme = with_block(readme, "quality", quality_table())
    if METRICS.is_file():
        readme = with_block(readme, "targets", target_table())
    if FIGURES.is_dir():
        write_pictures()
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
