rule subset:
    """Take the operators and families of an experiment, and split the rows."""
    input:
        dataset=files_of_experiment,
    output:
        "results/{experiment}/subset.h5",
    log:
        "results/{experiment}/logs/subset.log",
    benchmark:
        "results/{experiment}/benchmarks/subset.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 1
    resources:
        mem_mb=each_attempt(2000),
        runtime=each_attempt(30),
    params:
        config=config_of,
        settings=settings("subset"),
        content=content_of_dataset,
        simulation=simulation_of_experiment,
        code=code("subset"),
    shell:
        "python -m spinlock.stages.subset --threads {threads} --config {params.config:q}"
        " --dataset {input.dataset:q} --output {output:q} 2> {log:q}"


rule normalize:
    """Fit cleaning and normalisation on the train rows."""
    input:
        subset="results/{experiment}/subset.h5",
    output:
        "results/{experiment}/feature_statistics.npz",
    log:
        "results/{experiment}/logs/normalize.log",
    benchmark:
        "results/{experiment}/benchmarks/normalize.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 1
    resources:
        mem_mb=each_attempt(2000),
        runtime=each_attempt(30),
    params:
        config=config_of,
        settings=settings("normalize"),
        code=code("normalize"),
    shell:
        "python -m spinlock.stages.normalize --threads {threads} --config {params.config:q}"
        " --subset {input.subset:q} --output {output:q} 2> {log:q}"


rule cluster:
    """Discover categories of features by hierarchical clustering of the train rows."""
    input:
        subset="results/{experiment}/subset.h5",
        statistics="results/{experiment}/feature_statistics.npz",
        mapping=mapping_of_experiment,
    output:
        categories="results/{experiment}/categories.json",
        silhouette="results/{experiment}/silhouette.csv",
        linkage="results/{experiment}/linkage.npz",
    log:
        "results/{experiment}/logs/cluster.log",
    benchmark:
        "results/{experiment}/benchmarks/cluster.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 4
    resources:
        mem_mb=each_attempt(2000),
        runtime=each_attempt(60),
    params:
        config=config_of,
        settings=settings("cluster"),
        content=content_of_mapping,
        code=code("cluster"),
    shell:
        "python -m spinlock.stages.cluster --threads {threads} --config {params.config:q}"
        " --subset {input.subset:q} --statistics {input.statistics:q}"
        " --categories {output.categories:q} --silhouette {output.silhouette:q}"
        " --linkage {output.linkage:q} 2> {log:q}"
