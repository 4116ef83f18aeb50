"""Creates domains.csv: the cluster of every spot in an embedding."""

import pandas as pd

from job import job
from pointillist.data.files import read_parquet, write_table
from pointillist.embedding import spatial_domains

with job(snakemake) as log:
    latent = read_parquet(snakemake.input.latent)
    n_domains = None if snakemake.params.n_domains == "auto" else snakemake.params.n_domains
    kept = latent.dropna()
    found = spatial_domains(kept.to_numpy(), n_domains, seed=snakemake.params.seed)
    names = pd.Series([f"domain_{label + 1:02d}" for label in found], index=kept.index, name="domain")
    log.info("%d domains", names.nunique())
    write_table(names.reindex(latent.index).to_frame(), snakemake.output.domains)
