// Updates the page of a running boost or adaptation from its events, and reloads it after each epoch and at the end.
"use strict";

(() => {
  const live = document.getElementById("live");
  const events = new EventSource(live.dataset.events);
  const reload = () => { events.close(); location.reload(); };
  events.addEventListener(live.dataset.job, (event) => {
    const job = JSON.parse(event.data);
    live.textContent = job.part ? `${job.state}: ${job.part} ${job.part_done}/${job.part_total}` : job.state;
    if ((job.history || []).length > Number(live.dataset.epochs)) reload();
  });
  events.addEventListener("end", reload);
})();
