rule embed:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        latent="results/samples/{sample}/embedding/{model}/latent.parquet",
        losses="results/samples/{sample}/embedding/{model}/losses.csv",
    wildcard_constraints:
        model="|".join(EMBEDDING),
    log:
        "logs/embed/{sample}.{model}.log",
    benchmark:
        "benchmarks/embed/{sample}.{model}.tsv"
    params:
        options=options("embedding", "model"),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(3000, 30),
        runtime=minutes(120),
    conda:
        "../../envs/torch.yaml"
    script:
        "../../scripts/embed.py"


rule embed_baseline:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        latent="results/samples/{sample}/embedding/{baseline}/latent.parquet",
    wildcard_constraints:
        baseline="pca|neighbour_mean_pca",
    log:
        "logs/embed_baseline/{sample}.{baseline}.log",
    benchmark:
        "benchmarks/embed_baseline/{sample}.{baseline}.tsv"
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
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
    params:
        n_domains=config.get("embedding", {}).get("n_domains", "auto"),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/find_domains.py"
