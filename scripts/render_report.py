"""Creates report.html: all samples on one page that opens offline."""

import json
from pathlib import Path

import pandas as pd
import yaml

from job import job
from pointillist.catalogue import TITLES
from pointillist.data.contract import read_spots_h5ad
from pointillist.data.files import write_text
from pointillist.metrics import DEFINITIONS
from pointillist.report import content, page


def read_csv(file):
    return pd.read_csv(file, keep_default_na=False, na_values=[""], dtype={"sample": str})


def read_figures(folder):
    listed = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return [{**entry, "url": page.data_url((folder / f"{entry['name']}.png").read_bytes())} for entry in listed]


with job(snakemake) as log:
    params, files = snakemake.params, snakemake.input
    tables = {name: read_csv(file) for name, file in zip(params.tables, files.tables)}
    skipped = tables["steps"][tables["steps"]["status"] == "skipped"].drop(columns="status")
    provenance = json.loads(Path(files.provenance).read_text(encoding="utf-8"))
    keys = [line.split("{")[1].rstrip(",\n") for line in open(files.citations, encoding="utf-8") if line[:1] == "@"]
    samples = []
    for name, spots_file, figures in zip(params.samples, files.spots, files.figures):
        spots = read_spots_h5ad(spots_file)
        left_out = skipped[skipped["sample"] == name]
        figures = read_figures(Path(figures))
        known = {
            table: tables[table][tables[table]["sample"] == name] for table in ("label_enrichment", "truth_correlation")
        }
        samples.append(content.describe_sample(name, spots, figures, params.rows[name], left_out, TITLES, known))
        log.info("%s: %d figures", name, len(figures))
    across = None
    if len(files.across):
        figures, consensus, markers = map(Path, files.across)
        across = content.describe_across_samples(read_csv(consensus), read_csv(markers), read_figures(figures))
    html = page.render_page(
        across=across,
        title=params.title,
        samples=samples,
        simulated=[sample["name"] for sample in samples if sample["simulated"]],
        quality=tables["quality"],
        skipped=skipped if len(skipped) else None,
        checks=tables["checks"][["input", "level", "code", "found", "fix"]] if len(tables["checks"]) else None,
        scores=content.score_blocks(tables["scores"], TITLES) if len(tables["scores"]) else None,
        definitions=DEFINITIONS,
        methods=Path(files.methods).read_text(encoding="utf-8").strip().split("\n\n"),
        citations=content.references(keys),
        provenance=provenance,
        settings=yaml.safe_dump(provenance["config"], sort_keys=False, allow_unicode=True),
    )
    write_text(html, snakemake.output[0])
    log.info("%.1f MB", len(html) / 1e6)
