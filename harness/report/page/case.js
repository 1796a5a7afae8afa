// One case: what was found, the maps, the layers.
let sharedParts = null;
let opened = null;
async function openCase(one, wanted) {
  const turn = (opened = {});
  document.title = one.method + ", " + one.model;
  const detail = await unpacked("detail-" + one.id);
  sharedParts = sharedParts || (await unpacked("shared"));
  if (turn !== opened || state().case !== String(one.id)) return;
  const around = visible({ ...wanted, case: "" }).map((each) => each.id), place = around.indexOf(one.id);
  const step = (by) => element("button", { type: "button", disabled: place < 0 || around[place + by] === undefined, onclick: () => go({ case: String(around[place + by]) }) }, by < 0 ? "← previous" : "next →");
  const title = element("h2", { tabindex: "-1" }, one.method + " on " + one.model + ", " + one.dtype);
  casePart.replaceChildren(
    element("div", { class: "bar" }, element("button", { type: "button", id: "back", onclick: () => go({ case: "" }) }, "↑ all cases"), step(-1), step(1)),
    title, verdictPart(one), findingsPart(one, detail), mapsPart(detail), layersPart(one, detail), againPart(one, detail));
  title.focus();
  window.scrollTo(0, 0);
}
function verdictPart(one) {
  const badge = element("span", { class: "cell v-" + one.verdict + (one.passed ? "" : " failed"), "aria-hidden": "true" }, one.symbol);
  const words = [one.verdict + (one.passed ? ", passed" : ", did not pass")];
  if (one.worst_layer) words.push("largest difference at " + one.worst_layer + ": relative L2 " + short(one.rel_l2) + ", " + short(one.floors) + " noise floors");
  if (one.input) words.push("input " + one.input);
  if (one.target) words.push((one.target.includes("; ") ? "classes explained: " : "class explained: ") + one.target.replaceAll("; ", ", "));
  const notes = one.notes ? [element("p", { class: "note" }, one.notes)] : [];
  return element("div", {}, element("p", {}, badge, " " + words.join("; ") + "."), one.message ? element("p", { class: one.passed ? "note" : "finding" }, one.message) : null, ...notes);
}
function findingsPart(one, detail) {
  const found = detail.diagnosis, part = element("div", { id: "diagnosis" });
  if (one.passed && !found) return part;
  part.append(element("h3", {}, "What is done differently"));
  if (found && found.findings.length) for (const each of found.findings) part.append(findingPart(each));
  else if (found) part.append(element("p", { class: "finding" }, found.explanation));
  else if (one.like) part.append(element("p", { class: "finding" }, "Not diagnosed by itself. It fails like " + one.like + ", whose cause is " + one.cause + "."));
  else part.append(element("p", { class: "finding" }, one.diagnosis || "Not diagnosed: the command below, with --diagnose all, says which layer does what."));
  for (const note of (found && found.notes) || []) part.append(element("p", { class: "note" }, note));
  return part;
}
function findingPart(each) {
  const facts = Object.entries(each.facts).map(([name, value]) => element("li", {}, name.replaceAll("_", " ") + ": " + (typeof value === "object" ? JSON.stringify(value) : value)));
  return element("div", { class: "finding" },
    element("p", {}, element("strong", {}, (each.layer || "the whole run") + " (" + each.stage + "): " + each.cause)),
    element("p", {}, each.sentence + "."),
    element("p", { class: "soft" }, "Relative L2: the step is off by " + short(each.error) + (each.residual === null ? "" : ", with this done by the reference too by " + short(each.residual)) + "; rounding explains " + short(each.floor)),
    facts.length ? element("ul", {}, ...facts) : null);
}
function mapsPart(detail) {
  const part = element("div", { id: "maps" }), samples = (detail.view && detail.view.samples) || [];
  if (!samples.length) return part;
  const place = element("div", { class: "maps" });
  let chosen = 0, own = false;
  const draw = () => {
    const sample = samples[chosen], input = sharedParts[sample.input], names = ["reference", "candidate", "difference"].filter((name) => sample[name]);
    const largest = Math.max(...names.map((name) => sample[name].largest));
    const figures = names.map((name) => {
      const map = sample[name], scale = own ? map.largest : largest;
      const strange = map.not_finite ? ", " + map.not_finite + " not finite" : "";
      const summed = map.block.some((block) => block > 1) ? ", sums over " + map.block.join("×") + " places" : "";
      return element("figure", {}, mapPicture(map, scale, name, sample.labels, input), element("figcaption", {}, name + ": at most " + short(map.largest) + strange + summed), element("div", { class: "scale", "aria-hidden": "true" }), element("div", { class: "soft" }, "−" + short(scale) + " … 0 … " + short(scale)));
    });
    place.replaceChildren(element("figure", {}, inputPicture(input, sample.labels), element("figcaption", {}, "input: " + short(input.low) + " to " + short(input.high))), ...figures);
  };
  const pick = element("select", { "aria-label": "Sample" }, ...samples.map((sample, at) => element("option", { value: at }, sample.name + (sample.rel_l2 === null ? "" : " (relative L2 " + short(sample.rel_l2) + ")"))));
  pick.addEventListener("change", () => { chosen = Number(pick.value); draw(); });
  const scaled = element("button", { type: "button", id: "own-scale", "aria-pressed": "false", onclick: () => { own = !own; scaled.setAttribute("aria-pressed", String(own)); draw(); } }, "each map its own scale");
  part.append(element("h3", {}, "Maps"), element("div", { class: "bar" }, pick, scaled), place);
  draw();
  return part;
}
const VIEWS = {
  errors: ["verdict", "rel_l2", "floor", "floors", "introduced", "inherited", "decided_by", "mae", "max_abs", "pearson_r", "ccc", "cosine", "best_scale", "rel_l2_after_scale"],
  "signs and extremes": ["sign_agreement", "ref_min", "cand_min", "ref_max", "cand_max", "ref_argmax", "cand_argmax", "ref_argmin", "cand_argmin", "ref_negative", "cand_negative", "ref_zero", "cand_zero", "ref_positive", "cand_positive", "ref_nan", "cand_nan", "ref_inf", "cand_inf"],
  conservation: ["ref_sum", "cand_sum", "cand_by_ref", "factor"],
};
// The factor between two sums in words, where it or its inverse is one of the network's numbers.
function namedFactor(factor, counts) {
  for (const [verb, value] of [["times ", factor], ["divided by ", 1 / factor]]) {
    const names = Object.entries(counts).filter(([, count]) => Math.abs(value - count) <= 1e-3 * count).map(([name]) => name);
    if (names.length) return verb + names.join(" or ") + " (" + Math.round(value) + ")";
  }
  return "";
}
function records(table) {
  return table ? table.rows.map((row) => Object.fromEntries(table.columns.map((name, place) => [name, row[place]]))) : [];
}
function layersPart(one, detail) {
  const part = element("div", { id: "layers" }), rows = records(detail.layers), forward = records(detail.forward);
  if (!rows.length && !forward.length) return part;
  const steps = (detail.diagnosis && detail.diagnosis.introduced) || {};
  for (const row of rows) if (steps[row.layer]) [row.introduced, row.inherited, row.step_floor, row.differs] = steps[row.layer];
  for (const row of rows) if (row.ref_sum && typeof row.cand_sum === "number") {
    row.cand_by_ref = row.cand_sum / row.ref_sum;
    row.factor = namedFactor(row.cand_by_ref, (detail.view && detail.view.counts) || {});
  }
  const stepped = Object.keys(steps).length > 0;
  const marked = (detail.diagnosis && detail.diagnosis.layer) || (rows.find((row) => row.differs) || {}).layer || one.parts_at;
  part.append(element("h3", {}, "Relevance error by layer"),
    element("div", { class: "scroll chart" }, errorChart(rows.map((row) => ({ layer: row.layer, error: row.rel_l2, floor: row.floor, bound: data.multiple * (row.floor || 0), introduced: row.introduced, differs: row.differs })), marked)),
    element("p", { class: "soft" }, "Dots: how far the relevance is off in the full run. Band: what rounding explains." + (stepped ? " Diamonds: what the layer’s own step introduces on the reference’s operands; filled where rounding does not explain it." + (detail.diagnosis.dtype && detail.diagnosis.dtype !== one.dtype ? " The steps were run in " + detail.diagnosis.dtype + "." : "") : " Steps were not run for this case, so what a layer introduces is not shown: xai-harness diagnose runs them.")));
  part.append(element("h3", {}, "Sum of relevance by layer"), element("div", { class: "scroll chart" }, sumChart(rows.map((row) => ({ layer: row.layer, ref: row.ref_sum ?? null, cand: row.cand_sum ?? null })))), element("p", { class: "soft" }, "Solid: reference. Dashed: candidate. A method that conserves relevance draws a flat line."));
  const layers = detail.view && sharedParts[detail.view.network];
  if (layers) {
    const byName = Object.fromEntries(rows.map((row) => [row.layer, row]));
    const errorOf = (name) => {
      if (stepped) return steps[name] ? { error: steps[name][0], ratio: steps[name][2] ? steps[name][0] / steps[name][2] : 0 } : null;
      return byName[name] ? { error: byName[name].rel_l2, ratio: byName[name].floors } : null;
    };
    const box = element("div", { class: "network scroll", tabindex: "0" }, networkDrawing(layers, errorOf, marked));
    part.append(element("h3", {}, "The network"), element("p", { class: "soft" }, stepped ? "Coloured by the error that each layer introduces; ≠ where rounding does not explain it." : "Coloured by how far the relevance of each layer’s output is off; ≠ where rounding does not explain it."), box);
    const at = layers.findIndex(([name]) => name === marked);
    if (at > 8) requestAnimationFrame(() => { box.scrollTop = (at - 4) * 30 * (box.firstChild.clientHeight / box.firstChild.viewBox.baseVal.height || 1); });
  }
  const place = element("div", { class: "scroll" }), tables = { ...VIEWS };
  const buttons = element("div", { class: "bar" });
  const draw = (name) => {
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(button.textContent === name));
    const shown = name === "activations" ? forward : rows;
    const wanted = name === "activations" ? ["verdict", "rel_l2", "max_abs", "floor", "floors", "decided_by"] : tables[name];
    const columns = ["layer", "kind", "shape", ...wanted.filter((column) => shown.some((row) => row[column] !== undefined && row[column] !== null))];
    place.replaceChildren(layerTable(shown, columns, marked));
  };
  for (const name of [...Object.keys(tables), ...(forward.length ? ["activations"] : [])]) buttons.append(element("button", { type: "button", onclick: () => draw(name) }, name));
  part.append(element("h3", {}, "Layers, from the output back"), buttons, place);
  draw("errors");
  return part;
}
const TEXTS = new Set(["factor", "layer", "kind", "shape", "verdict", "decided_by", "ref_argmax", "cand_argmax", "ref_argmin", "cand_argmin"]);
function layerTable(rows, columns, marked) {
  const head = columns.map((name) => element("th", { scope: "col", "aria-sort": "none" }, element("button", { type: "button", "data-kind": TEXTS.has(name) ? "text" : "number" }, name.replaceAll("_", " "))));
  const body = rows.map((row) => element("tr", { class: row.layer === marked ? "first" : null }, ...columns.map((name) => {
    const value = row[name];
    if (TEXTS.has(name)) return element("td", {}, value === null || value === undefined ? "" : String(value));
    return element("td", { class: "num", "data-value": value === null || value === undefined ? "" : value }, short(value));
  })));
  return element("table", { class: "sortable" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}
function againPart(one, detail) {
  const part = element("div", { id: "again" }, element("h3", {}, "Again"), element("p", {}, "This case alone:"), element("pre", {}, one.again));
  const packedFolder = detail.reproducer;
  if (packedFolder && packedFolder.zip) part.append(element("p", {}, element("a", { href: "data:application/zip;base64," + packedFolder.zip, download: "reproducer-" + one.id + ".zip" }, "Download the reproducer"), ": a script and its data, which need NumPy and the candidate’s framework alone."));
  else if (packedFolder) part.append(element("p", {}, "Reproducer: " + packedFolder.folder + " in the folder of this run."));
  return part;
}
