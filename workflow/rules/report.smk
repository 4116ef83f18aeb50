rule gather_results:
    input:
        lambda wildcards: results_of(wildcards.sample),
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
    output:
        "results/samples/{sample}/spots.h5ad",
    wildcard_constraints:
        sample="[^/]+",
    log:
        "logs/gather_results/{sample}.log",
    benchmark:
        "benchmarks/gather_results/{sample}.tsv"
    params:
        steps=lambda wildcards: PLAN.steps[wildcards.sample],
        config=lambda wildcards: {
            name: config[name] for name in SETTINGS if name in STEP_SECTIONS
        },
        seed=config["seed"],
        checksums=lambda wildcards: sorted(sample_files(wildcards).values()),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/gather_results.py"


rule score_sample:
    input:
        unpack(truth_file),
        spots="results/samples/{sample}/spots.h5ad",
    output:
        scores="results/samples/{sample}/scores.csv",
        by_type="results/samples/{sample}/scores_by_type.csv",
    log:
        "logs/score_sample/{sample}.log",
    benchmark:
        "benchmarks/score_sample/{sample}.tsv"
    params:
        labels=lambda wildcards: ROWS[wildcards.sample]["labels"],
        deconvolution=lambda wildcards: ESTIMATES[wildcards.sample],
        embedding=lambda wildcards: PLAN.of(wildcards.sample, "embedding"),
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/score_sample.py"


rule enrich_labels:
    input:
        spots="results/samples/{sample}/preprocessing/spots.h5ad",
        communities="results/samples/{sample}/archetypes/communities.csv",
    output:
        "results/samples/{sample}/archetypes/label_enrichment.csv",
    log:
        "logs/enrich_labels/{sample}.log",
    benchmark:
        "benchmarks/enrich_labels/{sample}.tsv"
    params:
        labels=lambda wildcards: ROWS[wildcards.sample]["labels"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 10),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/enrich_labels.py"


rule correlate_truth:
    input:
        unpack(truth_file),
        unpack(matching_file),
        weights="results/samples/{sample}/archetypes/weights.parquet",
    output:
        "results/samples/{sample}/archetypes/truth_correlation.csv",
    log:
        "logs/correlate_truth/{sample}.log",
    benchmark:
        "benchmarks/correlate_truth/{sample}.tsv"
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 10),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/correlate_truth.py"


rule tabulate:
    input:
        spots=expand("results/samples/{sample}/spots.h5ad", sample=SAMPLES),
        checks=wanted_checks(),
        scores=expand("results/samples/{sample}/scores.csv", sample=SCORED),
        by_type=expand("results/samples/{sample}/scores_by_type.csv", sample=SCORED),
        matching=[file for file in wanted_archetypes() if file.endswith("matching.csv")],
        label_enrichment=known_of_archetypes("labels", "label_enrichment.csv"),
        truth_correlation=known_of_archetypes("truth", "truth_correlation.csv"),
    output:
        **{table: f"results/tables/{table}.csv" for table in TABLES},
        proportions=[
            f"results/tables/{sample}.{method}.proportions.csv"
            for sample, method in DECONVOLVED
        ],
    log:
        "logs/tabulate/tables.log",
    benchmark:
        "benchmarks/tabulate/tables.tsv"
    params:
        samples=SAMPLES,
        scored=SCORED,
        steps=PLAN.steps,
        skipped=PLAN.skipped,
        deconvolved=DECONVOLVED,
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 10),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/tabulate.py"


rule plot_results:
    input:
        unpack(truth_file),
        unpack(scored_archetypes),
        spots="results/samples/{sample}/spots.h5ad",
    output:
        directory("results/samples/{sample}/figures"),
    log:
        "logs/plot_results/{sample}.log",
    benchmark:
        "benchmarks/plot_results/{sample}.tsv"
    params:
        steps=lambda wildcards: PLAN.steps[wildcards.sample],
        labels=lambda wildcards: ROWS[wildcards.sample]["labels"],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 30),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/plot_results.py"


rule plot_across_samples:
    input:
        consensus="results/archetypes/consensus.csv",
        pairs="results/archetypes/pairs.csv",
    output:
        directory("results/archetypes/figures"),
    log:
        "logs/plot_across_samples/samples.log",
    benchmark:
        "benchmarks/plot_across_samples/samples.tsv"
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/plot_across_samples.py"


rule record_provenance:
    input:
        raw=raw_inputs(),
        checks=wanted_checks(),
    output:
        provenance="results/provenance.json",
        citations="results/citations.bib",
        methods="results/methods.md",
    log:
        "logs/record_provenance/run.log",
    benchmark:
        "benchmarks/record_provenance/run.tsv"
    params:
        config=SETTINGS,
        steps=PLAN.steps,
        scored=SCORED,
        configfiles=[os.path.relpath(file) for file in workflow.configfiles],
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/record_provenance.py"


rule render_report:
    input:
        figures=expand("results/samples/{sample}/figures", sample=SAMPLES),
        across=across_samples("figures", "consensus.csv", "consensus_markers.csv"),
        spots=expand("results/samples/{sample}/spots.h5ad", sample=SAMPLES),
        tables=expand("results/tables/{table}.csv", table=TABLES),
        provenance="results/provenance.json",
        citations="results/citations.bib",
        methods="results/methods.md",
    output:
        report(
            "results/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "all samples"},
        ),
    log:
        "logs/render_report/report.log",
    benchmark:
        "benchmarks/render_report/report.tsv"
    params:
        title=config["report"]["title"],
        samples=SAMPLES,
        rows=ROWS,
        tables=TABLES,
    threads: config["numeric_threads"]
    resources:
        mem_mb=memory(2000, 10),
        runtime=minutes(20),
    conda:
        "../../envs/analysis.yaml"
    script:
        "../../scripts/render_report.py"
