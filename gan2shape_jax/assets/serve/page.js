// Makes the frame of a result's page as high as that page, which tells its height, so that only one thing scrolls;
// brings the result into view, which lies above the controls: the status at once, then the result; and asks before a
// result goes: with its photo, for another model, or with the page, where browsers have words of their own.
addEventListener("message", ({ source, data }) => {
  const frame = [...document.querySelectorAll(".g2s-page")].find((one) => one.contentWindow === source);
  if (frame && data.height > 0) frame.style.height = `${Math.min(data.height, 20000)}px`;
});
const toStatus = () => document.querySelector("#status")?.scrollIntoView({ block: "start" });
addEventListener("click", ({ target }) => target.closest?.("#go") && toStatus());
const result = () => document.querySelector(".g2s-page");
addEventListener("click", (event) => {
  if (!result() || !event.target.closest?.("#photo button, #model input")) return;
  if (confirm("This result will be discarded. Download what you want to keep first. Continue?")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);
addEventListener("beforeunload", (event) => result() && event.preventDefault());
let shown = "";
new MutationObserver(() => {
  const page = result()?.src ?? "";
  if (page !== shown && page) toStatus();
  shown = page;
  // Gradio's name for this is not what it says.
  document.querySelector(".upload-container[aria-label]")?.removeAttribute("aria-label");
  // Gradio puts a button without a name into the button that adds photos: the outer one does its work.
  const inner = document.querySelector("#photo .icon-button .upload-container:not([disabled])");
  if (!inner) return;
  const add = inner.closest(".icon-button");
  inner.disabled = true;
  inner.ariaHidden = "true";
  inner.style.pointerEvents = "none";
  add.ariaLabel = add.title = "Add photos";
  add.addEventListener("click", ({ target }) => target.type !== "file" && add.querySelector("input").click());
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["aria-label"] });
