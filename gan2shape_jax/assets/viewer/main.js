// The page: which image is shown, and what the controls do.

import { blockJson, loadModel } from "./decode.js";
import { downloadList } from "./downloads.js";
import { factorFigures, photographFigures } from "./factors.js";
import { createGallery } from "./gallery.js";
import { createLight } from "./light.js";
import { tellFacts, tellMode, tellVerdict } from "./telling.js";
import { createViewer, reducedMotion, webglWorks } from "./viewer.js";
import { cameraWords } from "./words.js";

const _KEYS = { texture: "1", albedo: "2", normals: "3", clay: "4", wire: "5", spread: "6" };

const _RENEWED_MS = 15_000;
const _GIVEN_UP_MS = 900_000; // of a run that has ended, nothing comes any more

const data = blockJson("page-data");
const images = data.images.map((image, index) => ({ ...image, index }));
const at = (id) => document.getElementById(id);

let viewer = null;
let model = null; // of the image that is shown
let truth = false; // whether its true shape is in the model's place
let shown = -1; // its index
let gallery = null;
let loading = 0; // counts, so that a model that arrives late is not shown

// --- showing an image ------------------------------------------------------------------------------------------------

async function show(index) {
  const image = images[index];
  shown = index;
  const turn = ++loading;
  at("name").textContent = image.name;
  document.title = images.length > 1 ? `${image.name} – ${at("title").textContent}` : at("title").textContent;
  tellVerdict(at("verdict"), image);
  gallery?.mark(index);
  pager();
  at("downloads").replaceChildren(downloadList(image, data.files));
  at("files").hidden = image.files.length === 0;
  let [next, problem] = [null, null];
  let [figures, beside] = [[], []];
  try {
    if (typeof DecompressionStream === "function") next = await loadModel(index);
    if (next) [figures, beside] = [factorFigures(next), photographFigures(next)];
  } catch (error) {
    console.warn(error);
    [next, figures, beside, problem] = [null, [], [], "The data of this image's model cannot be read."];
  }
  if (turn !== loading) return;
  model = next;
  at("factors").replaceChildren(...figures);
  at("found").hidden = figures.length === 0;
  at("photographs").replaceChildren(...beside);
  at("beside").hidden = beside.length === 0;
  tellFacts(at("facts"), image, model, data.columns);
  at("work").hidden = !model || !viewer;
  tell(model && viewer ? null : problem || reasonWithout(image));
  if (model && viewer) showModel(image);
  at("image").hidden = false;
  document.body.dataset.shown = String(index);
}

function showModel(image) {
  at("to-truth").hidden = !model.truth;
  showTruth(false);
  at("overlay").src = model.overlay;
  at("overlaid").value = 0;
  overlayTo(0);
  at("mode-spread").disabled = !model.spread;
  at("mode-spread").closest("label").hidden = !model.spread;
  if (!model.spread && at("mode-spread").checked) at("mode-texture").checked = true;
  setMode(currentMode());
  at("canvas").setAttribute(
    "aria-label",
    `3D model of ${image.name}. Arrow keys turn it, plus and minus come closer, shift and arrows move the light, ` +
      "P is the photo's camera, F the front, R resets, 1 to 6 choose the display.",
  );
}

/** Puts the true shape into the model's place, or the model back. */
function showTruth(wanted) {
  truth = wanted;
  at("to-truth").setAttribute("aria-pressed", String(truth));
  viewer.setModel(truth ? model.truth : model);
}

function reasonWithout(image) {
  if (!image.done && image.files.length === 0) return "There is no result for this image.";
  if (!viewer) return "This browser cannot draw the 3D model: it needs WebGL 2 (check that hardware acceleration is on). The pictures below are drawn without it.";
  if (image.files.some(([k]) => data.files[k][0] === "mesh.glb")) return "The interactive model of this image is not in this page. Its mesh and pictures are among the files below.";
  return "There is no model for this image.";
}

