# Settings and sample sheet, checked; then what the run is to make of them.

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# A checkout uses the library that lies in it.
LIBRARY = (
    Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1] / "src"
)
if LIBRARY.is_dir():
    sys.path.insert(0, str(LIBRARY))

from pointillist.archetypes import RECORD as ARCHETYPES
from pointillist.data.inputs import find_inputs
from pointillist.deconvolution import METHODS as DECONVOLUTION, SIGNATURE_METHODS
from pointillist.embedding import METHODS as EMBEDDING
from pointillist.errors import InputError
from pointillist.factorization import JOINT, METHODS as FACTORIZATION
from pointillist.planning import add_baseline, plan_steps
from pointillist.schema import add_methods, check_settings, load_yaml, options_schema

SIMULATION = "results/simulation"
SIMULATED = {
    name: f"{SIMULATION}/{file}"
    for name, file in (
        ("spots", "spots.h5ad"),
        ("reference", "reference.h5ad"),
        ("truth", "truth.csv"),
        ("gene_sets", "gene_sets.tsv"),
    )
}
STAGES = {
    "deconvolution": {**DECONVOLUTION, **SIGNATURE_METHODS},
    "factorization": FACTORIZATION,
    "embedding": EMBEDDING,
}


def load_schema(name):
    return load_yaml(workflow.source_path(f"../schemas/{name}.schema.yaml"))


def config_schema():
    schema = load_schema("config")
    add_methods(schema, "deconvolution", STAGES["deconvolution"])
    add_methods(schema, "factorization", FACTORIZATION)
    add_methods(schema, "embedding", EMBEDDING, choice="models")
    schema["properties"]["joint_nmf"]["properties"].update(JOINT.options)
    schema["properties"]["archetypes"] = options_schema(ARCHETYPES)
    del schema["properties"]["archetypes"]["default"]
    return schema


def check_inputs():
    """Settings with defaults, samples, references and gene sets; or every problem at once."""
    files = list(map(str, workflow.configfiles)) or ["config.yaml"]
    problems = []
    try:
        for file in files:
            if os.path.exists(file):
                load_yaml(file)
        settings, found = check_settings(
            dict(config), config_schema(), os.path.relpath(files[-1])
        )
        problems += found + add_baseline(settings, os.path.relpath(files[-1]))
        inputs, found = find_inputs(
            settings,
            sheet_schema=load_schema("samples"),
            folder=os.path.dirname(os.path.abspath(files[-1])),
            config_file=os.path.relpath(files[-1]),
            simulated=SIMULATED if "simulation" in settings else {},
        )
        problems += found
    except InputError as error:
        problems += error.problems
    errors = [str(problem) for problem in problems if problem.level == "error"]
    if errors:
        raise WorkflowError(
            "the settings or the sample sheet cannot be used\n" + "\n".join(errors)
        )
    for problem in problems:
        print(problem, file=sys.stderr)
    return settings, inputs


SETTINGS, INPUTS = check_inputs()
config.clear()
config.update(SETTINGS)
PLAN = plan_steps(INPUTS.samples, config, STAGES)
SAMPLES = [sample.name for sample in INPUTS.samples]
ROWS = {sample.name: sample.row for sample in INPUTS.samples}
REFERENCES = sorted({row["reference"] for row in ROWS.values() if row["reference"]})
SCORED = [name for name, row in ROWS.items() if row["truth"] or row["labels"]]
# Those against the sample's reference, which share its cell types: gene sets may be of others.
AGAINST_REFERENCE = {
    sample: [name for name in PLAN.of(sample, "deconvolution") if name in DECONVOLUTION]
    for sample in SAMPLES
}
ESTIMATES = {
    sample: [
        *(["consensus"] if len(AGAINST_REFERENCE[sample]) > 1 else []),
        *PLAN.of(sample, "deconvolution"),
    ]
    for sample in SAMPLES
}
DECONVOLVED = [(sample, method) for sample in SAMPLES for method in ESTIMATES[sample]]
STEP_SECTIONS = (
    "preprocessing",
    "deconvolution",
    "factorization",
    "joint_nmf",
    "archetypes",
    "embedding",
)
TABLES = (
    "quality",
    "steps",
    "checks",
    "scores",
    "scores_by_type",
    "matching",
    "label_enrichment",
    "truth_correlation",
)
# Samples with archetypes, those among them that are matched to signatures, and what is known of them.
ARCHETYPAL = [sample for sample in SAMPLES if PLAN.of(sample, "archetypes")]
MATCHED = [
    sample for sample in ARCHETYPAL if "matching" in PLAN.of(sample, "archetypes")
]
SAMPLES_COMPARED = len(ARCHETYPAL) > 1


# --- what the targets ask for ---------------------------------------------------------------------------------


def of_samples(stage, files, samples=None):
    """Files of each of a stage's methods in each sample that runs it."""
    return [
        f"results/samples/{sample}/{stage}/{method}/{file}"
        for sample in samples or SAMPLES
        for method in PLAN.of(sample, stage)
        for file in files
    ]


def wanted_checks():
    return [
        *(f"results/samples/{sample}/ingest/checks.csv" for sample in SAMPLES),
        *(f"results/references/{name}/checks.csv" for name in REFERENCES),
    ]


def wanted_preprocessing():
    return [f"results/samples/{sample}/preprocessing/spots.h5ad" for sample in SAMPLES]


