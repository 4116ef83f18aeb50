# So that `snakemake` works from the top of a checkout.
include: "workflow/Snakefile"


# An included file does not set the default target.
rule all:
    default_target: True
    input:
        rules.everything.input,
