"""Creates cells.h5ad, a reference with `obs["cell_type"]`, and checks.csv, what is wrong or odd with it."""

from job import job
from pointillist.data.checks import check_reference
from pointillist.data.files import write_h5ad, write_table
from pointillist.data.readers import read_reference
from pointillist.errors import raise_errors, report_problems

with job(snakemake) as log:
    options, path = snakemake.params.reference, snakemake.input[0]
    column = options["cell_type"]
    cells = read_reference(
        path,
        column,
        options["layer"] or None,
        snakemake.wildcards.reference,
        genome_prefix=options["genome_prefix"],
        duplicate_genes=options["duplicate_genes"],
    )
    log.info("read %d cells × %d genes from %s", *cells.shape, path)
    problems = check_reference(
        cells,
        reference=snakemake.wildcards.reference,
        file=path,
        cell_type=column,
        min_cells=options["min_cells"],
        few_cells=options["few_cells"],
        allow_noninteger=options["allow_noninteger"],
    )
    for problem in problems:
        log.warning("%s", problem)
    raise_errors(problems)
    cells.obs["cell_type"] = cells.obs[column].astype(str).astype("category")
    for name, n_cells in cells.obs["cell_type"].value_counts().sort_index().items():
        log.info("%6d cells of %s", n_cells, name)
    write_h5ad(cells, snakemake.output.cells)
    write_table(report_problems(problems), snakemake.output.checks)
