"""Creates consensus.parquet, agreement.parquet, the methods' disagreement in every spot, and agreement_by_type.csv."""

from job import job
from pointillist.data.files import read_parquet, write_table
from pointillist.deconvolution import compare_methods, find_consensus

with job(snakemake) as log:
    tables = {method: read_parquet(file) for method, file in zip(snakemake.params.methods, snakemake.input)}
    consensus, members = find_consensus(tables, snakemake.params.consensus)
    by_spot, by_type = compare_methods(tables)
    log.info("consensus of %s", ", ".join(members))
    log.info("%d methods: median disagreement %.3f bits", len(tables), by_spot["jsd"].median())
    write_table(consensus, snakemake.output.consensus)
    write_table(by_spot, snakemake.output.agreement)
    write_table(by_type, snakemake.output.by_type)
