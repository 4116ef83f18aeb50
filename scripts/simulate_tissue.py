"""Creates the simulated tissue, its reference and gene sets; the truth goes into a file of its own."""

from job import job
from pointillist.data.files import write_h5ad, write_table
from pointillist.data.simulation import simulate_tissue

with job(snakemake) as log:
    tissue = simulate_tissue(seed=snakemake.params.seed, **snakemake.params.options)
    write_h5ad(tissue.spots, snakemake.output.spots)
    write_h5ad(tissue.reference, snakemake.output.reference)
    write_table(tissue.truth, snakemake.output.truth)
    write_table(tissue.gene_sets, snakemake.output.gene_sets)
    log.info("simulated %d spots × %d genes, %d reference cells", *tissue.spots.shape, tissue.reference.n_obs)
