// Charts as SVG.
function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function svg(width, height, label) {
  return shape("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": label });
}
function hint(made, text) {
  made.append(shape("title", {}, text));
  return made;
}
function short(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (value === 0 || (Number.isInteger(value) && Math.abs(value) < 1e6)) return String(value);
  const size = Math.abs(value);
  return size >= 0.01 && size < 1e4 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}
// Error by layer on a log axis, from the output (left) back to the input; the band is what rounding explains.
function errorChart(rows, marked) {
  const width = 900, height = 300, left = 58, right = 12, top = 22, bottom = 40;
  const values = rows.flatMap((row) => [row.error, row.introduced, row.bound]).filter((value) => value > 0 && Number.isFinite(value));
  if (!values.length) return element("p", { class: "soft" }, "Every relevance is equal bit for bit.");
  const low = Math.floor(Math.log10(Math.min(...values))) - 1, high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(...values))));
  const x = (place) => left + ((place + 0.5) * (width - left - right)) / rows.length;
  const y = (value) => (value > 0 ? Math.max(top, height - bottom - ((Math.log10(value) - low) * (height - top - bottom)) / (high - low)) : height - bottom);
  const drawing = svg(width, height, "Relevance error by layer, log axis, from the output to the input");
  for (let power = low; power <= high; power += Math.max(1, Math.ceil((high - low) / 8))) {
    const line = y(10 ** power);
    drawing.append(shape("line", { x1: left, x2: width - right, y1: line, y2: line, stroke: "var(--line)" }), shape("text", { x: left - 6, y: line + 4, "text-anchor": "end" }, power === low ? "0" : "1e" + power));
  }
  const band = rows.map((row, place) => [x(place), y(row.bound)]);
  if (band.length) drawing.append(hint(shape("polygon", { points: [[left, height - bottom], [left, band[0][1]], ...band, [width - right, band.at(-1)[1]], [width - right, height - bottom]].map((point) => point.join(",")).join(" "), fill: "var(--band)" }), "what rounding explains: " + data.multiple + " noise floors"));
  drawing.append(shape("polyline", { points: rows.map((row, place) => x(place) + "," + y(row.error)).join(" "), fill: "none", stroke: "var(--candidate)", "stroke-width": 1.5 }));
  rows.forEach((row, place) => {
    drawing.append(hint(shape("circle", { cx: x(place), cy: y(row.error), r: rows.length > 120 ? 2 : 3.5, fill: "var(--candidate)" }), row.layer + ": relative L2 " + short(row.error) + ", floor " + short(row.floor)));
    if (row.introduced !== null && row.introduced !== undefined) {
      const [cx, cy] = [x(place), y(row.introduced)];
      drawing.append(hint(shape("path", { d: "M" + cx + "," + (cy - 5) + "l5,5l-5,5l-5,-5z", fill: row.differs ? "var(--introduced)" : "none", stroke: "var(--introduced)" }), row.layer + " introduces " + short(row.introduced)));
    }
  });
  const place = rows.findIndex((row) => row.layer === marked);
  if (place >= 0) {
    const anchor = place > rows.length / 2 ? "end" : "start";
    drawing.append(shape("line", { x1: x(place), x2: x(place), y1: top, y2: height - bottom, stroke: "var(--introduced)", "stroke-dasharray": "5 4" }),
      shape("text", { x: x(place) + (anchor === "end" ? -5 : 5), y: top - 8, "text-anchor": anchor, "font-weight": 700 }, "first introduced error: " + marked));
  }
  drawing.append(shape("text", { x: left, y: height - 8 }, "output: " + rows[0].layer), shape("text", { x: width - right, y: height - 8, "text-anchor": "end" }, "input: " + rows.at(-1).layer));
  return drawing;
}
// Sum of relevance by layer, both sides: what is conserved is a flat line.
function sumChart(rows) {
  const width = 900, height = 200, left = 70, right = 12, top = 10, bottom = 28;
  const values = rows.flatMap((row) => [row.ref, row.cand]).filter((value) => value !== null);
  if (!values.length) return element("p", { class: "soft" }, "No sums were kept.");
  const low = Math.min(0, ...values), high = Math.max(0, ...values), span = high - low || 1;
  const x = (place) => left + ((place + 0.5) * (width - left - right)) / rows.length;
  const y = (value) => height - bottom - ((value - low) * (height - top - bottom)) / span;
  const drawing = svg(width, height, "Sum of relevance by layer on both sides");
  for (const value of [low, (low + high) / 2, high]) drawing.append(shape("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: "var(--line)" }), shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, short(Number(value.toPrecision(3)))));
  for (const [key, stroke, dash] of [["ref", "var(--reference)", ""], ["cand", "var(--candidate)", "6 4"]]) {
    const points = rows.map((row, place) => [place, row[key]]).filter(([, value]) => value !== null).map(([place, value]) => x(place) + "," + y(value));
    drawing.append(shape("polyline", { points: points.join(" "), fill: "none", stroke, "stroke-width": 2, "stroke-dasharray": dash }));
  }
  drawing.append(shape("text", { x: left, y: height - 6 }, "output: " + rows[0].layer), shape("text", { x: width - right, y: height - 6, "text-anchor": "end" }, "input: " + rows.at(-1).layer));
  return drawing;
}
// The network from the input down; a layer's colour is its error in noise floors, and a sign stands beside it.
function networkDrawing(layers, errorOf, marked) {
  const lane = [], free = [], high = 30, wide = 250, taken = new Set();
  layers.forEach(([, , reads], place) => {
    const first = reads[0];
    if (first !== undefined && !taken.has(first)) { lane[place] = lane[first]; taken.add(first); }
    else { let next = 0; while (free[next] !== undefined && free[next] >= place) next++; lane[place] = first === undefined ? 0 : Math.min(3, Math.max(lane[first] + 1, next)); }
    for (const read of reads) free[lane[place]] = Math.max(free[lane[place]] || 0, read);
  });
  const columns = Math.max(...lane) + 1, width = 70 + columns * (wide + 24), height = layers.length * high + 10;
  const drawing = svg(width, height, "The network, its layers coloured by the error that they introduce");
  drawing.style.minWidth = Math.min(width, 330) + "px";
  const x = (place) => 50 + lane[place] * (wide + 24), y = (place) => 6 + place * high;
  layers.forEach(([, , reads], place) => reads.forEach((read) => {
    const near = read === place - 1 && lane[read] === lane[place];
    const bend = Math.min(44, 12 + 4 * Math.log2(1 + place - read));
    const path = near ? "M" + (x(read) + 20) + "," + (y(read) + 22) + "V" + y(place) : "M" + x(read) + "," + (y(read) + 11) + "C" + (x(read) - bend) + "," + (y(read) + 11) + " " + (x(place) - bend) + "," + (y(place) + 11) + " " + x(place) + "," + (y(place) + 11);
    drawing.append(shape("path", { d: path, fill: "none", stroke: "var(--soft)" }));
  }));
  layers.forEach(([name, kind], place) => {
    const found = errorOf(name), ratio = found && found.ratio, over = ratio > data.multiple;
    const strength = over ? Math.min(1, 0.25 + Math.log10(ratio / data.multiple) / 12) : 0;
    const group = shape("g", {});
    group.append(shape("rect", { x: x(place), y: y(place), width: wide, height: 22, rx: 4, fill: over ? "color-mix(in srgb, var(--divergent) " + Math.round(100 * strength) + "%, var(--ground))" : found ? "color-mix(in srgb, var(--equivalent) 35%, var(--ground))" : "var(--raised)", stroke: name === marked ? "var(--introduced)" : "var(--line)", "stroke-width": name === marked ? 3 : 1 }));
    const text = name.length > 27 ? name.slice(0, 26) + "…" : name;
    group.append(shape("text", { x: x(place) + 7, y: y(place) + 15 }, (over ? "≠ " : "") + text + " · " + kind));
    hint(group, name + " (" + kind + ")" + (found ? ": " + short(found.error) + ", " + short(ratio) + " floors" : ""));
    drawing.append(group);
  });
  return drawing;
}
