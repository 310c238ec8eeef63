rule train:
    """Train the Categorical Hierarchical VQ-VAE."""
    input:
        subset="results/{experiment}/subset.h5",
        statistics="results/{experiment}/feature_statistics.npz",
        categories="results/{experiment}/categories.json",
    output:
        model="results/{experiment}/best_model.pt",
        normalization="results/{experiment}/normalization_stats.npz",
        history="results/{experiment}/training_history.json",
        config="results/{experiment}/config.yaml",
        provenance="results/{experiment}/provenance.json",
    log:
        "results/{experiment}/logs/train.log",
    benchmark:
        "results/{experiment}/benchmarks/train.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 8
    resources:
        mem_mb=each_attempt(8000),
        runtime=each_attempt(240),
        gpu=1,
    params:
        config=config_of,
        settings=settings("train"),
        code=code("train"),
    shell:
        "python -m spinlock.stages.train --threads {threads} --processes {resources.gpu}"
        " --config {params.config:q}"
        " --subset {input.subset:q} --statistics {input.statistics:q}"
        " --categories {input.categories:q} --output {output.model:q} 2> {log:q}"
