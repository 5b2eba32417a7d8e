// Updates the page of a running boost from its events, and reloads it after each epoch for the curves.
"use strict";

(() => {
  const live = document.getElementById("live");
  const events = new EventSource(`/api/v1/boosts/${live.dataset.boost}/events`);
  const reload = () => { events.close(); location.reload(); };
  events.addEventListener("boost", (event) => {
    const boost = JSON.parse(event.data);
    live.textContent = boost.part ? `${boost.state}: ${boost.part} ${boost.part_done}/${boost.part_total}` : boost.state;
    if (boost.history.length > Number(live.dataset.epochs)) reload();
  });
  events.addEventListener("end", reload);
})();
