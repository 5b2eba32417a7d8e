// Updates the page of a running scan from its events; without this script, reload the page.
"use strict";

(() => {
  const live = document.getElementById("live");
  const bar = document.getElementById("progress");
  const audits = new Map(); // the first event has all audits, later ones the changed audits
  const events = new EventSource(`/api/v1/scans/${live.dataset.scan}/events`);
  events.addEventListener("scan", (event) => {
    const scan = JSON.parse(event.data);
    for (const audit of scan.audits) audits.set(audit.audit, audit);
    const ended = [...audits.values()].filter((audit) => ["done", "failed"].includes(audit.state)).length;
    bar.value = ended;
    live.textContent = `${scan.state}: ${ended} of ${audits.size} ended${scan.failed ? `, ${scan.failed} failed` : ""}`;
    for (const audit of scan.audits) {
      const row = document.querySelector(`tr[data-audit="${audit.audit}"]`);
      if (!row) continue;
      row.querySelector(".state").textContent = audit.reused ? "reused" : audit.state;
      row.querySelector(".part").textContent = audit.part ? `${audit.part} ${audit.part_done}/${audit.part_total}` : "";
    }
  });
  events.addEventListener("end", () => { events.close(); location.reload(); });
})();
