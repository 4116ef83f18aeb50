rule embed:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        latent="results/samples/{sample}/embedding/{model}/latent.parquet",
        losses="results/samples/{sample}/embedding/{model}/losses.csv",
    log:
        "logs/embed/{sample}.{model}.log",
    benchmark:
        "benchmarks/embed/{sample}.{model}.tsv"
    wildcard_constraints:
        model="|".join(EMBEDDING),
    conda:
        "../../envs/torch.yaml"
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(3000, 30),
        runtime=minutes(120),
    params:
        options=options("embedding", "model"),
        seed=config["seed"],
    script:
        "../../scripts/embed.py"


rule embed_baseline:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        latent="results/samples/{sample}/embedding/{baseline}/latent.parquet",
    log:
        "logs/embed_baseline/{sample}.{baseline}.log",
    benchmark:
        "benchmarks/embed_baseline/{sample}.{baseline}.tsv"
    wildcard_constraints:
        baseline="pca|neighbour_mean_pca",
    conda:
        "../../envs/analysis.yaml"
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(10),
    script:
        "../../scripts/embed_baseline.py"


rule find_domains:
    input:
        latent="results/samples/{sample}/embedding/{model}/latent.parquet",
    output:
        domains="results/samples/{sample}/embedding/{model}/domains.csv",
    log:
        "logs/find_domains/{sample}.{model}.log",
    benchmark:
        "benchmarks/find_domains/{sample}.{model}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(20),
    params:
        n_domains=config.get("embedding", {}).get("n_domains", "auto"),
        seed=config["seed"],
    script:
        "../../scripts/find_domains.py"
