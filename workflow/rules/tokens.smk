rule evaluate:
    """Measure a model on rows that no fit has seen, beside its baselines."""
    input:
        model="results/{experiment}/best_model.pt",
        subset="results/{experiment}/subset.h5",
    output:
        metrics=report(
            "results/{experiment}/metrics.json",
            caption="../report/metrics.rst",
            category="{experiment}",
            subcategory="Numbers",
        ),
        baselines=report(
            "results/{experiment}/baselines.csv",
            caption="../report/baselines.rst",
            category="{experiment}",
            subcategory="Numbers",
        ),
    log:
        "results/{experiment}/logs/evaluate.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluate.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 4
    resources:
        mem_mb=each_attempt(4000),
        runtime=each_attempt(60),
    params:
        config=config_of,
        settings=settings("evaluate"),
        code=code("evaluate"),
    shell:
        "python -m spinlock.stages.evaluate --threads {threads} --config {params.config:q}"
        " --model {input.model:q} --subset {input.subset:q}"
        " --metrics {output.metrics:q} --baselines {output.baselines:q} 2> {log:q}"


rule encode:
    """Turn every operator of the files that the experiment reads into tokens."""
    input:
        model="results/{experiment}/best_model.pt",
        dataset=files_of_experiment,
        subset="results/{experiment}/subset.h5",
    output:
        tokens="results/{experiment}/tokens.h5",
        parquet="results/{experiment}/tokens.parquet",
    log:
        "results/{experiment}/logs/encode.log",
    benchmark:
        "results/{experiment}/benchmarks/encode.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 4
    resources:
        mem_mb=each_attempt(4000),
        runtime=each_attempt(60),
        gpu=1,
    params:
        config=config_of,
        code=code("encode"),
    shell:
        "python -m spinlock.stages.encode --threads {threads} --config {params.config:q}"
        " --model {input.model:q} --dataset {input.dataset:q} --subset {input.subset:q}"
        " --tokens {output.tokens:q} --parquet {output.parquet:q} 2> {log:q}"
