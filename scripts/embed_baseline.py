"""Creates latent.parquet of a baseline: principal components, or their mean over each spot and its neighbours."""

from job import job
from pointillist.data.contract import by_spot, component_names, kept_spots, read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.embedding import neighbour_mean

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input[0])
    kept = kept_spots(spots)
    latent = kept.obsm["X_pca"]
    if snakemake.wildcards.baseline == "neighbour_mean_pca":
        latent = neighbour_mean(latent, kept.obsp["spatial_connectivities"])
    log.info("%d spots × %d components", *latent.shape)
    write_table(by_spot(latent, spots, component_names("latent", latent.shape[1])), snakemake.output.latent)
