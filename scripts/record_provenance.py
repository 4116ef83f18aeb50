"""Creates provenance.json, citations.bib and methods.md: what makes the run repeatable, and what it owes to others."""

from job import job
from pointillist.data.files import sha256, write_json, write_text
from pointillist.report import provenance

with job(snakemake) as log:
    config, steps = snakemake.params.config, snakemake.params.steps
    files = snakemake.params.configfiles
    command = f"snakemake --cores all{f' --configfile {files[-1]}' if files and files[-1] != 'config.yaml' else ''}"
    record = {
        "versions": provenance.package_versions(),
        "seed": config["seed"],
        "numeric_threads": config["numeric_threads"],
        "command": command,
        "inputs": {path: sha256(path) for path in snakemake.input.raw},
        "config": config,
        "steps": {sample: [f"{step.stage}/{step.method}" for step in ran] for sample, ran in steps.items()},
    }
    write_json(record, snakemake.output.provenance)
    keys = provenance.cited_keys(steps, scored=bool(snakemake.params.scored))
    write_text(provenance.bibtex(keys), snakemake.output.citations)
    write_text("\n\n".join(provenance.methods_text(steps, config)) + "\n", snakemake.output.methods)
    log.info("%d inputs, %d citations", len(record["inputs"]), len(keys))