function tell(words) {
  at("without").hidden = !words;
  at("without").textContent = words || "";
}

// --- controls --------------------------------------------------------------------------------------------------------

function currentMode() {
  return document.querySelector("input[name=mode]:checked").value;
}

function setMode(mode) {
  at(`mode-${mode}`).checked = true;
  viewer.setMode(mode);
  tellMode(at("legend"), mode, model);
  at("canvas").dataset.mode = mode;
}

/** The light shows only where something is lit. */
function lightMoved(light) {
  if (!["texture", "clay"].includes(currentMode())) setMode("texture");
  viewer.setLight(light);
}

function overlayTo(share) {
  if (share > 0 && !viewer.state().atPhoto) viewer.home(0, { fly: false });
  at("overlay").style.opacity = share;
}

function colours() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  viewer.setColours(dark ? [0.2, 0.23, 0.28] : [0.95, 0.96, 0.98], dark ? [0.55, 0.76, 1] : [0.08, 0.28, 0.55]);
}

function setUp() {
  const light = createLight(
    { ball: at("ball"), across: at("across"), up: at("up"), ambient: at("ambient"), diffuse: at("diffuse") },
    lightMoved,
  );
  let told = 0;
  let touched = false;
  for (const name of ["pointerdown", "keydown"]) at("canvas").addEventListener(name, () => (touched = true), { once: true });
  viewer = createViewer(at("canvas"), (state) => {
    light.set(state.light);
    const away = !state.atPhoto;
    at("overlay").hidden = away;
    at("sway").setAttribute("aria-pressed", String(state.swaying));
    at("to-photo").setAttribute("aria-pressed", String(state.atPhoto));
    at("to-front").setAttribute("aria-pressed", String(state.atFront));
    clearTimeout(told);
    told = setTimeout(() => (at("where").textContent = cameraWords(state) + (touched || away ? "" : " · drag to turn it")), 250);
  });
  colours();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colours);

  for (const input of document.querySelectorAll("input[name=mode]")) input.addEventListener("change", () => setMode(input.value));
  for (const input of document.querySelectorAll("input[name=drag]")) {
    input.addEventListener("change", () => {
      viewer.setDragsLight(input.value === "light");
      if (input.value === "light" && !["texture", "clay"].includes(currentMode())) setMode("texture");
    });
  }
  at("to-photo").addEventListener("click", () => viewer.home(0));
  at("to-front").addEventListener("click", () => viewer.home(1));
  at("sway").addEventListener("click", () => viewer.setSway(!viewer.state().swaying));
  at("to-truth").addEventListener("click", () => showTruth(!truth));
  at("reset").addEventListener("click", reset);
  at("relight").addEventListener("click", () => viewer.setLight((truth ? model.truth : model).light));
  at("overlaid").addEventListener("input", (event) => overlayTo(event.target.value / 100));
  at("canvas").addEventListener("keydown", key);
}

function reset() {
  at("overlaid").value = 0;
  overlayTo(0);
  showTruth(false);
  at("drag-model").checked = true;
  viewer.setDragsLight(false);
  setMode("texture");
  viewer.home(0);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = Math.PI / 36;
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const mode = Object.keys(_KEYS).find((name) => _KEYS[name] === event.key);
  if (arrows[event.key]) {
    const [right, down] = arrows[event.key];
    if (event.shiftKey) {
      if (!["texture", "clay"].includes(currentMode())) setMode("texture");
      viewer.moveLight(right * 0.05, down * 0.05);
    } else viewer.turn(right * step, down * step);
  } else if (event.key === "+" || event.key === "=") viewer.zoom(1 / 1.1);
  else if (event.key === "-") viewer.zoom(1.1);
  else if (event.key.toLowerCase() === "p") viewer.home(0);
  else if (event.key.toLowerCase() === "f") viewer.home(1);
  else if (event.key.toLowerCase() === "r") reset();
  else if (event.key.toLowerCase() === "t" && model.truth) showTruth(!truth);
  else if (mode && !at(`mode-${mode}`).disabled) setMode(mode);
  else return;
  event.preventDefault();
}

