rule preprocess:
    input:
        "results/samples/{sample}/ingest/spots.h5ad",
    output:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        qc="results/samples/{sample}/preprocessing/qc.csv",
    log:
        "logs/preprocess/{sample}.log",
    benchmark:
        "benchmarks/preprocess/{sample}.tsv"
    params:
        options=config["preprocessing"],
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(3000, 30),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/preprocess.py"
