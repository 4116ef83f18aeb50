"""Creates results/tables: proportions by sample and method, and one table each of quality, steps, scores, matches."""

from pathlib import Path

import pandas as pd

from job import job
from pointillist.data.contract import read_spots_h5ad
from pointillist.data.files import write_table

QUALITY = ["n_spots", "n_kept", "n_genes", "median_counts", "median_genes", "median_mitochondrial"]


def summarise_quality(spots):
    kept = spots.obs[~spots.obs["filtered"]]
    median = kept[["total_counts", "n_genes", "mitochondrial"]].median()
    return [spots.n_obs, len(kept), spots.n_vars, *median]


def stacked(files, names):
    tables = [table for file in files if len(table := pd.read_csv(file, keep_default_na=False))]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=names)


with job(snakemake) as log:
    params, tables = snakemake.params, {}
    proportions = dict(zip(map(tuple, params.deconvolved), snakemake.output.proportions))
    quality = []
    for sample, file in zip(params.samples, snakemake.input.spots):
        spots = read_spots_h5ad(file)
        quality.append([sample, *summarise_quality(spots)])
        for method in [method for name, method in proportions if name == sample]:
            table = spots.obsm[f"{method}_proportions"].rename_axis("barcode")
            write_table(table, proportions[sample, method])
    tables["quality"] = pd.DataFrame(quality, columns=["sample", *QUALITY])

    ran = [(sample, step.stage, step.method, "run", "") for sample, steps in params.steps.items() for step in steps]
    left = [(sample, step.stage, step.method, "skipped", reason) for sample, step, reason in params.skipped]
    tables["steps"] = pd.DataFrame(ran + left, columns=["sample", "stage", "method", "status", "reason"])

    checks = {
        Path(file).parts[-3] if "ingest" in file else Path(file).parts[-2]: file for file in snakemake.input.checks
    }
    found = [pd.read_csv(file, keep_default_na=False).assign(input=name) for name, file in checks.items()]
    tables["checks"] = pd.concat(found, ignore_index=True)[["input", *found[0].columns.drop("input")]]

    score_names = ["sample", "stage", "method", "metric", "value", "n_spots"]
    tables["scores"] = stacked(snakemake.input.scores, score_names)
    tables["scores_by_type"] = stacked(snakemake.input.by_type, ["sample", "method", "cell_type", "pearson", "rmse"])
    for name in ("matching", "label_enrichment", "truth_correlation"):
        found = [pd.read_csv(f, keep_default_na=False).assign(sample=Path(f).parts[-3]) for f in snakemake.input[name]]
        tables[name] = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["sample"])
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
        log.info("%s: %d rows", name, len(table))
