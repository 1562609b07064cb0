/* global THREE */
// The interactive model. The camera of the photo stands at the origin and looks along z; the model stands before it as the
// result's `view` has it (`pose` 0) or in its canonical frame (`pose` 1), and one orbits about the rotation centre.

import { lightDirection } from "./geometry.js";
import { handle, pixelsOfTarget } from "./handling.js";
import { colourTexture, materials, surfaceGeometry, viewMatrix, wireGeometry } from "./meshes.js";
import { MODES } from "./shaders.js";

const _FLIP = new THREE.Matrix4().makeScale(1, -1, -1); // to three.js's axes: y up, z towards the viewer
const _WINDOW = 1.2; // how much more than the photo is shown, along each side; page.css insets the photo accordingly
const _SECONDS = 0.45; // to fly back to a camera
const _SWAY = { degrees: 28, seconds: 7 };

/** Whether the browser can draw the model at all. */
export function webglWorks() {
  try {
    return document.createElement("canvas").getContext("webgl2") !== null && typeof DecompressionStream === "function";
  } catch {
    return false;
  }
}

export function reducedMotion() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Returns a viewer that draws on a canvas.
 *
 * changed(state) is called whenever the camera or the light has moved: see `state`.
 */
export function createViewer(canvas, changed) {
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
  renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
  const scene = new THREE.Scene();
  const group = new THREE.Group();
  group.matrixAutoUpdate = false;
  scene.add(group);
  const camera = new THREE.PerspectiveCamera(10, 1, 0.02, 20);
  const controls = new THREE.OrbitControls(camera, canvas);
  canvas.style.touchAction = "pan-y"; // a finger that goes up or down scrolls the page, one that goes across turns the model
  controls.rotateSpeed = 0.55;
  controls.enableDamping = !reducedMotion();
  controls.dampingFactor = 0.12;

  const { material, wireMaterial } = materials();
  const { uniforms } = material;
  const { ink } = wireMaterial.uniforms;
  const surface = new THREE.Mesh(new THREE.BufferGeometry(), material);
  const wires = new THREE.LineSegments(new THREE.BufferGeometry(), wireMaterial);
  surface.frustumCulled = wires.frustumCulled = false;
  group.add(surface, wires);

  let model = null;
  let light = [1, 0, 0, 0];
  let pose = 0;
  let flight = null;
  let swaying = null;
  let dragsLight = false;
  let asked = false;

  // --- drawing ---------------------------------------------------------------------------------------------------

  function ask() {
    if (!asked) {
      asked = true;
      requestAnimationFrame(tick);
    }
  }

  function tick(now) {
    asked = false;
    if (!model) return;
    if (flight) fly(now);
    if (swaying !== null) sway(now);
    const moving = controls.update();
    draw();
    changed(state());
    if (moving || flight || swaying !== null) ask();
  }

  function place() {
    const view = model.view.map((value) => value * (1 - pose));
    group.matrix.multiplyMatrices(_FLIP, viewMatrix(view, model.rotCenterDepth));
    group.updateMatrixWorld(true);
  }

  function draw() {
    const canonical = new THREE.Matrix4().multiplyMatrices(camera.matrixWorldInverse, group.matrixWorld);
    const turned = new THREE.Matrix3().setFromMatrix4(canonical.premultiply(_FLIP)); // canonical to the camera, the method's axes
    const [, , dx, dy] = light;
    uniforms.ambient.value = light[0];
    uniforms.diffuse.value = light[1];
    uniforms.direction.value.set(...lightDirection(dx, dy));
    uniforms.clayDirection.value.set(...lightDirection(dx, dy)).applyMatrix3(turned.transpose());
    wires.visible = uniforms.mode.value === MODES.indexOf("wire");
    renderer.render(scene, camera);
  }

  /** Makes the camera show the photo's pinhole picture, and around it so much that the whole is `times` as wide. */
  function frame(times) {
    const half = model.size / 2 / model.focal; // to the pixels' outer edges, not their centres
    camera.fov = 2 * Math.atan(times * half) * (180 / Math.PI);
    camera.updateProjectionMatrix();
  }

  function resize() {
    const side = Math.round(canvas.clientWidth);
    if (!side) return;
    renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    renderer.setSize(side, side, false);
    ask();
  }

  // --- camera ----------------------------------------------------------------------------------------------------

  function homeTarget(where) {
    return new THREE.Vector3(0, 0, -(model.rotCenterDepth + model.view[5] * (1 - where)));
  }

  function setHome(where) {
    pose = where;
    place();
    controls.target.copy(homeTarget(where));
    camera.position.set(0, 0, 0);
    camera.up.set(0, 1, 0);
    controls.update();
    camera.position.set(0, 0, 0);
    controls.update();
  }

  /** Goes to the camera of the photo (0) or to the one straight before the object (1). */
  function home(where, { fly: wanted = true } = {}) {
    setSway(false);
    if (!wanted || reducedMotion()) {
      flight = null;
      setHome(where);
    } else {
      const offset = camera.position.clone().sub(controls.target);
      flight = { since: null, where, pose, target: controls.target.clone(), offset: new THREE.Spherical().setFromVector3(offset) };
    }
    ask();
  }

  function fly(now) {
    flight.since ??= now;
    const part = Math.min((now - flight.since) / 1000 / _SECONDS, 1);
    if (part === 1) {
      const where = flight.where;
      flight = null;
      setHome(where);
      return;
    }
    const eased = part * part * (3 - 2 * part);
    const mix = (from, to) => from + (to - from) * eased;
    const target = homeTarget(flight.where);
    pose = mix(flight.pose, flight.where);
    place();
    controls.target.lerpVectors(flight.target, target, eased);
    const { radius, phi, theta } = flight.offset;
    const offset = new THREE.Spherical(mix(radius, -target.z), mix(phi, Math.PI / 2), mix(theta, 0));
    camera.position.setFromSpherical(offset).add(controls.target);
  }

  function turn(left, up) {
    flight = null;
    controls.rotateLeft(left);
    controls.rotateUp(up);
    ask();
  }

  function zoom(factor) {
    flight = null;
    controls.dollyIn(factor);
    ask();
  }

  function sway(now) {
    swaying.since ??= now;
    const angle = _SWAY.degrees * (Math.PI / 180) * Math.sin(((now - swaying.since) / 1000 / _SWAY.seconds) * 2 * Math.PI);
    controls.rotateLeft(angle - swaying.angle);
    swaying.angle = angle;
  }

  function setSway(on) {
    swaying = on ? { since: null, angle: 0 } : null;
    ask();
  }

  // --- light -----------------------------------------------------------------------------------------------------

  function setLight(values) {
    light = values.slice();
    ask();
  }

  /** Moves the light across the picture, by shares of its side. */
  function moveLight(right, down) {
    const [x, y] = lightDirection(light[2], light[3]);
    let [u, v] = [-x + 1.6 * right, -y + 1.6 * down];
    const far = Math.hypot(u, v) / 0.95;
    if (far > 1) [u, v] = [u / far, v / far];
    const z = Math.sqrt(1 - u * u - v * v);
    setLight([light[0], light[1], -u / z, -v / z]);
  }

  function setDragsLight(on) {
    dragsLight = on;
    controls.enabled = !on;
  }

  handle(canvas, {
    began() {
      flight = null;
      setSway(false);
    },
    dragsLight: () => dragsLight,
    moveLight,
    // The wheel scrolls the page until one has begun to handle the model.
    mayZoom: (may) => (controls.enableZoom = may),
  });
  controls.addEventListener("change", ask);
  canvas.addEventListener("webglcontextrestored", ask);
  new ResizeObserver(resize).observe(canvas);

  // --- what others see -------------------------------------------------------------------------------------------

  function state() {
    const offset = new THREE.Spherical().setFromVector3(camera.position.clone().sub(controls.target));
    const degrees = 180 / Math.PI;
    const still = camera.position.length() < 1e-4 && Math.hypot(controls.target.x, controls.target.y) < 1e-4;
    return {
      mode: MODES[uniforms.mode.value],
      light: light.slice(),
      pose,
      atPhoto: still && pose === 0,
      atFront: still && pose === 1,
      fromRight: offset.theta * degrees,
      fromAbove: 90 - offset.phi * degrees,
      distance: offset.radius,
      swaying: swaying !== null,
    };
  }

  function setModel(next) {
    model = next;
    surface.geometry.dispose();
    wires.geometry.dispose();
    uniforms.albedo.value?.dispose();
    if (uniforms.hasPhoto.value) uniforms.photo.value.dispose();
    surface.geometry = surfaceGeometry(model);
    wires.geometry = wireGeometry(surface.geometry, model);
    uniforms.albedo.value = colourTexture(model.albedo.image);
    uniforms.hasPhoto.value = Boolean(model.photo);
    uniforms.photo.value = model.photo ? colourTexture(model.photo) : uniforms.albedo.value;
    uniforms.found.value = model.light;
    uniforms.closed.value = Boolean(model.back);
    frame(_WINDOW);
    controls.minDistance = 0.3 * model.rotCenterDepth;
    controls.maxDistance = 4 * model.rotCenterDepth;
    light = model.light.slice();
    flight = null;
    setSway(false);
    setHome(0);
    resize();
    ask();
  }

  function setMode(name) {
    uniforms.mode.value = Math.max(MODES.indexOf(name), 0);
    ask();
  }

  function setColours(ground, line) {
    uniforms.ground.value.set(...ground);
    ink.value.set(...line);
    ask();
  }

  /** Returns the photo's frame as RGBA values, rows from the top, `side` pixels a side, each the mean of `samples` squared. */
  function snapshot(side, samples = 1) {
    controls.update();
    camera.updateMatrixWorld();
    frame(1);
    const pixels = pixelsOfTarget(renderer, draw, side, samples);
    frame(_WINDOW);
    ask();
    return pixels;
  }

  return {
    setModel,
    setMode,
    setLight,
    moveLight,
    setDragsLight,
    setSway,
    setColours,
    home,
    turn,
    zoom,
    state,
    snapshot,
    geometry: () => surface.geometry,
  };
}
