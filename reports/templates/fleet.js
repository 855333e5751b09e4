"use strict";
// Sorts, filters and folds the fleet's table. Without this script the table has every host, and all of it can be read.
(() => {
  const table = document.getElementById("fleet");
  if (!table) return;
  const body = table.tBodies[0];
  const byId = (id) => document.getElementById(id);
  const [find, state, kind, odd, fold, count] = ["find", "state", "kind", "odd", "fold", "count"].map(byId);
  const collator = new Intl.Collator("en", { numeric: true });
  const heads = new Map();
  const hosts = [];
  const open = new Set();
  let sorted = { column: -1, sign: 1 };

  for (const [order, row] of [...body.rows].entries()) {
    row.order = order;
    row.keys = [...row.cells].map((cell) => ("v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent.trim()));
    if (row.className === "group") {
      heads.set(row.dataset.group, row);
      row.querySelector("button").addEventListener("click", () => toggle(row));
    } else {
      row.text = row.textContent.toLowerCase();
      hosts.push(row);
    }
  }

  function toggle(head) {
    const group = head.dataset.group;
    if (!open.delete(group)) open.add(group);
    head.querySelector("button").setAttribute("aria-expanded", open.has(group));
    for (const row of hosts) if (row.dataset.group === group) row.hidden = !open.has(group);
  }

  function compare(one, other) {
    const [a, b] = [one.keys[sorted.column], other.keys[sorted.column]];
    const [none, noOther] = [a === "–", b === "–"];
    if (none || noOther) return none - noOther || one.order - other.order;
    const way = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
    return sorted.sign * way || one.order - other.order;
  }

  function wanted(row, words) {
    return (!state.value || row.dataset.state === state.value)
      && (!kind.value || row.dataset.kind === kind.value)
      && (!odd.checked || row.dataset.off !== "")
      && words.every((word) => row.text.includes(word));
  }

  function apply() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = hosts.filter((row) => wanted(row, words));
    const inOrder = sorted.column < 0 ? (a, b) => a.order - b.order : compare;
    shown.sort(inOrder);
    const groups = new Map();
    for (const row of shown) {
      const key = fold.checked ? row.dataset.group : row;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    }
    const units = [...groups].map(([key, rows]) => ({ head: rows.length > 1 ? heads.get(key) : rows[0], rows }));
    units.sort((a, b) => inOrder(a.head, b.head));
    const placed = [];
    for (const { head, rows } of units) {
      const folded = rows.length > 1;
      if (folded) {
        head.hidden = false;
        head.querySelector(".size").textContent = rows.length;
        placed.push(head);
      }
      for (const row of rows) row.hidden = folded && !open.has(row.dataset.group);
      placed.push(...rows);
    }
    body.replaceChildren(...placed);
    const lines = units.length === shown.length ? "" : ` in ${units.length} line${units.length === 1 ? "" : "s"}`;
    count.textContent = `${shown.length} of ${hosts.length} hosts shown${lines}`;
  }

  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const again = sorted.column === column;
      sorted = again && sorted.sign < 0 ? { column: -1, sign: 1 } : { column, sign: again ? -1 : 1 };
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (sorted.column >= 0) head.setAttribute("aria-sort", sorted.sign > 0 ? "ascending" : "descending");
      apply();
    });
  }
  for (const control of [find, state, kind, odd, fold]) control.addEventListener("input", apply);
  byId("tools").hidden = false;
  apply();
})();
