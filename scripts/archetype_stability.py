"""Creates stability.csv: how far each archetype moves when the spots are drawn again."""

from job import job
from pointillist import archetypes
from pointillist.data.contract import kept_spots, read_spots_h5ad
from pointillist.data.files import read_parquet, write_table

with job(snakemake) as log:
    kept = kept_spots(read_spots_h5ad(snakemake.input.spots))
    found = read_parquet(snakemake.input.archetypes)
    table = archetypes.bootstrap_stability(
        kept.obsm["X_pca"], found.to_numpy(), snakemake.params.n_bootstraps, seed=snakemake.params.seed
    )
    firm = int((table["recovered"] >= 0.8).sum())
    log.info("%d of %d archetypes come back in at least 80 %% of draws", firm, len(table))
    write_table(table, snakemake.output[0])
