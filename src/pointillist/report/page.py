"""One page with everything that a run found: it opens offline, asks no server, and is the same bytes each time."""

import base64
import json
from importlib.resources import files

import numpy as np
import pandas as pd

from pointillist.plotting import Layout, colours_of

# Beyond so many spots a browser draws vector graphics slowly; the static maps are there all the same.
EXPLORER_LIMIT = 15_000


def render_page(across=None, **context):
    """HTML text of the report.

    Parameters
    ----------
    across : dict, optional
        ``figures`` and ``tables`` about all samples together.
    **context
        What the template ``report.html.j2`` names: ``title``, ``samples``, ``scores``, ``quality``, ``definitions``,
        ``methods``, ``citations``, ``provenance``, ``settings``.

    Returns
    -------
    str
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("pointillist", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded_json"] = embedded_json
    environment.filters["figures"] = significant
    assets = files("pointillist.report")
    explored = any(sample["explorer"] for sample in context["samples"])
    return environment.get_template("report.html.j2").render(
        style=assets.joinpath("report.css").read_text(encoding="utf-8"),
        explorer=assets.joinpath("explorer.js").read_text(encoding="utf-8"),
        # A closing tag inside a script would end it.
        across=across,
        plotly=get_plotlyjs().replace("</script", "<\\/script") if explored else "",
        **context,
    )


def embedded_json(value):
    """JSON that can stand inside a script element, whatever names it holds."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def significant(value, digits=3):
    """A number with so many significant digits; other values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return "" if value is None else value
    if value != value:
        return "–"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def data_url(png):
    """A PNG's picture as a URL that holds it, as WebP, which is a quarter of the size at the same look."""
    from io import BytesIO

    from PIL import Image

    packed = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(packed, "WEBP", quality=86, method=4)
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()


def explorer_data(spots, titles):
    """What the interactive map of a sample shows: positions and, by group, every field that has a value per spot.

    Parameters
    ----------
    spots : AnnData
        With all results, by the contract.
    titles : dict of str to str
        Titles of methods by name.

    Returns
    -------
    dict or None
        None where the sample has too many spots to be drawn so.
    """
    if spots.n_obs > EXPLORER_LIMIT:
        return None
    layout = Layout.of(spots)
    return {
        "spots": list(spots.obs_names),
        "x": _rounded(layout.xy[:, 0]),
        "y": _rounded(layout.xy[:, 1]),
        "spatial": layout.spatial,
        "diameter": float(f"{layout.diameter:.4g}"),
        "groups": sorted(
            (group for group in _groups(spots, titles) if group["fields"]), key=lambda group: _place(group["name"])
        ),
    }


def _place(name):
    """Groups in the order in which people look for them."""
    order = ("Proportions", "Archetypes", "Signature", "Factors", "Labels", "Agreement", "Residuals", "Quality")
    return next(place for place, start in enumerate(order) if name.startswith(start))


def _groups(spots, titles):
    for key, table in spots.obsm.items():
        if not isinstance(table, pd.DataFrame):
            continue
        for ending, name in (("_proportions", "Proportions"), ("_usage", "Factors")):
            if key.endswith(ending):
                method = key.removesuffix(ending)
                yield {
                    "name": f"{name}: {titles.get(method, method)}",
                    "fields": [_numbers(table[c], c) for c in table],
                }
        if key == "archetype_weights":
            yield {"name": "Archetypes", "fields": [_numbers(table[c], c) for c in table]}
        if key == "signature_scores":
            yield {"name": "Signature scores", "fields": [_numbers(table[c], c) for c in table]}
        if key == "agreement":
            yield {"name": "Agreement", "fields": [_numbers(table["jsd"], "disagreement of the methods (bits)")]}
        if key == "residuals":
            fields = [_numbers(table["unexplained"], "share of counts not explained")]
            missing = [column for column in table if column.startswith("missing_")]
            yield {"name": "Residuals", "fields": fields + [_numbers(table[c], c.replace("_", " ")) for c in missing]}
    known = ("total_counts", "n_genes", "mitochondrial")
    yield {"name": "Quality", "fields": [_numbers(spots.obs[name], name) for name in known if name in spots.obs]}
    categories = [c for c in spots.obs if isinstance(spots.obs[c].dtype, pd.CategoricalDtype)]
    chosen = [c for c in categories if 1 < spots.obs[c].nunique() <= 40]
    yield {"name": "Labels and domains", "fields": [_categories(spots.obs[c], c) for c in chosen]}


def _numbers(values, name):
    return {"name": str(name), "values": _rounded(values.to_numpy(dtype=float))}


def _categories(values, name):
    names = sorted(map(str, values.dropna().unique()))
    codes = pd.Index(names).get_indexer(values.astype(object).where(values.notna(), None).map(str))
    colours = colours_of(names)
    return {"name": str(name), "codes": codes.tolist(), "names": names, "colours": [colours[name] for name in names]}


def _rounded(values):
    return [None if not np.isfinite(value) else float(f"{value:.4g}") for value in np.asarray(values, dtype=float)]
