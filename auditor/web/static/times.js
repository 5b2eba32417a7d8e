// Keeps the words of relative times right while a page stays open. The words are those of auditor/text/times.py.
"use strict";

(() => {
  const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const words = (moment) => {
    const seconds = Math.round((Date.now() - moment) / 1000);
    if (Math.abs(seconds) < 5) return "just now";
    const [name, size] = units.find((unit) => Math.abs(seconds) >= unit[1]);
    const count = Math.floor(Math.abs(seconds) / size);
    const text = `${count} ${name}${count === 1 ? "" : "s"}`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  };
  setInterval(() => {
    for (const one of document.querySelectorAll("time[datetime][title]")) one.textContent = words(new Date(one.dateTime));
  }, 15000);
})();
