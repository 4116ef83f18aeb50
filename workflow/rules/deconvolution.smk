rule deconvolve:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        signature="results/samples/{sample}/deconvolution/signature.parquet",
        markers="results/samples/{sample}/deconvolution/markers.csv",
        cells=of_reference("cells.h5ad"),
        cell_types=of_reference("cell_types.csv"),
        # Before the method runs, the reference has been found fit for it.
        findings="results/samples/{sample}/deconvolution/diagnostics/findings.csv",
    output:
        proportions="results/samples/{sample}/deconvolution/{method}/proportions.parquet",
        fit="results/samples/{sample}/deconvolution/{method}/fit.parquet",
    wildcard_constraints:
        method="|".join(DECONVOLUTION),
    log:
        "logs/deconvolve/{sample}.{method}.log",
    benchmark:
        "benchmarks/deconvolve/{sample}.{method}.tsv"
    params:
        options=options("deconvolution"),
        max_genes=config.get("deconvolution", {}).get("max_genes"),
        cell_size=config.get("deconvolution", {}).get("cell_size"),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/deconvolve.py"


rule deconvolve_by_signatures:
    input:
        unpack(signature_sources),
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        proportions="results/samples/{sample}/deconvolution/{method}/proportions.parquet",
        fit="results/samples/{sample}/deconvolution/{method}/fit.parquet",
    wildcard_constraints:
        method="|".join(SIGNATURE_METHODS),
    log:
        "logs/deconvolve_by_signatures/{sample}.{method}.log",
    benchmark:
        "benchmarks/deconvolve_by_signatures/{sample}.{method}.tsv"
    params:
        options=options("deconvolution"),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/deconvolve_by_signatures.py"


rule compare_methods:
    input:
        lambda wildcards: [
            f"results/samples/{wildcards.sample}/deconvolution/{method}/proportions.parquet"
            for method in AGAINST_REFERENCE[wildcards.sample]
        ],
    output:
        consensus="results/samples/{sample}/deconvolution/consensus.parquet",
        agreement="results/samples/{sample}/deconvolution/agreement.parquet",
        by_type="results/samples/{sample}/deconvolution/agreement_by_type.csv",
    log:
        "logs/compare_methods/{sample}.log",
    benchmark:
        "benchmarks/compare_methods/{sample}.tsv"
    params:
        methods=lambda wildcards: AGAINST_REFERENCE[wildcards.sample],
        consensus=config.get("deconvolution", {}).get("consensus"),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/compare_methods.py"


rule diagnose_reference:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        signature="results/samples/{sample}/deconvolution/signature.parquet",
        markers="results/samples/{sample}/deconvolution/markers.csv",
        cell_types=of_reference("cell_types.csv"),
    output:
        cell_types="results/samples/{sample}/deconvolution/diagnostics/cell_types.csv",
        correlations="results/samples/{sample}/deconvolution/diagnostics/correlations.csv",
        findings="results/samples/{sample}/deconvolution/diagnostics/findings.csv",
        summary="results/samples/{sample}/deconvolution/diagnostics/summary.csv",
    log:
        "logs/diagnose_reference/{sample}.log",
    benchmark:
        "benchmarks/diagnose_reference/{sample}.tsv"
    params:
        reference=lambda wildcards: INPUTS.references[
            ROWS[wildcards.sample]["reference"]
        ]["path"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 10),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/diagnose_reference.py"


rule residuals:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        signature="results/samples/{sample}/deconvolution/signature.parquet",
        proportions="results/samples/{sample}/deconvolution/nnls/proportions.parquet",
        cell_types=of_reference("cell_types.csv"),
    output:
        residuals="results/samples/{sample}/deconvolution/residuals.parquet",
        genes="results/samples/{sample}/deconvolution/residual_genes.csv",
    log:
        "logs/residuals/{sample}.log",
    benchmark:
        "benchmarks/residuals/{sample}.tsv"
    params:
        cell_size=config.get("deconvolution", {}).get("cell_size"),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(30),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/residuals.py"
