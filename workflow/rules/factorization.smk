rule factorize:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        usage="results/samples/{sample}/factorization/{method}/usage.parquet",
        loadings="results/samples/{sample}/factorization/{method}/loadings.parquet",
        loss="results/samples/{sample}/factorization/{method}/loss.csv",
    log:
        "logs/factorize/{sample}.{method}.log",
    benchmark:
        "benchmarks/factorize/{sample}.{method}.tsv"
    params:
        method=lambda wildcards: method_name(wildcards.method),
        n_factors=lambda wildcards: method_size(wildcards.method),
        options=options("factorization"),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/factorize.py"


rule factorize_jointly:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        usage="results/samples/{sample}/joint_nmf/usage.parquet",
        loadings=[
            f"results/samples/{{sample}}/joint_nmf/loadings_{modality}.parquet"
            for modality in config.get("joint_nmf", {}).get("modalities", [])
        ],
        loss="results/samples/{sample}/joint_nmf/loss.csv",
    log:
        "logs/factorize_jointly/{sample}.log",
    benchmark:
        "benchmarks/factorize_jointly/{sample}.tsv"
    params:
        options=config.get("joint_nmf", {}),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/factorize_jointly.py"