def wanted_deconvolution(samples=None):
    compared = [
        sample for sample in samples or SAMPLES if len(AGAINST_REFERENCE[sample]) > 1
    ]
    deconvolved = [sample for sample in samples or SAMPLES if AGAINST_REFERENCE[sample]]
    return [
        *of_samples("deconvolution", ["proportions.parquet", "fit.parquet"], samples),
        *(
            f"results/samples/{sample}/deconvolution/{file}"
            for sample in deconvolved
            for file in ("diagnostics/findings.csv", "residuals.parquet")
        ),
        *(
            f"results/samples/{sample}/deconvolution/{file}.parquet"
            for sample in compared
            for file in ("consensus", "agreement")
        ),
    ]


def wanted_factorization(samples=None):
    joint = [sample for sample in samples or SAMPLES if PLAN.of(sample, "joint_nmf")]
    return [
        *of_samples("factorization", ["usage.parquet", "loadings.parquet"], samples),
        *(f"results/samples/{sample}/joint_nmf/usage.parquet" for sample in joint),
    ]


def wanted_archetypes(samples=None):
    files = {"archetypes": ["weights.parquet"], "matching": ["matching.csv"]}
    if config.get("archetypes", {}).get("n_bootstraps"):
        files["archetypes"].append("stability.csv")
    wanted = [
        f"results/samples/{sample}/archetypes/{file}"
        for sample in samples or SAMPLES
        for step in PLAN.of(sample, "archetypes")
        for file in files[step]
    ]
    return wanted if samples else [*wanted, *across_samples("consensus.csv")]


def across_samples(*files):
    """Files about the archetypes of all samples, where more than one sample has archetypes."""
    return [f"results/archetypes/{file}" for file in files] if SAMPLES_COMPARED else []


def known_of_archetypes(column, file, samples=None):
    """What the sheet's `labels` or `truth` say of archetypes, of the samples that have both."""
    return [
        f"results/samples/{sample}/archetypes/{file}"
        for sample in samples or SAMPLES
        if sample in ARCHETYPAL and ROWS[sample][column]
    ]


def wanted_embedding(samples=None):
    return of_samples("embedding", ["latent.parquet", "domains.csv"], samples)


def wanted_report():
    return [
        "results/report.html",
        "results/provenance.json",
        "results/citations.bib",
        "results/methods.md",
    ]


def results_of(sample):
    """Everything that a sample's steps write."""
    return [
        *wanted_deconvolution([sample]),
        *wanted_factorization([sample]),
        *wanted_archetypes([sample]),
        *wanted_embedding([sample]),
    ]


# --- inputs, parameters and resources of rules ------------------------------------------------------------------


def sample_files(wildcards):
    """The files of a sample's row that are there, by the sheet's column."""
    row = ROWS[wildcards.sample]
    return {
        column: row[column]
        for column in ("path", "coordinates", "image")
        if row[column]
    }


def paired_files(wildcards):
    """The reference and the gene sets that a sample's genes are compared with."""
    row = ROWS[wildcards.sample]
    files = {}
    if row["reference"]:
        files["reference"] = f"results/references/{row['reference']}/cells.h5ad"
    if row["gene_sets"]:
        files["gene_sets"] = INPUTS.gene_sets[row["gene_sets"]]
    return files


def truth_file(wildcards):
    truth = ROWS[wildcards.sample]["truth"]
    return {"truth": truth} if truth else {}


def matching_file(wildcards):
    sample = wildcards.sample
    return (
        {"matching": f"results/samples/{sample}/archetypes/matching.csv"}
        if sample in MATCHED
        else {}
    )


def scored_archetypes(wildcards):
    """What labels and truth say of a sample's archetypes, for its figures."""
    files = {}
    for column, table in (
        ("labels", "label_enrichment"),
        ("truth", "truth_correlation"),
    ):
        for file in known_of_archetypes(column, f"{table}.csv", [wildcards.sample]):
            files[table] = file
    return files


def raw_inputs():
    """Every file that the run reads from outside."""
    files = [
        path
        for row in ROWS.values()
        for path in (row["path"], row["coordinates"], row["image"], row["truth"])
    ]
    files += [INPUTS.references[name]["path"] for name in REFERENCES]
    files += [
        INPUTS.gene_sets[row["gene_sets"]] for row in ROWS.values() if row["gene_sets"]
    ]
    return sorted(set(filter(None, files)))


def signature_sources(wildcards):
    """Gene sets where the sample has them, else the markers of its reference."""
    row = ROWS[wildcards.sample]
    if row["gene_sets"]:
        return {"gene_sets": INPUTS.gene_sets[row["gene_sets"]]}
    return {
        "reference_markers": f"results/samples/{wildcards.sample}/deconvolution/markers.csv"
    }


def of_reference(file):
    """Input function: a file of the sample's reference."""
    return (
        lambda wildcards: f"results/references/{ROWS[wildcards.sample]['reference']}/{file}"
    )


def options(section, wildcard="method"):
    """Parameter function: the options of the method that a wildcard names."""
    return lambda wildcards: config[section].get(method_name(wildcards[wildcard]), {})


def method_name(method):
    """``nmf_10`` is the method ``nmf`` with 10 factors."""
    name, _, size = method.rpartition("_")
    return name if size.isdigit() else method


def method_size(method):
    size = method.rpartition("_")[2]
    return int(size) if size.isdigit() else None


def memory(base, factor):
    """Resource function: `base` MB and `factor` times the input's size, doubled with each attempt."""
    return lambda wildcards, input, attempt: int(
        (base + factor * input.size_mb) * 2 ** (attempt - 1)
    )


def minutes(base):
    """Resource function: `base` minutes, doubled with each attempt."""
    return lambda wildcards, attempt: base * 2 ** (attempt - 1)
