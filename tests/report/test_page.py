"""The page: nothing in it is run that was only named, it asks no server, and it is the same each time."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest

from pointillist.data.contract import record_step
from pointillist.report import content, page
from pointillist.report.provenance import bibtex, load_citations, reference, short

EVIL = '</script><script>alert("x")</script>'


@pytest.fixture
def spots():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "filtered": [False] * 19 + [True],
            "total_counts": rng.poisson(900, 20).astype(float),
            "n_genes": 30,
            "mitochondrial": 0.1,
            "region": pd.Categorical(["a", "b"] * 10),
        },
        index=[f"spot_{i}" for i in range(20)],
    )
    adata = anndata.AnnData(np.ones((20, 3), dtype=np.float32), obs=obs)
    adata.obsm["spatial"] = np.stack(np.mgrid[:4, :5], -1).reshape(-1, 2) * 10.0
    shares = rng.dirichlet(np.ones(2), 20)
    shares[19] = np.nan
    adata.obsm["nnls_proportions"] = pd.DataFrame(shares, obs.index, [EVIL, "B & T"])
    adata.obsm["nnls_fit"] = pd.DataFrame({"pearson": shares[:, 0]}, obs.index)
    record_step(adata, "preprocessing", {}, 0)
    return adata


def render(spots):
    row = {"reference": EVIL}
    skipped = pd.DataFrame({"sample": ["s"], "stage": ["joint_nmf"], "method": ["joint_nmf"], "reason": [EVIL]})
    sample = content.describe_sample("s", spots, [], row, skipped, {"nnls": "NNLS"})
    scores = pd.DataFrame(
        [
            ("s", "deconvolution", m, metric, v, 19)
            for m, v in (("nnls", 0.2), ("x", 0.1))
            for metric in ("rmse", "aupr")
        ],
        columns=["sample", "stage", "method", "metric", "value", "n_spots"],
    )
    return page.render_page(
        title=EVIL,
        samples=[sample],
        simulated=[],
        quality=pd.DataFrame({"sample": [EVIL], "n_spots": [20]}),
        skipped=skipped,
        checks=None,
        scores=content.score_blocks(scores, {"nnls": "NNLS"}),
        definitions={"rmse": "…"},
        methods=["text"],
        citations=[],
        provenance={"versions": {"pointillist": "1"}, "seed": 0, "command": "snakemake", "inputs": {"a<b": "00"}},
        settings="seed: 0",
    )


def test_names_cannot_become_markup_or_code(spots):
    html = render(spots)
    assert EVIL not in html
    assert html.count("<script") == html.count("</script>") == 3
    data = re.search(r'<script type="application/json">(.*?)</script>', html, flags=re.S).group(1)
    assert json.loads(data)["groups"][0]["fields"][0]["name"] == EVIL


def test_it_asks_no_server_and_is_the_same_each_time(spots):
    html = render(spots)
    assert "default-src 'none'" in html
    head = html.split("<script>")[0]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", head)
    assert html == render(spots)


def test_the_best_score_is_marked_by_its_direction(spots):
    scores = pd.DataFrame(
        [("s", "deconvolution", m, metric, v, 5) for m, v in (("a", 0.2), ("b", 0.1)) for metric in ("rmse", "aupr")],
        columns=["sample", "stage", "method", "metric", "value", "n_spots"],
    )
    (block,) = content.score_blocks(scores, {})
    best = {(row["method"], metric): cell["best"] for row in block["rows"]
            for metric, cell in zip(block["metrics"], row["cells"])}  # fmt: skip
    assert best == {("a", "rmse"): False, ("a", "aupr"): True, ("b", "rmse"): True, ("b", "aupr"): False}


def test_the_map_leaves_missing_values_out_and_large_samples_to_the_figures(spots, monkeypatch):
    data = page.explorer_data(spots, {})
    assert data["groups"][0]["name"].startswith("Proportions")
    assert data["groups"][0]["fields"][0]["values"][19] is None
    monkeypatch.setattr(page, "EXPLORER_LIMIT", 10)
    assert page.explorer_data(spots, {}) is None


@pytest.mark.parametrize(
    "value, text", [(0.12345, "0.123"), (1234.5, "1,234"), (5.0, "5"), (float("nan"), "–"), (None, ""), ("a", "a")]
)
def test_numbers_are_short(value, text):
    assert page.significant(value) == text


def test_citations_are_complete():
    known = load_citations()
    assert short(known["gale1962"]) == "Gale & Shapley 1962"
    assert short(known["newman2015"]) == "Newman et al. 2015"
    for key, entry in known.items():
        assert str(entry["year"]) in reference(entry)
        assert entry["title"] in bibtex([key])
