// The page: a photo, the square of it that is made 3D, and the model. Nothing leaves the page.

import { exposed, faceIn, findFaces, sampleCrop } from "./framing.js";
import { correctedView, glbOf, modelOf, rendered } from "./scene.js";
import { assessed, certaintyOf, covered, dissimilarity, mouth, openMouth, shapeDistance, verdict } from "./verdict.js";
import { createLight } from "./viewer/light.js";
import { tellMode, tellVerdict } from "./viewer/telling.js";
import { createViewer, webglWorks } from "./viewer/viewer.js";
import { cameraWords } from "./viewer/words.js";

const LARGEST = 4096; // pixels of a photo's longer side
const SHOWN = 7 / 10; // of the framing's canvas, what the square takes
const at = (id) => document.getElementById(id);
const say = (words) => (at("status").textContent = words);

let facts, network, provider, detector, viewer, lamp, photo, box, model;
let faces = [];
let certainty = null; // of the face that is framed; null once somebody has framed by hand
let pending = 0;
let opened = 0; // files so far: what is left over from one before is not shown
const times = {}; // milliseconds, for whoever asks

// --- networks ---------------------------------------------------------------------------------------------------------

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing on this server (${answer.status})`);
  return name.endsWith(".gz") ? new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer() : answer.arrayBuffer();
}

async function keepOffline() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("sw.js");
  if (navigator.serviceWorker.controller) return;
  const controlled = new Promise((done) => navigator.serviceWorker.addEventListener("controllerchange", done));
  await Promise.race([controlled, new Promise((done) => setTimeout(done, 20_000))]);
}

async function load() {
  if (typeof WebAssembly !== "object") throw new Error("no WebAssembly");
  if (typeof DecompressionStream !== "function") throw new Error("This browser is too old for this page: it cannot unpack the networks.");
  await keepOffline().catch(console.warn);
  facts = await (await fetch("model.json")).json();
  const wanted = new URLSearchParams(location.search).get("by");
  const adapter = wanted !== "wasm" && (await navigator.gpu?.requestAdapter().catch(() => null));
  const gpu = adapter && (wanted === "webgpu" || !adapter.info?.isFallbackAdapter); // one in software is slower than WebAssembly
  const ort = await import(gpu ? "./ort/ort.webgpu.min.mjs" : "./ort/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  const weights = new Uint8Array(await fetched("model.onnx.gz"));
  const started = async (by) => {
    const session = await ort.InferenceSession.create(weights, { executionProviders: [by] });
    const run = async (input) => {
      const outputs = await session.run({ picture: new ort.Tensor("float32", input, [1, 3, facts.size, facts.size]) });
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
    };
    await run(new Float32Array(3 * facts.size ** 2)); // compiles what there is to compile
    provider = by;
    return run;
  };
  network = await (gpu ? started("webgpu").catch((error) => (console.warn(error), started("wasm"))) : started("wasm"));
  if (facts.framing) {
    const session = await ort.InferenceSession.create(new Uint8Array(await fetched("yunet.onnx")), { executionProviders: ["wasm"], logSeverityLevel: 3 });
    detector = (input, size) => session.run({ input: new ort.Tensor("float32", input, [1, 3, size, size]) });
  }
  say("Ready.");
}

/** Returns an error in a sentence for whoever sees the page. */
function sentence(error) {
  const words = String(error?.message ?? error);
  if (/memory|allocat|RangeError|bad_alloc/i.test(`${error?.name} ${words}`)) return "This device has too little memory for the photo and the networks: close other pages, or try a smaller photo.";
  if (/wasm|webassembly/i.test(words)) return "The networks cannot be started here: they need WebAssembly. Try a newer browser, or allow it in this one.";
  return words;
}

// --- photo ------------------------------------------------------------------------------------------------------------

/** Returns a picture, upright; some browsers read HEIC in a page only. */
async function decoded(file) {
  const address = URL.createObjectURL(file);
  try {
    const image = Object.assign(new Image(), { src: address });
    return await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => image.decode().then(() => image));
  } catch {
    if (/\.hei[cf]$/i.test(file.name)) throw new Error(`${file.name} is a HEIC, which this browser cannot read: save it as JPEG, or open this page in Safari.`);
    throw new Error(`${file.name || "This"} is not a picture that this browser can read: try a JPEG or PNG.`);
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function open(file) {
  const turn = ++opened;
  clearTimeout(pending);
  at("framing").hidden = at("result").hidden = true;
  try {
    await loaded;
    say("Reading the photo …");
    const picture = await decoded(file);
    if (turn !== opened) return;
    if (Math.min(picture.width, picture.height) < 16) throw new Error(`${file.name} has only ${picture.width} × ${picture.height} pixels.`);
    const factor = Math.min(1, LARGEST / Math.max(picture.width, picture.height));
    const [width, height] = [picture.width, picture.height].map((side) => Math.round(side * factor));
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(picture, 0, 0, width, height);
    photo = { canvas, width, height, scale: factor, data: context.getImageData(0, 0, width, height).data };
    const side = Math.min(width, height);
    [faces, certainty, box] = [[], null, { x: width / 2, y: height / 2, side, roll: 0 }];
    let advice = `Move the photo until the ${facts.kind} fills the outline: drag, pinch or scroll, and rotate.`;
    if (detector) {
      say("Looking for a face …");
      await new Promise((done) => setTimeout(done));
      const start = performance.now();
      const found = await findFaces(detector, photo, facts.framing, facts.detector);
      if (turn !== opened) return;
      times.search = performance.now() - start;
      faces = found.filter((one) => one.score >= facts.verdict.scores.perhaps);
      if (faces.length) advice = "Found automatically; drag, pinch or rotate the photo to adjust it.";
      else say(`No face was found in this photo. ${advice}`);
    }
    at("advice").textContent = advice;
    at("people").hidden = faces.length < 2;
    at("framing").hidden = false;
    if (faces.length) {
      const [largest] = faces;
      faces.sort((a, b) => a.box.x - b.box.x);
      await choose(faces.indexOf(largest));
    } else {
      frameChanged(false);
      if (!detector) await make();
    }
  } catch (error) {
    console.warn(error);
    if (turn === opened) say(sentence(error));
  }
}

async function choose(number) {
  faces.chosen = number;
  at("which").textContent = `${number + 1} of ${faces.length}, from left to right`;
  [box, certainty] = [faces[number].box, faces[number].score];
  frameChanged(false);
  await make();
}

// --- framing ----------------------------------------------------------------------------------------------------------

function frameChanged(byHand = true) {
  const longer = Math.max(photo.width, photo.height);
  box.side = Math.min(Math.max(box.side, 16), 2 * longer);
  box.x = Math.min(Math.max(box.x, 0), photo.width);
  box.y = Math.min(Math.max(box.y, 0), photo.height);
  const canvas = at("frame");
  const context = canvas.getContext("2d");
  const side = canvas.width;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, side, side);
  context.translate(side / 2, side / 2);
  context.scale((SHOWN * side) / box.side, (SHOWN * side) / box.side);
  context.rotate(-box.roll);
  context.drawImage(photo.canvas, -box.x, -box.y);
  context.setTransform(1, 0, 0, 1, 0, 0);
  const [edge, inner] = [((1 - SHOWN) / 2) * side, SHOWN * side];
  context.fillStyle = "rgba(0, 0, 0, 0.5)";
  context.fill(new Path2D(`M0 0H${side}V${side}H0ZM${edge} ${edge}V${edge + inner}H${edge + inner}V${edge}Z`));
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  context.strokeRect(edge, edge, inner, inner);
  context.setLineDash([6, 5]);
  context.stroke(outlinePath(edge, inner));
  at("move-x").value = box.x / photo.width;
  at("move-y").value = box.y / photo.height;
  at("grow").value = Math.log(box.side / longer);
  at("roll").value = (box.roll * 180) / Math.PI;
  if (!byHand) return;
  certainty = null;
  clearTimeout(pending);
  pending = setTimeout(make, 400);
}

/** Returns the outline of where the object usually is, in the square. */
function outlinePath(edge, inner) {
  const [path, { size, input_mask: mask }] = [new Path2D(), facts];
  const to = (k) => edge + (k * inner) / size;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const inside = mask[row * size + column] >= 0.5;
      if (column && inside !== mask[row * size + column - 1] >= 0.5) path.moveTo(to(column), to(row)), path.lineTo(to(column), to(row + 1));
      if (row && inside !== mask[(row - 1) * size + column] >= 0.5) path.moveTo(to(column), to(row)), path.lineTo(to(column + 1), to(row));
    }
  }
  return path;
}

function handleFrame() {
  const canvas = at("frame");
  const fingers = new Map();
  const place = (event) => [event.clientX, event.clientY];
  const scale = () => box.side / (SHOWN * canvas.clientWidth);
  canvas.addEventListener("pointerdown", (event) => (canvas.setPointerCapture(event.pointerId), fingers.set(event.pointerId, place(event))));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, place(event));
    const after = [...fingers.values()];
    const middle = (points) => [0, 1].map((axis) => points.reduce((sum, one) => sum + one[axis], 0) / points.length);
    const [from, to] = [middle(before), middle(after)];
    const [dx, dy] = [(from[0] - to[0]) * scale(), (from[1] - to[1]) * scale()];
    box = { ...box, x: box.x + Math.cos(box.roll) * dx - Math.sin(box.roll) * dy, y: box.y + Math.sin(box.roll) * dx + Math.cos(box.roll) * dy };
    if (after.length === 2) {
      const [a, b] = [before, after].map(([p, q]) => [Math.hypot(q[0] - p[0], q[1] - p[1]), Math.atan2(q[1] - p[1], q[0] - p[0])]);
      box.side *= a[0] / Math.max(b[0], 1);
      box.roll -= b[1] - a[1];
    }
    frameChanged();
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    box = { ...box, side: box.side * Math.exp(event.deltaY / 800) };
    frameChanged();
  }, { passive: false });
  const slide = (id, change) => at(id).addEventListener("input", (event) => ((box = { ...box, ...change(Number(event.target.value)) }), frameChanged()));
  slide("move-x", (value) => ({ x: value * photo.width }));
  slide("move-y", (value) => ({ y: value * photo.height }));
  slide("grow", (value) => ({ side: Math.exp(value) * Math.max(photo.width, photo.height) }));
  slide("roll", (value) => ({ roll: (value * Math.PI) / 180 }));
  at("another").addEventListener("click", () => choose((faces.chosen + 1) % faces.length));
}

// --- result -----------------------------------------------------------------------------------------------------------

/** Returns the networks' factors of a box of the photo, with the crop that they saw and what a verdict goes by. */
async function factorsOf(place) {
  const { size } = facts;
  const raw = sampleCrop(photo, place, size);
  const { crop, gain } = exposed(raw, facts.exposure);
  const input = Float32Array.from(crop, (value) => value / 127.5 - 1);
  const planes = new Float32Array(input.length);
  input.forEach((value, k) => (planes[(k % 3) * size * size + Math.floor(k / 3)] = value));
  const { depth, albedo, view, light } = await network(planes);
  const interleaved = new Float32Array(albedo.length);
  albedo.forEach((value, k) => (interleaved[3 * (k % (size * size)) + Math.floor(k / (size * size))] = value));
  const face = detector ? await faceIn(detector, crop, size, facts.detector) : null;
  const corrected = face && facts.points ? correctedView([...view], face.landmarks, facts) : { view: [...view] };
  const factors = { depth: Float32Array.from(depth), albedo: interleaved, view: corrected.view, light: [...light], input, gain };
  const { picture, inside } = rendered(factors, facts);
  const [pitch, yaw] = factors.view.map((angle) => Math.abs((angle * 180) / Math.PI));
  const usual = facts.input_mask.map((value) => value >= 0.5);
  factors.measured = {
    ...assessed(raw, place, photo, usual, facts.assessment),
    landmark_residual: detector && facts.points ? (corrected.error ?? facts.verdict.lost) : undefined,
    yaw,
    pitch,
    mouth: corrected.error === undefined ? undefined : mouth(input, face.landmarks, inside, facts.assessment),
    open_mouth: corrected.error === undefined ? undefined : openMouth(input, picture, face.landmarks, inside, facts.assessment),
    ...(corrected.error === undefined ? {} : covered(input, picture, face.landmarks, inside, facts.assessment)),
    shape_distance: shapeDistance(factors.depth, facts),
    dissimilarity: dissimilarity(input, picture, inside, facts.assessment),
  };
  // Framed by hand, the crop is looked at; other kinds than people have no detector here.
  factors.score = certainty ?? (detector ? (face?.score ?? 0) : 1);
  factors.measured.unsure = 1 - factors.score;
  return factors;
}

async function make() {
  const turn = opened;
  try {
    say("Making it 3D …");
    await new Promise((done) => setTimeout(done, 20));
    const start = performance.now();
    const factors = await factorsOf(box);
    if (turn !== opened) return;
    times.networks = performance.now() - start;
    model = modelOf(factors, photo, box, factors.gain, facts);
    const sure = certaintyOf(factors.score, factors.measured, facts.verdict);
    const told = verdict(sure, factors.measured, facts);
    Object.assign(model, { factors, verdict: told });
    times.all = performance.now() - start;
    tellVerdict(at("verdict"), { done: true, trust: detector ? told : { ...told, found: "framed by hand", category: undefined } });
    at("result").hidden = false;
    if (!viewer) setUpViewer();
    viewer?.setModel(model);
    tellMode(at("legend"), document.querySelector("input[name=mode]:checked").value, model);
    say(viewer ? `Made in ${(times.all / 1000).toFixed(1)} s. Drag the model to turn it.` : "This browser cannot draw it (it needs WebGL 2), but the model can be downloaded.");
    document.body.dataset.made = String(Number(document.body.dataset.made || 0) + 1);
  } catch (error) {
    console.warn(error);
    say(sentence(error));
  }
}

function setUpViewer() {
  if (!webglWorks()) return;
  lamp = createLight({ ball: at("ball"), across: at("across"), up: at("up"), ambient: at("ambient"), diffuse: at("diffuse") }, (light) => viewer.setLight(light));
  viewer = createViewer(at("canvas"), (state) => {
    lamp.set(state.light);
    at("where").textContent = cameraWords(state);
    at("sway").setAttribute("aria-pressed", String(state.swaying));
  });
  at("to-photo").addEventListener("click", () => viewer.home(0));
  at("to-front").addEventListener("click", () => viewer.home(1));
  at("sway").addEventListener("click", () => viewer.setSway(!viewer.state().swaying));
  at("relight").addEventListener("click", () => viewer.setLight(model.light));
  for (const input of document.querySelectorAll("input[name=mode]")) {
    input.addEventListener("change", () => (viewer.setMode(input.value), tellMode(at("legend"), input.value, model)));
  }
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  at("canvas").addEventListener("keydown", (event) => {
    if (arrows[event.key]) viewer.turn(...arrows[event.key].map((value) => (value * Math.PI) / 36));
    else if (event.key === "+" || event.key === "-") viewer.zoom(event.key === "+" ? 1 / 1.1 : 1.1);
    else return;
    event.preventDefault();
  });
}

async function save() {
  const address = URL.createObjectURL(await glbOf(model, facts));
  Object.assign(document.createElement("a"), { href: address, download: "model.glb" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// --- start ------------------------------------------------------------------------------------------------------------

const loaded = load();
loaded.catch((error) => (console.warn(error), say(sentence(error))));
for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => event.target.files[0] && open(event.target.files[0]));
const drop = at("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}
at("save").addEventListener("click", save);
handleFrame();
// For whoever looks from the console, and for the tests.
window.gan2shape = { loaded, times, open, provider: () => provider, viewer: () => viewer, model: () => model, photo: () => photo, box: () => box, setBox: (next) => ((box = next), make()), factorsOf, glb: () => glbOf(model, facts) };
