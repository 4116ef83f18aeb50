rule deconvolve:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        signature="results/samples/{sample}/deconvolution/signature.parquet",
        markers="results/samples/{sample}/deconvolution/markers.csv",
    output:
        proportions="results/samples/{sample}/deconvolution/{method}/proportions.parquet",
        fit="results/samples/{sample}/deconvolution/{method}/fit.parquet",
    log:
        "logs/deconvolve/{sample}.{method}.log",
    benchmark:
        "benchmarks/deconvolve/{sample}.{method}.tsv"
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
        "../../scripts/deconvolve.py"


rule compare_methods:
    input:
        lambda wildcards: of_samples(
            "deconvolution", ["proportions.parquet"], [wildcards.sample]
        ),
    output:
        agreement="results/samples/{sample}/deconvolution/agreement.parquet",
        by_type="results/samples/{sample}/deconvolution/agreement_by_type.csv",
    log:
        "logs/compare_methods/{sample}.log",
    benchmark:
        "benchmarks/compare_methods/{sample}.tsv"
    params:
        methods=lambda wildcards: PLAN.of(wildcards.sample, "deconvolution"),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/compare_methods.py"
