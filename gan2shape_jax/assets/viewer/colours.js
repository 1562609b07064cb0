// Colour maps that people with any colour vision can read, and the colours of normals.

// matplotlib's magma (depth) and cividis (spread) at 52 places from dark to bright.
const _STOPS = {
  magma: "00000402020b0504160907200e0b2b140e361a104221114e29115a311165390f6e420f754a107952137c5a167e6219806a1c81721f81792282812581892881912b81992d80a1307eaa337db2357bba3878c23b75ca3e72d2426fd9466be04c67e75263ec5860f1605df4695cf7725cf97b5dfb8560fc8e64fd9869fea16efeaa74feb47bfebd82fec68afecf92fed89afde2a3fdebacfcf4b6fcfdbf",
  cividis: "00224e002656002a5f002d68003070083370163770203a6f273e6e2e416d34456c3a486c3f4c6c444f6c49536c4e566c535a6d575d6d5c616e60646f656870696b716d6f727272747676767a7a787e7d788381798885788d8878928c789690779b9476a09875a59c74aaa073afa471b5a86fbaac6dbfb06bc4b468c9b965cfbd62d4c15fdac65bdfca57e5cf52ead34cf0d846f6dd3ffce236fee838",
};

function parsedStops(text) {
  return text.match(/.{6}/g).map((colour) => [0, 2, 4].map((k) => parseInt(colour.slice(k, k + 2), 16)));
}

export const MAGMA = parsedStops(_STOPS.magma);
export const CIVIDIS = parsedStops(_STOPS.cividis);

/** Returns red, green, blue in 0..255 of a share in 0..1. */
export function mapped(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const lower = Math.min(Math.floor(place), stops.length - 2);
  const part = place - lower;
  return [0, 1, 2].map((k) => stops[lower][k] * (1 - part) + stops[lower + 1][k] * part);
}

/** Returns the colour of depth: bright is near, dark is far. */
export function depthColour(depth, near, far) {
  return mapped(MAGMA, (far - depth) / Math.max(far - near, 1e-9));
}

/** Returns the colour of a unit normal. */
export function normalColour(x, y, z) {
  return [x, y, z].map((value) => (value / 2 + 0.5) * 255);
}

/** Draws a colour map as a bar, its low end at the left. */
export function drawBar(canvas, stops) {
  canvas.width = 256;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let k = 0; k < 256; k++) image.data.set([...mapped(stops, k / 255), 255], 4 * k);
  context.putImageData(image, 0, 0);
}

/** Draws a ball as it would look with a function from its normals (into the surface) to colours. */
export function drawBall(canvas, colour, side = 96) {
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  const radius = side / 2 - 1;
  for (let k = 0; k < side * side; k++) {
    const u = ((k % side) + 0.5 - side / 2) / radius;
    const v = (Math.floor(k / side) + 0.5 - side / 2) / radius;
    const distance = Math.hypot(u, v);
    const alpha = Math.min(Math.max((1 - distance) * radius + 0.5, 0), 1);
    const z = Math.sqrt(Math.max(1 - u * u - v * v, 0));
    image.data.set([...colour(-u, -v, z), 255 * alpha], 4 * k);
  }
  context.putImageData(image, 0, 0);
}
