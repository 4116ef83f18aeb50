"""Creates scores.csv: how far each method lies from a sample's known proportions and regions; scores_by_type.csv."""

import pandas as pd

from job import job
from pointillist.data.contract import read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.data.truth import read_truth
from pointillist.deconvolution import SIGNATURE_METHODS
from pointillist.metrics import adjusted_rand_index, score_by_type, score_proportions

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input.spots)
    sample, labels = snakemake.wildcards.sample, snakemake.params.labels
    rows, by_type = [], []
    if "truth" in snakemake.input.keys():
        truth = read_truth(snakemake.input.truth, sample)
        for method in snakemake.params.deconvolution:
            estimate = spots.obsm[f"{method}_proportions"]
            if method in SIGNATURE_METHODS and estimate.columns.intersection(truth.columns).empty:
                log.warning("%s has no score: no gene set has the name of a cell type of the truth", method)
                continue
            scores = score_proportions(estimate, truth)
            n_spots = scores.pop("n_spots")
            rows += [(sample, "deconvolution", method, metric, value, n_spots) for metric, value in scores.items()]
            by_type.append(score_by_type(estimate, truth).assign(sample=sample, method=method))
    if labels:
        for model in snakemake.params.embedding:
            clusters = spots.obs[f"{model}_domain"]
            n_spots = int((clusters.notna() & spots.obs[labels].notna()).sum())
            rows.append((sample, "embedding", model, "ari", adjusted_rand_index(spots.obs[labels], clusters), n_spots))
    scores = pd.DataFrame(rows, columns=["sample", "stage", "method", "metric", "value", "n_spots"])
    for _, row in scores[scores["metric"].isin(["rmse", "pearson", "ari"])].iterrows():
        log.info("%-20s %-8s %.3f", row["method"], row["metric"], row["value"])
    columns = ["sample", "method", "cell_type", "pearson", "rmse", "mean_truth", "mean_estimate"]
    write_table(scores, snakemake.output.scores)
    write_table(pd.concat(by_type)[columns] if by_type else pd.DataFrame(columns=columns), snakemake.output.by_type)
