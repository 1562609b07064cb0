// From the page's data blocks to arrays. The format is described in gan2shape_jax/results/outputs.py.

/** Returns the content of a data block as text; null where the page has none. */
export function blockText(id) {
  const block = document.getElementById(id);
  return block === null ? null : block.textContent;
}

/** Returns the content of a JSON data block; null where the page has none. */
export function blockJson(id) {
  const text = blockText(id);
  return text === null ? null : JSON.parse(text);
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Returns the bytes of a zlib stream in base64, of which there must be `count`. */
export async function unpacked(base64, count) {
  const reader = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const bytes = new Uint8Array(count);
  let filled = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > count) throw new Error("a map with too many values");
    bytes.set(value, filled);
    filled += value.length;
  }
  if (filled < count) throw new Error("a map with too few values");
  return bytes;
}

function numbers(values, count) {
  if (!Array.isArray(values) || values.length !== count || !values.every(Number.isFinite)) throw new Error("a model without its numbers");
  return values;
}

/** Undoes `_coded_depth`: high bytes, then low bytes, of zigzag coded second differences of 16-bit steps. */
export function decodedDepth(bytes, size, low, high) {
  const count = size * size;
  const steps = new Uint16Array(count);
  for (let k = 0; k < count; k++) {
    const zigzag = (bytes[k] << 8) | bytes[count + k];
    const change = (zigzag >>> 1) ^ -(zigzag & 1);
    const left = k % size ? steps[k - 1] : 0;
    const above = k >= size ? steps[k - size] : 0;
    const corner = k % size && k >= size ? steps[k - size - 1] : 0;
    steps[k] = change + left + above - corner;
  }
  return Float32Array.from(steps, (step) => low + (step / 65535) * (high - low));
}

/** Returns a picture's address within the page; only the two kinds that fragments have. */
export function pictureAddress(picture) {
  const kind = picture.kind === "png" ? "png" : "jpeg";
  return `data:image/${kind};base64,${picture.data}`;
}

async function loadedImage(picture) {
  const image = new Image();
  image.src = pictureAddress(picture);
  await image.decode();
  return image;
}

/** Returns a picture as RGBA bytes, size x size. */
function pixelsOf(image, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, size, size);
  return context.getImageData(0, 0, size, size).data;
}

async function pictureOf(picture, size) {
  if (!picture) return null;
  const image = await loadedImage(picture);
  return { image, address: image.src, pixels: pixelsOf(image, size) };
}

/** Returns the back of a whole head, a mesh of its own that begins at the outline; null where there is none. */
async function backOf(packed) {
  if (!packed) return null;
  const [low, high] = [numbers(packed.low, 3), numbers(packed.high, 3)];
  const [vertices, triangles] = numbers([packed.vertices, packed.triangles], 2);
  const [steps, corners, colours] = await Promise.all([
    unpacked(packed.points, 6 * vertices),
    unpacked(packed.faces, 12 * triangles),
    unpacked(packed.colours, 3 * vertices),
  ]);
  const points = Float32Array.from(new Uint16Array(steps.buffer), (step, k) => low[k % 3] + (step / 65535) * (high[k % 3] - low[k % 3]));
  const faces = new Uint32Array(corners.buffer);
  if (!faces.every((corner) => corner < vertices)) throw new Error("a face without its corners");
  return { points, faces, colours };
}

/** Returns the true shape as a model: as the photo sees it, in the photo's colours; null where it is not known. */
async function truthOf(packed, model) {
  if (!packed) return null;
  numbers([packed.depth_low, packed.depth_high], 2);
  const count = model.size * model.size;
  const [steps, outline] = await Promise.all([unpacked(packed.depth, 2 * count), unpacked(packed.outline, count)]);
  const depth = decodedDepth(steps, model.size, packed.depth_low, packed.depth_high);
  const inside = outline.map((value) => value > 127);
  const own = { depth, outline, inside, view: [0, 0, 0, 0, 0, 0], light: [1, 0, 0, 0], albedo: model.input };
  return { ...model, ...own, photo: null, spread: null, back: null };
}

/** Returns everything about one image, decoded; null where the page has no model of it. */
export async function loadModel(index) {
  const packed = blockJson(`model-${index}`);
  if (packed === null) return null;
  const size = packed.size;
  const count = size * size;
  if (!(Number.isInteger(size) && size > 1 && size <= 4096)) throw new Error("a model without a size");
  numbers([packed.focal, packed.rot_center_depth, packed.depth_low, packed.depth_high, packed.depth_near, packed.depth_far], 6);
  const extras = blockJson(`extras-${index}`) || {};
  const [depth, outline, inputMask, albedo, input, reconstruction, ganImage, photo] = await Promise.all([
    unpacked(packed.depth, 2 * count).then((bytes) => decodedDepth(bytes, size, packed.depth_low, packed.depth_high)),
    unpacked(packed.outline, count),
    unpacked(packed.input_mask, count),
    pictureOf(extras.albedo || packed.albedo, size),
    pictureOf(extras.input || packed.input, size),
    pictureOf(extras.reconstruction, size),
    pictureOf(extras.gan_image, size),
    extras.texture ? loadedImage(extras.texture) : null,
  ]);
  const back = await backOf(packed.back);
  const spread = extras.spread ? await unpacked(extras.spread, count) : null;
  const model = {
    size,
    focal: packed.focal,
    rotCenterDepth: packed.rot_center_depth,
    view: numbers(packed.view, 6),
    light: numbers(packed.light, 4),
    depthNear: packed.depth_near,
    depthFar: packed.depth_far,
    depth,
    outline, // bytes: the mesh ends where they would be 127.5
    inside: outline.map((value) => value > 127),
    inputMask,
    back,
    albedo,
    input,
    reconstruction,
    ganImage,
    photo, // the photo's texture, over the canonical picture
    overlay: extras.photo ? pictureAddress(extras.photo) : input.address, // the photo, as sharp as the page has it
    photographs: (extras.photographs || []).map((one) => ({
      name: String(one.name),
      view: numbers(one.view, 6),
      used: one.used === true,
      address: pictureAddress(one.pictures), // of four pictures side by side
    })),
    spread, // bytes, 255 being spreadHigh
    spreadHigh: extras.spread_high || 0,
  };
  return { ...model, truth: await truthOf(extras.truth, model) };
}
