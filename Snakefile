# From a dataset of operators to a vocabulary of behaviour. Everyday command:
#   snakemake --cores 8 results/arch_summary/best_model.pt
from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/report.smk"


rule all:
    """Make everything of the default experiment."""
    default_target: True
    input:
        "results/arch_summary/best_model.pt",
        "results/arch_summary/metrics.json",
        "results/arch_summary/tokens.h5",
        "results/arch_summary/report.html",
