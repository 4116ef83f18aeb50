"""Creates the figures of a sample as PNG and PDF, and figures.json, which says what each one shows."""

from pathlib import Path

import pandas as pd

from job import job
from pointillist.catalogue import TITLES
from pointillist.data.contract import read_spots_h5ad
from pointillist.data.files import write_json
from pointillist.data.truth import read_truth
from pointillist.plotting import save
from pointillist.report.figures import sample_figures

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input.spots)
    folder = Path(snakemake.output[0])
    folder.mkdir(parents=True, exist_ok=True)
    truth = read_truth(snakemake.input.truth) if "truth" in snakemake.input.keys() else None
    known = {
        name: pd.read_csv(snakemake.input[name], keep_default_na=False)
        for name in ("label_enrichment", "truth_correlation")
        if name in snakemake.input.keys()
    }
    listed = []
    for entry in sample_figures(spots, snakemake.params.steps, TITLES, snakemake.params.labels, truth, **known):
        for ending in ("pdf", "png"):
            save(entry.figure, folder / f"{entry.name}.{ending}", close=ending == "png")
        listed.append({key: getattr(entry, key) for key in ("stage", "name", "title", "caption")})
        log.info("%s", entry.title)
    write_json(listed, folder / "figures.json")
