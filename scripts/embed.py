"""Creates latent.parquet and losses.csv: the embedding of every spot by one model."""

from job import job
from pointillist.data.contract import by_spot, component_names, kept_spots, read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.embedding import METHODS

with job(snakemake) as log:
    import torch

    torch.set_num_threads(snakemake.threads)
    spots = read_spots_h5ad(snakemake.input[0])
    kept = kept_spots(spots)
    counts = kept.layers["counts"][:, kept.var["highly_variable"].to_numpy()]
    model = METHODS[snakemake.wildcards.model]
    log.info("%s: %d spots × %d genes", model.title, *counts.shape)
    result = model.run(counts, options=snakemake.params.options, seed=snakemake.params.seed, spots=kept.obs_names)
    write_table(
        by_spot(result.latent, spots, component_names("latent", result.latent.shape[1])), snakemake.output.latent
    )
    write_table(result.losses, snakemake.output.losses)
