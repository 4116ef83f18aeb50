"""Creates spots.h5ad, a sample in the pipeline's own layout, and checks.csv, what is wrong or odd with it."""

from job import job
from pointillist.data.checks import check_spots
from pointillist.data.contract import read_genes
from pointillist.data.files import write_h5ad, write_table
from pointillist.data.gene_sets import check_gene_sets, read_gene_sets
from pointillist.data.genes import check_shared_genes
from pointillist.data.readers import read_spots
from pointillist.errors import raise_errors, report_problems

with job(snakemake) as log:
    row, options = snakemake.params.row, snakemake.params.options
    sample, files = snakemake.wildcards.sample, snakemake.input
    spots = read_spots(
        files.path,
        row["format"],
        coordinates=files.get("coordinates"),
        bin_um=int(row["bin_um"]) if row["bin_um"] else None,
        image=files.get("image"),
        sample=sample,
        image_scale=float(row["image_scale"]) if row["image_scale"] else None,
        genome_prefix=options["genome_prefix"],
        duplicate_genes=options["duplicate_genes"],
    )
    log.info("read %d spots × %d genes from %s", *spots.shape, files.path)
    problems = check_spots(
        spots,
        sample=sample,
        file=files.path,
        min_spots=options["min_spots"],
        labels=row["labels"] or None,
        allow_noninteger=options["allow_noninteger"],
    )
    if "reference" in files.keys() and snakemake.params.min_shared_genes:
        genes = read_genes(files.reference)
        shared, found = check_shared_genes(
            spots.var_names,
            genes.index,
            sample=sample,
            reference=row["reference"],
            min_shared_genes=snakemake.params.min_shared_genes,
            spot_gene_ids=spots.var.get("gene_ids"),
            reference_gene_ids=genes.get("gene_ids"),
            file=files.path,
        )
        problems += found
        log.info("%d genes shared with the reference %s", len(shared), row["reference"])
    if "gene_sets" in files.keys():
        _, found = check_gene_sets(read_gene_sets(files.gene_sets), spots.var_names, sample, min_genes=3)
        problems += found
    for problem in problems:
        log.warning("%s", problem)
    raise_errors(problems)
    for column in snakemake.params.carried:
        spots.obs[column] = row[column]
    write_h5ad(spots, snakemake.output.spots)
    write_table(report_problems(problems), snakemake.output.checks)
