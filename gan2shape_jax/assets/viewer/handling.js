/* global THREE */
// What goes into the canvas, fingers and mice, and what comes out of it, pixels.

/**
 * Follows pointers on a canvas.
 *
 * began() is called when one touches it; while dragsLight(), moveLight(right, down) is, with shares of the canvas's side;
 * mayZoom(may) says whether the wheel belongs to the model: while the canvas has the focus.
 */
export function handle(canvas, { began, dragsLight, moveLight, mayZoom }) {
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    began();
    if (!dragsLight()) return;
    held = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held || !dragsLight()) return;
    const side = canvas.clientWidth;
    moveLight((event.clientX - held[0]) / side, (event.clientY - held[1]) / side);
    held = [event.clientX, event.clientY];
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (held = null));
  mayZoom(document.activeElement === canvas);
  canvas.addEventListener("focus", () => mayZoom(true));
  canvas.addEventListener("blur", () => mayZoom(false));
}

/** Returns what draw() draws as RGBA values, rows from the top, `side` pixels a side, each the mean of `samples` squared. */
export function pixelsOfTarget(renderer, draw, side, samples) {
  const wide = side * samples;
  const target = new THREE.WebGLRenderTarget(wide, wide);
  const fine = new Uint8Array(wide * wide * 4);
  renderer.setRenderTarget(target);
  draw();
  renderer.readRenderTargetPixels(target, 0, 0, wide, wide, fine);
  renderer.setRenderTarget(null);
  target.dispose();
  const pixels = new Float32Array(side * side * 4);
  for (let k = 0; k < fine.length; k++) {
    const [row, column] = [Math.floor(k / 4 / wide), Math.floor(k / 4) % wide];
    const to = (side - 1 - Math.floor(row / samples)) * side + Math.floor(column / samples);
    pixels[4 * to + (k & 3)] += fine[k] / (samples * samples);
  }
  return pixels;
}
