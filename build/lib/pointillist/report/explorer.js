// Interactive map: choose a field, hover over a spot.
"use strict";

function explorer(root) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const select = root.querySelector("select");
  const target = root.querySelector(".plot");
  const fields = [];
  for (const group of data.groups) {
    const options = document.createElement("optgroup");
    options.label = group.name;
    for (const field of group.fields) {
      const option = document.createElement("option");
      option.value = String(fields.length);
      option.textContent = field.name;
      options.appendChild(option);
      fields.push(field);
    }
    select.appendChild(options);
  }

  const finite = (values) => values.filter((value) => value !== null);
  const span = (values) => Math.max(...finite(values)) - Math.min(...finite(values));
  const width = Math.min(root.clientWidth, 860);
  const height = data.spatial ? Math.min(720, Math.max(320, ((width - 160) * span(data.y)) / span(data.x))) : 520;
  const perUnit = (width - 180) / (span(data.x) + 2 * data.diameter);
  const size = data.spatial ? Math.max(3, Math.min(22, data.diameter * perUnit * 0.95)) : 7;

  const layout = {
    width, height, margin: { l: 10, r: 10, t: 10, b: 10 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", size: 12 }, hovermode: "closest", dragmode: "pan",
    xaxis: { visible: false },
    yaxis: data.spatial ? { visible: false, autorange: "reversed", scaleanchor: "x" } : { visible: false },
    legend: { itemsizing: "constant" },
  };
  const options = { displaylogo: false, scrollZoom: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  function trace(rows, marker, name, texts) {
    return {
      type: "scatter", mode: "markers", name, showlegend: name !== "",
      x: rows.map((row) => data.x[row]), y: rows.map((row) => data.y[row]),
      text: texts, hovertemplate: "%{text}<extra></extra>", marker: { size, line: { width: 0 }, ...marker },
    };
  }

  function escape(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function draw() {
    const field = fields[Number(select.value)];
    const all = data.x.map((_, row) => row).filter((row) => data.x[row] !== null);
    let traces;
    if (field.codes) {
      traces = field.names.map((name, code) => {
        const rows = all.filter((row) => field.codes[row] === code);
        const texts = rows.map((row) => `${escape(data.spots[row])}<br>${escape(name)}`);
        return trace(rows, { color: field.colours[code] }, escape(name), texts);
      });
    } else {
      const shown = all.filter((row) => field.values[row] !== null);
      const missing = all.filter((row) => field.values[row] === null);
      const texts = shown.map((row) => `${escape(data.spots[row])}<br>${escape(field.name)}: ${field.values[row]}`);
      const marker = {
        color: shown.map((row) => field.values[row]), colorscale: "Viridis", showscale: true,
        colorbar: { thickness: 12, len: 0.6, outlinewidth: 0 },
      };
      traces = [
        trace(missing, { color: "#e3e3e3" }, "", missing.map((row) => `${escape(data.spots[row])}<br>no value`)),
        trace(shown, marker, "", texts),
      ];
    }
    Plotly.react(target, traces, layout, options);
  }
  select.addEventListener("change", draw);
  draw();
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      explorer(entry.target);
    }
  }
});
document.querySelectorAll(".explorer").forEach((root) => seen.observe(root));
