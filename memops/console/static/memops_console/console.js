"use strict";
// Everything works without this file, by reloading. It keeps what a person has opened or paused while the run page moves,
// tells screen readers what changed, and keeps a form from being sent twice.

const opened = new Map();
const scrolled = new Map();
const live = () => document.getElementById("run-live");
let shown = "";
let skew = 0;

document.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary?.parentElement.id) opened.set(summary.parentElement.id, !summary.parentElement.open);
  const pause = event.target.closest(".log-pause");
  if (pause) {
    const log = document.getElementById(pause.dataset.log);
    log.toggleAttribute("data-paused");
    showLogs();
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-once]");
  if (!form) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  [...form.elements].forEach((element) => element.type === "submit" && element.setAttribute("aria-disabled", "true"));
});

// A page that the browser kept and shows again on "back" has not sent anything yet.
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => {
  delete form.dataset.sent;
  [...form.elements].forEach((element) => element.removeAttribute("aria-disabled"));
}));

function showLogs() {
  document.querySelectorAll(".log-pause").forEach((button) => {
    const log = document.getElementById(button.dataset.log);
    const paused = log.hasAttribute("data-paused");
    button.hidden = "over" in button.dataset && !paused;
    button.textContent = paused ? "Follow" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
    if (!paused && log.querySelector("[hx-get]")) log.scrollTop = log.scrollHeight;
  });
}

// How long it has taken so far, by the server's clock.
function showClocks() {
  document.querySelectorAll("[data-since]").forEach((element) => {
    const seconds = Math.max(0, Math.round((Date.now() - skew - Date.parse(element.dataset.since)) / 1000));
    element.textContent = seconds < 60 ? `for ${seconds} s` : `for ${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  });
}

document.addEventListener("DOMContentLoaded", () => {
  showLogs();
  if (!live()) return;
  skew = Date.now() - Date.parse(live().dataset.now);
  showClocks();
  setInterval(showClocks, 1000);
});

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.closest("pre[data-paused]")) event.preventDefault();
});

document.addEventListener("htmx:beforeSwap", (event) => {
  // Signed out meanwhile: the answer is the page to sign in, which belongs into the window, not into the fragment.
  if (new URL(event.detail.xhr.responseURL).pathname !== event.detail.pathInfo.requestPath.split("?")[0]) {
    event.detail.shouldSwap = false;
    window.location.reload();
    return;
  }
  if (event.target === live()) {
    hideStale();
    // Nothing new: a button stays the one that is being pressed, and a selected text stays selected.
    if (event.detail.serverResponse === shown) event.detail.shouldSwap = false;
    shown = event.detail.serverResponse;
  }
  document.querySelectorAll("#run-live pre[id]").forEach((log) => scrolled.set(log.id, log.scrollTop));
});

document.addEventListener("htmx:afterSwap", (event) => {
  opened.forEach((open, id) => document.getElementById(id)?.toggleAttribute("open", open));
  scrolled.forEach((top, id) => { const log = document.getElementById(id); if (log) log.scrollTop = top; });
  showLogs();
  showClocks();
  const state = document.getElementById("run-state");
  if (!state || event.target !== live()) return;
  document.title = state.dataset.title;
  const announcement = document.getElementById("run-announcement");
  if (announcement.textContent !== state.dataset.announce) announcement.textContent = state.dataset.announce;
});

function hideStale() {
  document.getElementById("run-stale").hidden = true;
}

for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(failure, () => {
    const stale = document.getElementById("run-stale");
    if (stale) stale.hidden = false;
  });
}
