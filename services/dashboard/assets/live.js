// Keeps the page fresh: at each tick of the dashboard asks for the same page again and swaps its middle.
// Stops while the tab is hidden, while somebody types, and while the pause button is pressed; where ticks do
// not come it asks by itself. Without this script every page works.
(function () {
  "use strict";
  document.addEventListener("input", function (event) {
    var form = event.target.form;
    if (!form || !form.dataset.auto) return;
    var out = form.querySelector("output");
    if (out) out.textContent = event.target.value;
  });
  document.addEventListener("change", function (event) {
    var form = event.target.form;
    if (form && form.dataset.auto) form.requestSubmit();
  });
  // Where the dashboard is: behind a proxy it may stand below a path.
  var home = document.currentScript.src.replace(/\/assets\/live\.js.*$/, "");
  var status = document.getElementById("live");
  var button = document.getElementById("live-pause");
  if (!status || !button || !document.body.dataset.live) return;
  var paused = false;
  var asking = false;
  var fresh = Date.now();
  var failed = false;
  var ticks = null;
  button.hidden = false;
  button.addEventListener("click", function () {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume" : "Pause";
    listen();
    say();
  });
  function busy() {
    var at = document.activeElement;
    return at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && document.getElementById("page").contains(at);
  }
  // What is read aloud changes rarely; the seconds are for the eye.
  status.textContent = "";
  var state = status.appendChild(document.createElement("span"));
  var age = status.appendChild(document.createElement("span"));
  age.setAttribute("aria-hidden", "true");
  function tell(text) { if (state.textContent !== text) state.textContent = text; }
  function say() {
    var words = paused ? "paused" : failed ? "the dashboard does not answer; trying again" : busy() ? "waits while you type" : "live";
    tell(words);
    age.textContent = words === "live" ? ", updated " + Math.round((Date.now() - fresh) / 1000) + " s ago" : "";
  }
  // Elements without an id are known by what they are and say, and by which of those alike they are.
  function named(root, selector) {
    var seen = {};
    var found = new Map();
    root.querySelectorAll(selector).forEach(function (element) {
      var to = element.getAttribute("href") || (element.form && element.form.getAttribute("action")) || "";
      var label = element.tagName === "DETAILS" ? element.querySelector("summary").textContent : element.textContent;
      var name = element.id || [element.tagName, to, label].join("|");
      seen[name] = (seen[name] || 0) + 1;
      found.set(name + "|" + seen[name], element);
    });
    return found;
  }
  var FOCUSABLE = "a[href], button, summary, input, select, textarea, [tabindex]";
  // Whether somebody has put something into a field and not sent it yet.
  function edited(field) {
    if (field.options) return true;
    return field.value !== field.defaultValue || field.checked !== field.defaultChecked;
  }
  function swap(text) {
    var next = new DOMParser().parseFromString(text, "text/html").getElementById("page");
    if (!next || busy()) return;
    var old = document.getElementById("page");
    var open = named(old, "details");
    // The content as a whole has it after "Skip to content".
    var whole = document.activeElement === old;
    var focus = null;
    named(old, FOCUSABLE).forEach(function (element, name) { if (element === document.activeElement) focus = name; });
    var typed = [];
    old.querySelectorAll("input[id], textarea[id], select[id]").forEach(function (field) {
      if (edited(field)) typed.push([field.id, field.value, field.checked]);
    });
    var scrolls = [];
    old.querySelectorAll(".scroll, pre").forEach(function (box) { scrolls.push([box.scrollLeft, box.scrollTop]); });
    old.replaceWith(next);
    named(next, "details").forEach(function (again, name) {
      if (open.has(name)) again.open = open.get(name).open;
    });
    typed.forEach(function (was) {
      var again = document.getElementById(was[0]);
      if (again) { again.value = was[1]; again.checked = was[2]; }
    });
    next.querySelectorAll(".scroll, pre").forEach(function (box, at) {
      if (scrolls[at]) { box.scrollLeft = scrolls[at][0]; box.scrollTop = scrolls[at][1]; }
    });
    var kept = focus && named(next, FOCUSABLE).get(focus);
    if (whole) kept = next;
    if (kept) kept.focus({ preventScroll: true });
  }
  function refresh() {
    if (paused || asking || document.hidden || busy()) return;
    asking = true;
    fetch(location.href, { credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) throw new Error(String(answer.status));
        return answer.text();
      })
      .then(function (text) { swap(text); fresh = Date.now(); failed = false; })
      .catch(function () { failed = true; })
      .then(function () { asking = false; say(); });
  }
  function listen() {
    if (paused || document.hidden) {
      if (ticks) { ticks.close(); ticks = null; }
      return;
    }
    // One that was refused, as while Redis is away, does not try again by itself.
    if (ticks && ticks.readyState === EventSource.CLOSED) ticks = null;
    if (!ticks && !failed) {
      ticks = new EventSource(home + "/ticks");
      ticks.onmessage = refresh;
    }
  }
  setInterval(function () {
    if (failed || Date.now() - fresh > 15000) refresh();
    listen();
    say();
  }, 1000);
  document.addEventListener("visibilitychange", function () { listen(); refresh(); });
  listen();
  say();
})();
