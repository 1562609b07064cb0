// The light: a ball that shows it and takes it along, and the same in numbers.

import { drawBall } from "./colours.js";
import { lightDirection } from "./geometry.js";

/**
 * Returns the light's controls.
 *
 * moved(light) is called with [ambient, diffuse, dx, dy] when somebody moves one.
 */
export function createLight({ ball, across, up, ambient, diffuse }, moved) {
  let light = [1, 0, 0, 0];

  /** Where the ball is brightest, in its radii to the right and down. */
  function spot() {
    const [x, y] = lightDirection(light[2], light[3]);
    return [-x, -y];
  }

  function show() {
    const [x, y, z] = lightDirection(light[2], light[3]);
    drawBall(ball, (nx, ny, nz) => {
      const value = 255 * Math.min(light[0] + light[1] * Math.max(0, nx * x + ny * y + nz * z), 1);
      return [value, value, value * 0.98];
    });
    const [u, v] = spot();
    const context = ball.getContext("2d");
    const side = ball.width;
    context.beginPath();
    context.arc(side / 2 + (u * side) / 2, side / 2 + (v * side) / 2, side * 0.055, 0, 2 * Math.PI);
    context.fillStyle = "#ffd75e";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#3a2b00";
    context.stroke();
    across.value = Math.round(u * 100);
    up.value = Math.round(-v * 100);
    ambient.value = Math.round(light[0] * 100);
    diffuse.value = Math.round(light[1] * 100);
    across.setAttribute("aria-valuetext", `${Math.abs(across.value)} % to the ${across.value < 0 ? "left" : "right"}`);
    up.setAttribute("aria-valuetext", `${Math.abs(up.value)} % ${up.value < 0 ? "below" : "above"}`);
  }

  function to(u, v) {
    const far = Math.hypot(u, v) / 0.95;
    if (far > 1) [u, v] = [u / far, v / far];
    const z = Math.sqrt(1 - u * u - v * v);
    light = [light[0], light[1], -u / z, -v / z];
    show();
    moved(light.slice());
  }

  function follow(event) {
    const box = ball.getBoundingClientRect();
    to((2 * (event.clientX - box.left)) / box.width - 1, (2 * (event.clientY - box.top)) / box.height - 1);
  }

  ball.addEventListener("pointerdown", (event) => {
    ball.setPointerCapture(event.pointerId);
    follow(event);
  });
  ball.addEventListener("pointermove", (event) => {
    if (ball.hasPointerCapture(event.pointerId)) follow(event);
  });
  for (const slider of [across, up]) slider.addEventListener("input", () => to(across.value / 100, -up.value / 100));
  for (const slider of [ambient, diffuse]) {
    slider.addEventListener("input", () => {
      light = [ambient.value / 100, diffuse.value / 100, light[2], light[3]];
      show();
      moved(light.slice());
    });
  }

  return {
    set(values) {
      if (values.every((value, k) => Math.abs(value - light[k]) < 1e-9)) return;
      light = values.slice();
      show();
    },
    show,
  };
}
