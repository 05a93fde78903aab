// Keeps the page fresh: asks for the same page again and swaps its middle. Stops while the tab is
// hidden, while somebody types, and while the pause button is pressed. Without it every page works.
(function () {
  "use strict";
  var every = 5000;
  var status = document.getElementById("live");
  var button = document.getElementById("live-pause");
  if (!status || !button || !document.body.dataset.live) return;
  var paused = false;
  var fresh = Date.now();
  button.hidden = false;
  button.addEventListener("click", function () {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume" : "Pause";
    say();
  });
  function busy() {
    var at = document.activeElement;
    return at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && document.getElementById("page").contains(at);
  }
  function say() {
    status.textContent = paused ? "paused" : "updated " + Math.round((Date.now() - fresh) / 1000) + " s ago";
  }
  function refresh() {
    if (paused || document.hidden || busy()) return say();
    fetch(location.href, { headers: { "X-Live": "1" }, credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) throw new Error(String(answer.status));
        return answer.text();
      })
      .then(function (text) {
        var next = new DOMParser().parseFromString(text, "text/html").getElementById("page");
        if (!next || busy()) return;
        var open = [];
        document.querySelectorAll("#page details[open]").forEach(function (d) { open.push(d.id); });
        document.getElementById("page").replaceWith(next);
        open.forEach(function (id) {
          var again = id && document.getElementById(id);
          if (again) again.open = true;
        });
        fresh = Date.now();
        say();
      })
      .catch(function () { status.textContent = "the dashboard does not answer; trying again"; });
  }
  setInterval(refresh, every);
  setInterval(say, 1000);
  document.addEventListener("visibilitychange", refresh);
})();
