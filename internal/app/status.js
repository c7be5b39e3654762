// Fills the status page from the same API that programs read, every 5 s.
"use strict";
const byId = (id) => document.getElementById(id);

async function get(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// rows replaces a table's body; cells are text, so nothing from the API is
// ever taken as markup.
function rows(id, items, cells, empty) {
  const body = byId(id);
  body.replaceChildren();
  if (!items.length) {
    const row = body.insertRow();
    const cell = row.insertCell();
    cell.colSpan = 6;
    cell.className = "muted";
    cell.textContent = empty;
  }
  for (const item of items) {
    const row = body.insertRow();
    for (const [text, numeric, code] of cells(item)) {
      const cell = row.insertCell();
      if (numeric) cell.className = "n";
      (code ? cell.appendChild(document.createElement("code")) : cell).textContent = text;
    }
  }
}

const fixed = (x, digits) => (typeof x === "number" ? x.toFixed(digits) : "");
const count = (x) => (typeof x === "number" ? x.toLocaleString("en") : "");

async function refresh() {
  try {
    const [status, found, exporters] = await Promise.all([
      get("api/v1/status"),
      get("api/v1/suspects?top=50").catch(() => ({ suspects: [] })),
      get("api/v1/exporters").catch(() => []),
    ]);
    const roles = Object.keys(status.roles || {}).join(", ");
    byId("state").textContent = `${status.ready ? "ready" : "starting: " + (status.reason || "")} · ${roles} · version ${status.version}`;
    rows("exporters", exporters,
      (e) => [[e.name], [count(e.records), true], [count(e.lost), true], [count(e.sampling), true], [fixed(e.last_seen_seconds, 0) + " s ago", true]],
      "No export packet has arrived yet. Point a router's NetFlow or IPFIX export at this machine.");
    const epoch = found.epoch;
    byId("epoch").textContent = epoch ? `— ${found.total} of ${count(epoch.hosts)} hosts, window to ${epoch.end}` : "";
    rows("suspects", found.suspects || [],
      (s) => [[s.pseudonym, false, true], [fixed(s.score, 2), true], [fixed(s.client_rank, 2), true], [fixed(s.server_rank, 2), true], [s.cluster, true], [(s.evidence || []).join("; ")]],
      epoch ? "Nobody stands out." : "The first epoch has not ended yet.");
  } catch (error) {
    byId("state").textContent = `not answering: ${error.message}`;
  }
}

refresh();
setInterval(refresh, 5000);
