# So that `snakemake` works from the top of a checkout.
include: "workflow/Snakefile"
