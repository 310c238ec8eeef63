rule generate:
    """Simulate the operators of one shard and describe their behaviour."""
    output:
        "datasets/{dataset}/shard_{shard}.h5",
    log:
        "datasets/{dataset}/logs/generate_{shard}.log",
    benchmark:
        "datasets/{dataset}/benchmarks/generate_{shard}.tsv"
    conda:
        "../../envs/spinlock.yaml"
    threads: 1
    resources:
        mem_mb=each_attempt(1000),
        runtime=each_attempt(60),
    params:
        config=lambda wildcards: str(dataset_config(wildcards.dataset)),
        operators=operators_of_shard,
        simulation=simulation,
        code=code("generate"),
    shell:
        "python -m spinlock.stages.generate --threads {threads} --config {params.config:q}"
        " {params.operators} --output {output:q} 2> {log:q}"


rule concatenate:
    """Join the shards of a generated dataset into one file."""
    input:
        shards_of_dataset,
    output:
        "datasets/{dataset}.h5",
    log:
        "datasets/{dataset}/logs/concatenate.log",
    benchmark:
        "datasets/{dataset}/benchmarks/concatenate.tsv"
    wildcard_constraints:
        dataset=dataset_to_join(),
    conda:
        "../../envs/spinlock.yaml"
    threads: 1
    resources:
        mem_mb=each_attempt(1000),
        runtime=each_attempt(60),
    params:
        code=code("concatenate"),
    shell:
        "python -m spinlock.stages.concatenate --threads {threads} --shards {input:q}"
        " --output {output:q} 2> {log:q}"
