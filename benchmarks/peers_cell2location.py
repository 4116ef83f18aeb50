"""cell2location: programmes by negative binomial regression of the cells, then abundances of the spots.

Two results: shares of the posterior means, and of the 5 % quantiles that its tutorial draws maps of.
"""

import sys

import numpy as np
from peers_io import annotated, bound_torch, now, read_input, write_result


def main():
    bound_torch()
    import scvi
    from cell2location.models import Cell2location, RegressionModel

    given, options = read_input()
    scvi.settings.seed = options["seed"]
    types = [str(name) for name in given["types"]]
    cells = annotated(given["reference"], cell_type=given["labels"])
    spots = annotated(given["X"])
    quiet = {"enable_progress_bar": False, "accelerator": "cpu", "logger": False}
    start = now()
    RegressionModel.setup_anndata(cells, labels_key="cell_type")
    regression = RegressionModel(cells)
    regression.train(max_epochs=options["cell_epochs"], batch_size=2500, train_size=1, lr=0.002, **quiet)
    samples = {"num_samples": options["samples"], "batch_size": 2500, "accelerator": "cpu"}
    cells = regression.export_posterior(cells, sample_kwargs=samples)
    programmes = cells.varm["means_per_cluster_mu_fg"][[f"means_per_cluster_mu_fg_{name}" for name in types]]
    programmes.columns = types

    Cell2location.setup_anndata(spots)
    model = Cell2location(
        spots,
        cell_state_df=programmes,
        N_cells_per_location=options["cells_per_spot"],
        detection_alpha=options["detection_alpha"],
    )
    model.train(max_epochs=options["spot_epochs"], batch_size=None, train_size=1, **quiet)
    samples = {"num_samples": options["samples"], "batch_size": spots.n_obs, "accelerator": "cpu"}
    spots = model.export_posterior(spots, sample_kwargs=samples)
    seconds = now() - start
    shares = {name: _shares(spots.obsm[f"{name}_cell_abundance_w_sf"], name, types) for name in ("means", "q05")}
    write_result(shares["means"], types, seconds, "cell2location")
    with np.load(sys.argv[2]) as stored:
        result = {name: stored[name] for name in stored.files}
    np.savez(sys.argv[2], **result, proportions_q05=shares["q05"])


def _shares(table, name, types):
    columns = {column: column.split("w_sf_", 1)[1] for column in table.columns}
    abundance = table.rename(columns=columns)[types].to_numpy(dtype=float)
    return abundance / abundance.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
