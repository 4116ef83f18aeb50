"""Creates consensus.csv, which archetypes of several samples are one state, with all comparisons and shared markers."""

import pandas as pd

from job import job
from pointillist import archetypes
from pointillist.data.contract import kept_spots, read_spots_h5ad
from pointillist.data.files import read_parquet, write_table

with job(snakemake) as log:
    files, output, params = snakemake.input, snakemake.output, snakemake.params
    profiles, markers, mass, signatures = {}, {}, {}, []
    for name, spots_file, communities, marked, weights in zip(
        params.samples, files.spots, files.communities, files.markers, files.weights
    ):
        kept = kept_spots(read_spots_h5ad(spots_file))
        table = pd.read_csv(communities, dtype={"barcode": str})
        membership = pd.crosstab(table["barcode"], table["archetype"]).reindex(kept.obs_names, fill_value=0) > 0
        profiles[name] = archetypes.community_profiles(kept.X, kept.var_names, membership)
        markers[name], mass[name] = pd.read_csv(marked), read_parquet(weights).mean()
    found = archetypes.match_across_samples(profiles, markers, mass, params.min_similarity)
    for name, file in zip(params.matched, files.matching):
        signatures.append(pd.read_csv(file, keep_default_na=False)[["archetype", "signature"]].assign(sample=name))
    signatures = pd.concat(signatures) if signatures else pd.DataFrame(columns=["sample", "archetype", "signature"])
    consensus = found.consensus.merge(signatures, on=["sample", "archetype"], how="left").fillna({"signature": ""})
    sizes = consensus.loc[consensus["group"] != "", "group"].value_counts()
    log.info("%d groups of %d archetypes, %d archetypes alone", len(sizes), sizes.sum(), len(consensus) - sizes.sum())
    write_table(consensus, output.consensus)
    write_table(found.pairs, output.pairs)
    write_table(found.markers, output.markers)