// --- many images -----------------------------------------------------------------------------------------------------

function pager() {
  const order = gallery ? gallery.order() : [];
  const place = order.indexOf(shown);
  at("pager").hidden = images.length < 2;
  at("before").disabled = place <= 0;
  at("after").disabled = place < 0 || place >= order.length - 1;
  at("place").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
}

function step(by) {
  const order = gallery.order();
  const next = order[order.indexOf(shown) + by];
  if (next !== undefined) choose(next);
}

/** Shows an image and says so in the address, without the jump that the browser would make to its card. */
function choose(index) {
  history.pushState(null, "", `#${encodeURIComponent(images[index].anchor)}`);
  show(index);
}

function followLink(event) {
  const item = event.target.closest("[data-index]");
  if (!item || !event.target.closest("a") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose(Number(item.dataset.index));
  const top = at("image").getBoundingClientRect().top;
  if (top < 0 || top > window.innerHeight / 2) at("image").scrollIntoView({ behavior: reducedMotion() ? "instant" : "smooth" });
}

function chosen() {
  let name = location.hash.slice(1);
  try {
    name = decodeURIComponent(name);
  } catch {
    // an address that somebody has cut: as it is
  }
  const found = images.findIndex((image) => image.anchor === name || image.name === name);
  return found >= 0 ? found : Math.max(images.findIndex((image) => image.done), 0);
}

/** Loads the page anew from its server from time to time, unless it is in use or nothing has come for long. */
function renew() {
  let used = 0;
  for (const name of ["pointerdown", "keydown", "wheel"]) window.addEventListener(name, () => (used = Date.now()), { passive: true });
  setInterval(() => {
    const now = Date.now();
    if (now - used > _RENEWED_MS && now - Date.parse(document.lastModified) < _GIVEN_UP_MS) location.reload();
  }, _RENEWED_MS);
}

function start() {
  const done = images.filter((image) => image.done).length;
  const unused = images.filter((image) => image.remarks.startsWith("not used")).length;
  const failed = images.length - done - unused;
  const awaiting = images.filter((image) => image.done && image.awaits).length;
  const refined = `${done - awaiting} of ${images.length} images refined: open this page again to see more`;
  if (awaiting && location.protocol.startsWith("http")) renew();
  const finished = `${images.length} images, ${done} done`;
  at("summary").textContent = images.length === 1 ? "" : `${awaiting ? refined : finished}${unused ? `, ${unused} not used` : ""}${failed ? `, ${failed} failed` : ""}`;
  if (images.length === 0) return;
  if (webglWorks()) {
    try {
      setUp();
    } catch (error) {
      console.error(error);
      viewer = null;
    }
  }
  if (images.length > 1) {
    gallery = createGallery(
      { cards: at("cards"), rows: at("rows"), sort: at("sort"), filter: at("filter"), count: at("count") },
      images,
      data.columns,
      pager,
    );
    at("before").addEventListener("click", () => step(-1));
    at("after").addEventListener("click", () => step(1));
  }
  at("cards").addEventListener("click", followLink);
  at("rows").addEventListener("click", followLink);
  window.addEventListener("popstate", () => show(chosen()));
  // For whoever looks from the console, and for the tests.
  window.gan2shape = { data, viewer: () => viewer, model: () => model, reducedMotion };
  show(chosen());
}

// In a frame, as of `serve`, the frame becomes as high as the page: nothing scrolls within what scrolls.
if (window.parent !== window) {
  const tell = () => window.parent.postMessage({ height: document.documentElement.offsetHeight }, "*");
  new ResizeObserver(tell).observe(document.documentElement);
}

start();
