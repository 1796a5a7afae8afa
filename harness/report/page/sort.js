// A table whose heads are buttons is sorted by the column of the one that is pressed; pressed again, the other way round.
function sortTable(button) {
  const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const each of table.querySelectorAll("th[aria-sort]")) each.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const value = (row) => {
    const cell = row.cells[column];
    const read = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
    if (button.dataset.kind === "text") return read;
    return read === "" ? null : Number(read);
  };
  const compared = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b) * (down ? -1 : 1);
  // What has no value comes last, whichever way the others are sorted.
  body.append(...[...body.rows].map((row) => [value(row), row])
    .sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : compared(a, b))).map(([, row]) => row));
}
