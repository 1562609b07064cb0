// Numbers in words.

export function degrees(value) {
  return `${Math.abs(Math.round(value))}°`;
}

function listed(parts) {
  return parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}` : parts[0] || "";
}

/** Returns what a view (radians) does to the object, as gan2shape_jax/results/reconstruction.py has the signs. */
export function viewWords([rx, ry, rz]) {
  const [pitch, yaw, roll] = [rx, ry, rz].map((angle) => (angle * 180) / Math.PI);
  const parts = [];
  if (Math.abs(yaw) >= 1) parts.push(`turned ${degrees(yaw)} to the ${yaw > 0 ? "left" : "right"}`);
  if (Math.abs(pitch) >= 1) parts.push(`pitched ${degrees(pitch)} ${pitch > 0 ? "down" : "up"}`);
  if (Math.abs(roll) >= 1) parts.push(`tilted ${degrees(roll)} ${roll > 0 ? "clockwise" : "anticlockwise"}`);
  return parts.length ? listed(parts) : "straight on";
}

/** Returns where a light comes from. */
export function lightWords([, , dx, dy]) {
  const sides = [];
  if (Math.abs(dy) >= 0.08) sides.push(dy > 0 ? "above" : "below");
  if (Math.abs(dx) >= 0.08) sides.push(dx > 0 ? "the left" : "the right");
  return sides.length ? `from the front and ${listed(sides)}` : "from the front";
}

/** Returns where the model is seen from. */
export function cameraWords(state) {
  if (state.atPhoto) return "Seen from the photo's camera";
  if (state.atFront) return "Seen from the front";
  const parts = [];
  if (Math.abs(state.fromRight) >= 1) parts.push(`${degrees(state.fromRight)} from the ${state.fromRight > 0 ? "right" : "left"}`);
  if (Math.abs(state.fromAbove) >= 1) parts.push(`${degrees(state.fromAbove)} from ${state.fromAbove > 0 ? "above" : "below"}`);
  return parts.length ? `Seen ${listed(parts)}` : "Seen straight on";
}

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  return count < 999_500 ? `${Math.round(count / 1000)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function number(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/** Returns an element with attributes and children; children that are text stay text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const _SHAPES = {
  trust: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M7 12.5l3.4 3.4L17 9"],
  unmeasured: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M7 12.5l3.4 3.4L17 9"],
  doubt: ["M12 2.5L22.5 21h-21z", "M12 9.5v5.2M12 17.6v.4"],
  no: ["M8 2h8l6 6v8l-6 6H8l-6-6V8z", "M8.5 8.5l7 7M15.5 8.5l-7 7"],
  told: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M12 11v6M12 7v.4"],
};

/** Returns a sign that tells a grade by its form. */
export function sign(grade) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "sign");
  svg.setAttribute("aria-hidden", "true");
  _SHAPES[grade].forEach((path, k) => {
    const drawn = document.createElementNS(space, "path");
    drawn.setAttribute("d", path);
    drawn.setAttribute("class", k ? "stroke" : "ground");
    svg.append(drawn);
  });
  return svg;
}
