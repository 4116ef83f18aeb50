rule build_signature:
    input:
        "results/references/{reference}/cells.h5ad",
    output:
        signature="results/references/{reference}/signature.parquet",
        cell_types="results/references/{reference}/cell_types.csv",
        markers="results/references/{reference}/markers.csv",
        condition="results/references/{reference}/condition.csv",
    log:
        "logs/build_signature/{reference}.log",
    benchmark:
        "benchmarks/build_signature/{reference}.tsv"
    params:
        min_cells=lambda wildcards: INPUTS.references[wildcards.reference]["min_cells"],
        max_q=lambda wildcards: config.get("deconvolution", {}).get("max_q", 0.3),
        n_range=lambda wildcards: config.get("deconvolution", {}).get(
            "markers_per_type", [10, 100]
        ),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/build_signature.py"


rule choose_markers:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        signature=of_reference("signature.parquet"),
        markers=of_reference("markers.csv"),
    output:
        signature="results/samples/{sample}/deconvolution/signature.parquet",
        markers="results/samples/{sample}/deconvolution/markers.csv",
        condition="results/samples/{sample}/deconvolution/condition.csv",
    log:
        "logs/choose_markers/{sample}.log",
    benchmark:
        "benchmarks/choose_markers/{sample}.tsv"
    params:
        n_range=config.get("deconvolution", {}).get("markers_per_type", [10, 100]),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 10),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/choose_markers.py"
