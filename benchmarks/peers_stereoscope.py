"""stereoscope as scvi-tools has it: negative binomial programmes from the cells, then proportions of the spots."""

from peers_io import annotated, bound_torch, now, read_input, write_result


def main():
    bound_torch()
    import scvi
    from scvi.external import RNAStereoscope, SpatialStereoscope

    given, options = read_input()
    scvi.settings.seed = options["seed"]
    cells = annotated(given["reference"], cell_type=given["labels"])
    spots = annotated(given["X"])
    quiet = {"enable_progress_bar": False, "accelerator": "cpu", "logger": False}
    start = now()
    RNAStereoscope.setup_anndata(cells, labels_key="cell_type")
    programmes = RNAStereoscope(cells)
    programmes.train(max_epochs=options["cell_epochs"], **quiet)
    SpatialStereoscope.setup_anndata(spots)
    model = SpatialStereoscope.from_rna_model(spots, programmes)
    model.train(max_epochs=options["spot_epochs"], **quiet)
    found = model.get_proportions()
    write_result(found[list(given["types"])].to_numpy(), given["types"], now() - start, "scvi-tools")


if __name__ == "__main__":
    main()
