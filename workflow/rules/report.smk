rule visualize:
    """Draw the figures and the self-contained report page."""
    input:
        model="results/{experiment}/best_model.pt",
        subset="results/{experiment}/subset.h5",
        silhouette="results/{experiment}/silhouette.csv",
        linkage="results/{experiment}/linkage.npz",
        metrics="results/{experiment}/metrics.json",
        baselines="results/{experiment}/baselines.csv",
        tokens="results/{experiment}/tokens.h5",
    output:
        figures=report(
            directory("results/{experiment}/figures"),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="{experiment}",
            subcategory="Figures",
            labels={"figure": "{figure}"},
        ),
        report=report(
            "results/{experiment}/report.html",
            caption="../report/experiment.rst",
            category="{experiment}",
            labels={"page": "report"},
        ),
    log:
        "results/{experiment}/logs/visualize.log",
    benchmark:
        "results/{experiment}/benchmarks/visualize.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 2
    resources:
        mem_mb=each_attempt(4000),
        runtime=each_attempt(60),
    params:
        config=config_of,
        settings=settings("visualize"),
        code=code("visualize"),
    shell:
        "python -m spinlock.stages.visualize --threads {threads} --config {params.config:q}"
        " --model {input.model:q} --subset {input.subset:q}"
        " --silhouette {input.silhouette:q} --linkage {input.linkage:q}"
        " --metrics {input.metrics:q} --baselines {input.baselines:q} --tokens {input.tokens:q}"
        " --figures {output.figures:q} --report {output.report:q} 2> {log:q}"
