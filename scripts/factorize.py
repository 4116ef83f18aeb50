"""Creates usage.parquet, loadings.parquet and loss.csv: factors of the log-normalised variable genes."""

import pandas as pd

from job import job
from pointillist.data.contract import by_spot, component_names, kept_spots, read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.factorization import METHODS

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input[0])
    variable = spots.var_names[spots.var["highly_variable"]]
    kept = kept_spots(spots)[:, variable]
    method = METHODS[snakemake.params.method]
    log.info("%s: %d spots × %d genes, %d factors", method.title, *kept.shape, snakemake.params.n_factors)
    result = method.run(
        kept.X, snakemake.params.n_factors, options=snakemake.params.options, seed=snakemake.params.seed
    )
    factors = component_names("factor", snakemake.params.n_factors)
    loss = pd.DataFrame({"iteration": range(1, len(result.loss) + 1), "loss": result.loss})
    write_table(by_spot(result.usage, spots, factors), snakemake.output.usage)
    write_table(
        pd.DataFrame(result.loadings, index=pd.Index(factors, name="factor"), columns=variable),
        snakemake.output.loadings,
    )
    write_table(loss, snakemake.output.loss)
