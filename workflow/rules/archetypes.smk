# Options that change what is done after archetypes are found, which then need not be found again.
AFTERWARDS = ("n_bootstraps", "min_similarity")
ARCHETYPE_OPTIONS = {
    name: value
    for name, value in config.get("archetypes", {}).items()
    if name not in AFTERWARDS
}


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
        options=ARCHETYPE_OPTIONS,
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
        options=ARCHETYPE_OPTIONS,
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/match_signatures.py"


rule archetype_stability:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        archetypes="results/samples/{sample}/archetypes/archetypes.parquet",
    output:
        "results/samples/{sample}/archetypes/stability.csv",
    log:
        "logs/archetype_stability/{sample}.log",
    benchmark:
        "benchmarks/archetype_stability/{sample}.tsv"
    params:
        n_bootstraps=config.get("archetypes", {}).get("n_bootstraps"),
        seed=config["seed"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(60),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/archetype_stability.py"


rule match_archetypes_across_samples:
    input:
        spots=expand(
            "results/samples/{sample}/preprocessing/spots.h5ad", sample=ARCHETYPAL
        ),
        communities=expand(
            "results/samples/{sample}/archetypes/communities.csv", sample=ARCHETYPAL
        ),
        markers=expand(
            "results/samples/{sample}/archetypes/markers.csv", sample=ARCHETYPAL
        ),
        weights=expand(
            "results/samples/{sample}/archetypes/weights.parquet", sample=ARCHETYPAL
        ),
        matching=expand(
            "results/samples/{sample}/archetypes/matching.csv", sample=MATCHED
        ),
    output:
        consensus="results/archetypes/consensus.csv",
        pairs="results/archetypes/pairs.csv",
        markers="results/archetypes/consensus_markers.csv",
    log:
        "logs/match_archetypes_across_samples/samples.log",
    benchmark:
        "benchmarks/match_archetypes_across_samples/samples.tsv"
    params:
        samples=ARCHETYPAL,
        matched=MATCHED,
        min_similarity=config.get("archetypes", {}).get("min_similarity"),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 10),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/match_archetypes_across_samples.py"
