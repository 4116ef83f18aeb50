"""Creates usage.parquet, shared by the modalities, and loadings_{modality}.parquet and loss.csv."""

import pandas as pd

from job import job
from pointillist.data.contract import by_spot, component_names, kept_spots, modality_counts, read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.factorization import JOINT, centred_log_ratio


def transformed(modality):
    """A modality on the scale that is factorised: RNA log-normalised, others as centred log ratios."""
    if modality == "rna":
        return kept[:, variable].X, list(variable)
    counts, features = modality_counts(kept, modality)
    return centred_log_ratio(counts), features


with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input[0])
    variable = spots.var_names[spots.var["highly_variable"]]
    kept = kept_spots(spots)
    options = dict(snakemake.params.options)
    modalities, n_factors = options.pop("modalities"), options.pop("n_factors")
    tables = {modality: transformed(modality) for modality in modalities}
    for modality, (matrix, _) in tables.items():
        log.info("%s: %d spots × %d features", modality, *matrix.shape)
    matrices = {modality: matrix for modality, (matrix, _) in tables.items()}
    result = JOINT.run(matrices, n_factors, options=options, seed=snakemake.params.seed)
    factors = component_names("factor", n_factors)
    write_table(by_spot(result.usage, spots, factors), snakemake.output.usage)
    for modality, file in zip(modalities, snakemake.output.loadings):
        index = pd.Index(factors, name="factor")
        write_table(pd.DataFrame(result.loadings[modality], index=index, columns=tables[modality][1]), file)
        log.info("%s: %.3f explained", modality, result.explained[modality])
    write_table(pd.DataFrame({"iteration": range(1, len(result.loss) + 1), "loss": result.loss}), snakemake.output.loss)
