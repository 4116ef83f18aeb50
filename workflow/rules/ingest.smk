rule simulate_tissue:
    output:
        **SIMULATED,
    log:
        "logs/simulate_tissue/tissue.log",
    benchmark:
        "benchmarks/simulate_tissue/tissue.tsv"
    params:
        options=lambda wildcards: config["simulation"],
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 0),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/simulate_tissue.py"


rule ingest_sample:
    input:
        unpack(sample_files),
        unpack(paired_files),
    output:
        spots="results/samples/{sample}/ingest/spots.h5ad",
        checks="results/samples/{sample}/ingest/checks.csv",
    log:
        "logs/ingest_sample/{sample}.log",
    benchmark:
        "benchmarks/ingest_sample/{sample}.tsv"
    params:
        row=lambda wildcards: ROWS[wildcards.sample],
        carried=INPUTS.carried,
        options=config["ingest"],
        min_shared_genes=config.get("deconvolution", {}).get("min_shared_genes"),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/ingest_sample.py"


rule ingest_reference:
    input:
        lambda wildcards: INPUTS.references[wildcards.reference]["path"],
    output:
        cells="results/references/{reference}/cells.h5ad",
        checks="results/references/{reference}/checks.csv",
    log:
        "logs/ingest_reference/{reference}.log",
    benchmark:
        "benchmarks/ingest_reference/{reference}.tsv"
    params:
        reference=lambda wildcards: INPUTS.references[wildcards.reference],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/ingest_reference.py"
