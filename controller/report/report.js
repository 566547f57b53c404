"use strict";
// Draws the figures in the theme's colours; again when the theme or the medium changes.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const PAPER = 340; // half the width of an A4 page, in CSS pixels
  let printing = false;
  let waiting = [];

  const themed = (value, colour) => {
    if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map((part) => themed(part, colour)) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, themed(part, colour)]));
  };

  const draw = (figure) => {
    const box = document.getElementById(figure.id);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, automargin: true, fixedrange: printing };
    const given = themed(figure.layout, colour);
    const width = printing ? (box.closest(".chart:last-child:nth-child(odd)") ? 2 * PAPER : PAPER) : box.clientWidth;
    const fits = (label) => label.room === undefined || 7 * label.text.length <= label.room * (width - 60);
    const above = (given.annotations || []).some((label) => label.room !== undefined) ? 14 : 0; // room for the names of stages
    const height = printing ? 200 : box.clientHeight;
    const layout = {
      ...given,
      annotations: (given.annotations || []).filter(fits).map(({ room, ...label }) => label),
      xaxis: { ...axis, showline: true, ...given.xaxis },
      yaxis: { ...axis, ...given.yaxis },
      font: { family: getComputedStyle(document.body).fontFamily, size: printing ? 9 : 12, color: colour("--quiet") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 12, t: 26 + above, b: 42 },
      height,
      width,
      hovermode: "x unified",
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      showlegend: figure.data.length > 1,
      legend: { orientation: "h", x: 0, y: 1.02 + above / (height - 100), yanchor: "bottom", traceorder: "normal" },
      dragmode: false,
    };
    Plotly.react(box, themed(figure.data, colour), layout, { displayModeBar: false, displaylogo: false, staticPlot: printing });
  };

  // One at a time, so that a page of a hundred charts can be read while it is drawn.
  const next = () => {
    const figure = waiting.shift();
    if (!figure) return;
    draw(figure);
    setTimeout(next);
  };
  const drawAll = () => {
    const idle = waiting.length === 0;
    waiting = [...figures];
    if (idle) next();
  };
  const paper = (on) => {
    printing = on;
    waiting = [];
    if (on) {
      document.querySelectorAll("details:not([open], .screen)").forEach((fold) => { fold.open = true; fold.dataset.opened = ""; });
      figures.forEach(draw);
    } else {
      document.querySelectorAll("details[data-opened]").forEach((fold) => { fold.open = false; delete fold.dataset.opened; });
      drawAll();
    }
  };

  document.documentElement.classList.add("drawing");
  if (matchMedia("print").matches) paper(true);
  else drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (!printing) drawAll(); });
  matchMedia("print").addEventListener("change", (event) => { if (event.matches !== printing) paper(event.matches); });
  addEventListener("beforeprint", () => { if (!printing) paper(true); });
  addEventListener("afterprint", () => { if (printing) paper(false); });
  let width = innerWidth;
  let timer = 0;
  addEventListener("resize", () => {
    if (printing || innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 150);
  });
})();
