rule find_archetypes:
    input:
        "results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        weights="results/samples/{sample}/archetypes/weights.parquet",
        archetypes="results/samples/{sample}/archetypes/archetypes.parquet",
        curve="results/samples/{sample}/archetypes/curve.csv",
        anchors="results/samples/{sample}/archetypes/anchors.csv",
        tree="results/samples/{sample}/archetypes/tree.json",
        communities="results/samples/{sample}/archetypes/communities.csv",
        markers="results/samples/{sample}/archetypes/markers.csv",
    log:
        "logs/find_archetypes/{sample}.log",
    benchmark:
        "benchmarks/find_archetypes/{sample}.tsv"
    params:
        options=config.get("archetypes", {}),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/find_archetypes.py"


rule match_signatures:
    input:
        unpack(signature_sources),
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        communities="results/samples/{sample}/archetypes/communities.csv",
        markers="results/samples/{sample}/archetypes/markers.csv",
    output:
        matching="results/samples/{sample}/archetypes/matching.csv",
        signatures="results/samples/{sample}/archetypes/signatures.tsv",
        scores="results/samples/{sample}/archetypes/signature_scores.parquet",
        signature_anchors="results/samples/{sample}/archetypes/signature_anchors.csv",
        refinement="results/samples/{sample}/archetypes/refinement.csv",
    log:
        "logs/match_signatures/{sample}.log",
    benchmark:
        "benchmarks/match_signatures/{sample}.tsv"
    params:
        options=config.get("archetypes", {}),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/match_signatures.py"
