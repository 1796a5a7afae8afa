"use strict";
// The page of a run: filters, the address, the keyboard. Names are put in as text alone, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const KEYS = ["q", "family", "model", "dtype", "cause", "verdict", "sort", "case"];
const cells = [...document.querySelectorAll("#matrix a.cell")];
const lines = [...document.querySelectorAll("#matrix tbody tr")];
const listed = [...document.querySelectorAll("#cases tbody tr")];
const overview = document.getElementById("overview");
const casePart = document.getElementById("case");
let opener = null;

function state() {
  const read = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(KEYS.map((key) => [key, read.get(key) || ""]));
}
function addressOf(wanted) {
  const words = new URLSearchParams(KEYS.filter((key) => wanted[key] !== "").map((key) => [key, wanted[key]]));
  return "#" + words;
}
function go(change) {
  const next = addressOf({ ...state(), ...change });
  if (next === (location.hash || "#")) show();
  else location.hash = next;
}
function matches(one, wanted) {
  if (wanted.q && !(one.method + " " + one.model + " " + one.cause + " " + one.parts_at).toLowerCase().includes(wanted.q.toLowerCase())) return false;
  if (wanted.verdict === "failed" ? one.passed : wanted.verdict && one.verdict !== wanted.verdict) return false;
  return ["family", "model", "dtype", "cause"].every((key) => !wanted[key] || one[key] === wanted[key]);
}
function visible(wanted) {
  return data.cases.filter((one) => matches(one, wanted));
}
function show() {
  const wanted = state();
  const found = new Set(visible(wanted).map((one) => one.id));
  for (const field of document.querySelectorAll("#filters [name]")) if (field.value !== wanted[field.name]) field.value = wanted[field.name];
  const opened = wanted.case !== "" && data.cases[Number(wanted.case)];
  for (const cell of cells) {
    const id = Number(cell.dataset.case);
    cell.classList.toggle("dim", !found.has(id));
    cell.href = addressOf({ ...wanted, case: String(id) });
  }
  for (const line of lines) line.hidden = ![...line.querySelectorAll("a.cell")].some((cell) => found.has(Number(cell.dataset.case)));
  for (const each of document.querySelectorAll("#matrix [data-model]")) each.hidden = Boolean(wanted.model) && each.dataset.model !== wanted.model;
  for (const row of listed) row.hidden = !found.has(Number(row.dataset.case));
  sortLines(wanted.sort);
  rove();
  document.getElementById("shown").textContent = found.size + " of " + data.cases.length + " cases";
  for (const chip of document.querySelectorAll("[data-set-verdict]")) chip.setAttribute("aria-pressed", String(chip.dataset.setVerdict === wanted.verdict));
  overview.hidden = Boolean(opened);
  casePart.hidden = !opened;
  const changes = document.getElementById("changes");
  if (changes) changes.hidden = Boolean(opened);
  if (opened) openCase(opened, wanted);
  else {
    casePart.replaceChildren();
    document.title = document.querySelector("h1").textContent;
    if (opener !== null) {
      const cell = cells.find((each) => each.dataset.case === opener);
      opener = null;
      if (cell && !cell.closest("[hidden]")) cell.focus();
    }
  }
}
function sortLines(how) {
  const of = new Map(lines.map((line, place) => {
    const here = [...line.querySelectorAll("a.cell")].map((cell) => data.cases[Number(cell.dataset.case)]);
    return [line, {
      place, name: line.dataset.name,
      worst: Math.min(...here.map((one) => one.rank)),
      floors: Math.max(...here.map((one) => (one.floors === null ? (one.verdict === "error" ? Infinity : -1) : one.floors))),
    }];
  }));
  const by = {
    name: (a, b) => a.name.localeCompare(b.name), worst: (a, b) => a.worst - b.worst || b.floors - a.floors,
    floors: (a, b) => (a.floors === b.floors ? a.place - b.place : b.floors - a.floors),
  }[how] || ((a, b) => a.place - b.place);
  const order = [...lines].sort((a, b) => by(of.get(a), of.get(b)));
  const body = lines.length && lines[0].parentElement;
  if (body && order.some((line, place) => body.children[place] !== line)) body.append(...order);
}
// One cell of the matrix is reached by Tab, the others from there by the arrow keys.
function rove(to) {
  const reachable = cells.filter((cell) => !cell.closest("[hidden]"));
  const current = to || reachable.find((cell) => cell.tabIndex === 0 && !cell.classList.contains("dim")) || reachable.find((cell) => !cell.classList.contains("dim"));
  for (const cell of cells) cell.tabIndex = -1;
  if (current) current.tabIndex = 0;
  if (to) to.focus();
}
function moveFrom(cell, key) {
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[key];
  const place = cell.closest("td").cellIndex;
  let line = cell.closest("tr"), column = place;
  for (let tries = 0; tries < 5000; tries++) {
    if (step[0]) { line = step[0] > 0 ? line.nextElementSibling : line.previousElementSibling; if (!line) return; }
    else { column += step[1]; if (column < 1 || column >= line.cells.length) return; }
    const next = !line.hidden && line.cells[column].querySelector("a.cell");
    if (next && !next.closest("[hidden]")) return rove(next);
  }
}
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}
function start() {
  // Some browsers tell of a choice by "change" alone, of a letter by "input" alone.
  for (const kind of ["input", "change"]) document.getElementById("filters").addEventListener(kind, (event) => {
    if (!event.target.name || state()[event.target.name] === event.target.value) return;
    history.replaceState(null, "", addressOf({ ...state(), [event.target.name]: event.target.value, case: "" }));
    show();
  });
  document.getElementById("reset").addEventListener("click", () => go(Object.fromEntries(KEYS.map((key) => [key, ""]))));
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-facts]")) {
      event.preventDefault();
      if (state().case !== "") go({ case: "" });
      document.getElementById("facts").focus();
      return document.getElementById("facts").scrollIntoView();
    }
    const chip = event.target.closest("[data-set-verdict]");
    if (chip) return go({ verdict: state().verdict === chip.dataset.setVerdict ? "" : chip.dataset.setVerdict, case: "" });
    const sorter = event.target.closest(".sortable th button");
    if (sorter) return sortTable(sorter);
    const link = event.target.closest("a[data-case]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); opener = link.dataset.case; go({ case: link.dataset.case }); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && state().case !== "") return go({ case: "" });
    if (event.key === "/" && !typing) { event.preventDefault(); if (state().case !== "") go({ case: "" }); return document.querySelector("[name=q]").focus(); }
    const cell = event.target.closest && event.target.closest("#matrix a.cell");
    if (cell && event.key.startsWith("Arrow")) { event.preventDefault(); moveFrom(cell, event.key); }
  });
  window.addEventListener("hashchange", show);
  show();
}
