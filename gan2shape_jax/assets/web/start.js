// A plain script, which browsers run from a file too: modules they do not, so the page says what to do.
if (location.protocol === "file:") {
  document.getElementById("status").textContent =
    "Browsers do not let a file start such a page: run python -m http.server in its folder, and open http://localhost:8000.";
}
