"""Creates label_enrichment.csv: which known labels each archetype's community lies in. A score: no method sees it."""

import pandas as pd

from job import job
from pointillist.archetypes import label_enrichment
from pointillist.data.contract import kept_spots, read_spots_h5ad
from pointillist.data.files import write_table

with job(snakemake) as log:
    kept = kept_spots(read_spots_h5ad(snakemake.input.spots))
    table = pd.read_csv(snakemake.input.communities, dtype={"barcode": str})
    membership = pd.crosstab(table["barcode"], table["archetype"]).reindex(kept.obs_names, fill_value=0) > 0
    enriched = label_enrichment(membership, kept.obs[snakemake.params.labels])
    for name, rows in enriched.groupby("archetype"):
        best = rows.sort_values(["q_value", "odds_ratio"], ascending=[True, False]).iloc[0]
        log.info("%s: %s, %.0f %%, q = %.2g", name, best["label"], 100 * best["share"], best["q_value"])
    write_table(enriched, snakemake.output[0])
