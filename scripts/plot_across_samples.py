"""Creates the figures of the archetypes of all samples as PNG and PDF, and figures.json, which says what each shows."""

from pathlib import Path

import pandas as pd

from job import job
from pointillist.data.files import write_json
from pointillist.plotting import save
from pointillist.report.archetype_figures import across_samples_figures

with job(snakemake) as log:
    consensus = pd.read_csv(snakemake.input.consensus, keep_default_na=False, dtype={"sample": str})
    pairs = pd.read_csv(snakemake.input.pairs, keep_default_na=False, dtype={"sample": str, "other": str})
    folder = Path(snakemake.output[0])
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for entry in across_samples_figures(consensus, pairs):
        for ending in ("pdf", "png"):
            save(entry.figure, folder / f"{entry.name}.{ending}", close=ending == "png")
        listed.append({key: getattr(entry, key) for key in ("stage", "name", "title", "caption")})
        log.info("%s", entry.title)
    write_json(listed, folder / "figures.json")
