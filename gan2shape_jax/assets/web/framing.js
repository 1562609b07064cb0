// Where a face is in a photo, and the crop that shows it as the GAN frames faces: detection/faces.py and geometry/crop_box.py.
// A photo is {data (RGBA), width, height}; a box {x, y, side, roll}, roll in radians clockwise. The numbers that decide, `by`, are
// Python's: they come with model.json (apps/export/web.py).

import { lumaOf, percentile } from "./verdict.js";

/** Returns a place of a crop of `size` pixels in the photo. */
export function cropToPhoto([column, row], box, size) {
  const [u, v] = [(column / size - 0.5) * box.side, (row / size - 0.5) * box.side];
  const [cos, sin] = [Math.cos(box.roll), Math.sin(box.roll)];
  return [box.x + cos * u - sin * v, box.y + sin * u + cos * v];
}

/** Samples a crop as `sample_crop` does: means of bilinear samples at most one pixel apart. Returns RGB bytes. */
export function sampleCrop(photo, box, size) {
  const samples = Math.max(1, Math.ceil(box.side / size - 1e-9));
  const { data, width, height } = photo;
  const fine = size * samples;
  const [x0, y0] = cropToPhoto([0.5, 0.5], box, fine);
  const step = box.side / fine;
  const [dx, dy] = [Math.cos(box.roll) * step, Math.sin(box.roll) * step];
  const sums = new Float64Array(size * size * 3);
  // Plain numbers, no arrays, in here: it runs for millions of samples.
  const clamp = (value, last) => (value < 0 ? 0 : value > last ? last : value);
  for (let row = 0; row < fine; row++) {
    for (let column = 0; column < fine; column++) {
      const x = x0 + column * dx - row * dy - 0.5;
      const y = y0 + column * dy + row * dx - 0.5;
      const left = Math.floor(x);
      const top = Math.floor(y);
      const a = x - left;
      const b = y - top;
      const t = clamp(top, height - 1) * width;
      const u = clamp(top + 1, height - 1) * width;
      const l = 4 * clamp(left, width - 1);
      const r = 4 * clamp(left + 1, width - 1);
      const at = 3 * (Math.floor(row / samples) * size + Math.floor(column / samples));
      for (let c = 0; c < 3; c++) {
        const above = data[4 * t + l + c] * (1 - a) + data[4 * t + r + c] * a;
        const below = data[4 * u + l + c] * (1 - a) + data[4 * u + r + c] * a;
        sums[at + c] += Math.floor(above * (1 - b) + below * b + 0.5);
      }
    }
  }
  return Uint8ClampedArray.from(sums, (sum) => Math.round(sum / samples ** 2));
}

/** Returns a crop as light as the GAN's pictures (detection/detector.py), and the factor. */
export function exposed(crop, by) {
  const light = percentile(lumaOf(crop, by), by.percentile);
  const share = Math.max(0, Math.min(1, (by.fair - light) / (by.fair - by.dim)));
  const gain = Math.min((by.light / Math.max(light, 1)) ** share, by.most_gain);
  return { crop: gain === 1 ? crop : crop.map((value) => Math.min(255, Math.round(value * gain))), gain };
}

/** Returns the similarity's box in which landmarks are nearest to their mean places, moved as the GAN frames faces. */
function framed(landmarks, { landmarks: mean, correction }, by) {
  const average = (points) => [0, 1].map((axis) => points.reduce((sum, one) => sum + one[axis], 0) / points.length);
  const here = mean.map(([x, y]) => [x - 0.5, y - 0.5]);
  const [middle, home] = [average(landmarks), average(here)];
  let [re, im, square] = [0, 0, 0];
  here.forEach(([hx, hy], k) => {
    const [mx, my] = [hx - home[0], hy - home[1]];
    const [tx, ty] = [landmarks[k][0] - middle[0], landmarks[k][1] - middle[1]];
    re += mx * tx + my * ty;
    im += mx * ty - my * tx;
    square += mx * mx + my * my;
  });
  [re, im] = [re / square, im / square];
  const side = Math.hypot(re, im) || 1e-9;
  const x = middle[0] - (re * home[0] - im * home[1]);
  const y = middle[1] - (re * home[1] + im * home[0]);
  const [nx, ny] = [landmarks[by.nose][0] - x, landmarks[by.nose][1] - y];
  const row = [1, (nx * re + ny * im) / side ** 2 - here[by.nose][0], (ny * re - nx * im) / side ** 2 - here[by.nose][1]];
  const [dx, dy, grown] = [0, 1, 2].map((column) => row.reduce((sum, value, k) => sum + value * correction[k][column], 0));
  return { x: x + re * dx - im * dy, y: y + im * dx + re * dy, side: side * Math.exp(grown), roll: Math.atan2(im, re) };
}

/** Returns what YuNet finds in a crop of `size` pixels, the surest first; `run` maps (1, 3, s, s) to its outputs. */
async function yunet(run, crop, size, least, by) {
  const input = new Float32Array(3 * size * size);
  for (let k = 0; k < size * size; k++) for (let c = 0; c < 3; c++) input[c * size * size + k] = crop[3 * k + 2 - c];
  const outputs = await run(input, size);
  const found = [];
  for (const stride of [8, 16, 32]) {
    const columns = size / stride;
    const [cls, obj, bbox, kps] = ["cls", "obj", "bbox", "kps"].map((name) => outputs[`${name}_${stride}`].data);
    for (let k = 0; k < columns * columns; k++) {
      const unit = (value) => Math.max(0, Math.min(1, value));
      const score = Math.sqrt(unit(cls[k]) * unit(obj[k]));
      if (score < least) continue;
      const [column, row] = [k % columns, Math.floor(k / columns)];
      const [w, h] = [Math.exp(bbox[4 * k + 2]) * stride, Math.exp(bbox[4 * k + 3]) * stride];
      const [x, y] = [(column + bbox[4 * k]) * stride - w / 2, (row + bbox[4 * k + 1]) * stride - h / 2];
      const landmarks = [0, 1, 2, 3, 4].map((n) => [(kps[10 * k + 2 * n] + column) * stride, (kps[10 * k + 2 * n + 1] + row) * stride]);
      found.push({ score, landmarks, x, y, w, h });
    }
  }
  found.sort((a, b) => b.score - a.score);
  const shared = (a, b) => {
    const wide = Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x);
    const high = Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y);
    const both = Math.max(0, wide) * Math.max(0, high);
    return both / (a.w * a.h + b.w * b.h - both);
  };
  const kept = [];
  for (const one of found) if (kept.every((other) => shared(one, other) <= by.overlap)) kept.push(one);
  return kept;
}

/** Looks at a box again, as it is and mirrored; returns {score, landmarks} in the photo, or null. */
async function look(run, photo, box, framing, by) {
  const wide = { ...box, side: by.wide * box.side };
  const size = by.looked_at;
  const crop = sampleCrop(photo, wide, size);
  const seen = [];
  for (const mirrored of [false, true]) {
    const picture = mirrored ? crop.map((_, k) => crop[k + 3 * (size - 1 - 2 * (Math.floor(k / 3) % size))]) : crop;
    for (const one of await yunet(run, picture, size, by.least_score, by)) {
      const landmarks = mirrored ? by.mirrored.map((n) => [size - one.landmarks[n][0], one.landmarks[n][1]]) : one.landmarks;
      const place = framed(landmarks, framing, by);
      if (Math.hypot(place.x - size / 2, place.y - size / 2) < (by.near * size) / by.wide) {
        seen.push({ score: one.score, landmarks });
        break;
      }
    }
  }
  if (!seen.length) return null;
  const landmarks = seen[0].landmarks.map((_, k) => [0, 1].map((axis) => seen.reduce((sum, one) => sum + one.landmarks[k][axis], 0) / seen.length));
  return { score: Math.max(...seen.map((one) => one.score)), landmarks: landmarks.map((one) => cropToPhoto(one, wide, size)) };
}

/** Returns the face that a crop of `size` pixels frames: landmarks, pixel centres at whole numbers, and its score; or null. */
export async function faceIn(run, crop, size, by) {
  const photo = { data: Uint8ClampedArray.from({ length: 4 * size * size }, (_, k) => (k % 4 === 3 ? 255 : crop[3 * (k >> 2) + (k % 4)])), width: size, height: size };
  const usual = { landmarks: by.usual, correction: [0, 1, 2].map(() => [0, 0, 0]) };
  const face = await look(run, photo, { x: size / 2, y: size / 2, side: size, roll: 0 }, usual, by);
  return face && { landmarks: face.landmarks.map((place) => place.map((value) => value - 0.5)), score: scored(face.score, by) };
}

/** Returns how certainly there is a face, 0 to 1, from YuNet's score. */
function scored(score, by) {
  return 1 / (1 + Math.exp(-by.steepness * (score - by.middle)));
}

/** Returns a square picture of a photo, with grey around it as wide as half of its longer side, and its place. */
function bordered(photo, by) {
  const place = { x: photo.width / 2, y: photo.height / 2, side: 2 * Math.max(photo.width, photo.height), roll: 0 };
  const size = by.searched;
  const crop = sampleCrop(photo, place, size);
  const data = new Uint8ClampedArray(4 * size * size).fill(by.grey);
  for (let k = 0; k < size * size; k++) {
    const [x, y] = cropToPhoto([(k % size) + 0.5, Math.floor(k / size) + 0.5], place, size);
    if (x >= 0 && y >= 0 && x <= photo.width && y <= photo.height) for (let c = 0; c < 3; c++) data[4 * k + c] = crop[3 * k + c];
  }
  return [{ data, width: size, height: size }, place];
}

/** Returns the faces of a photo, {box, score}, the score 0 to 1 and the largest face first. */
export async function findFaces(run, photo, framing, by) {
  const found = await facesIn(run, photo, framing, by);
  const least = by.fills * Math.min(photo.width, photo.height);
  const sure = found.filter((one) => one.score >= by.sure);
  if (!sure.length || sure.some((one) => one.box.side > least)) {
    const [wide, place] = bordered(photo, by);
    for (const { box, score } of await facesIn(run, wide, framing, by)) {
      const [x, y] = cropToPhoto([box.x, box.y], place, by.searched);
      const face = { box: { ...box, x, y, side: (box.side * place.side) / by.searched }, score };
      if (face.box.side <= least || x < 0 || y < 0 || x > photo.width || y > photo.height) continue;
      const other = found.findIndex((one) => same(one.box, face.box, by));
      if (other < 0) found.push(face);
      else if (face.score > found[other].score) found[other] = face;
    }
  }
  return found.sort((a, b) => b.box.side - a.box.side);
}

/** Whether the centres of two boxes are so near that they show one face. */
function same(box, other, by) {
  return Math.hypot(other.x - box.x, other.y - box.y) < by.apart * Math.max(other.side, box.side);
}

/** Returns the faces that are found in a photo, or in a picture of one with something around it. */
async function facesIn(run, photo, framing, by) {
  const longer = Math.max(photo.width, photo.height);
  const whole = { x: longer / 2, y: longer / 2, side: longer, roll: 0 };
  const found = [];
  for (const candidate of await yunet(run, sampleCrop(photo, whole, by.searched), by.searched, by.candidate, by)) {
    let box = framed(candidate.landmarks.map((one) => cropToPhoto(one, whole, by.searched)), framing, by);
    if (found.some((other) => same(other.box, box, by))) continue;
    let score = candidate.score;
    for (let k = 0; k < by.looks; k++) {
      const closer = await look(run, photo, box, framing, by);
      score = Math.min(score, closer ? closer.score : 0);
      if (!closer) break;
      const next = framed(closer.landmarks, framing, by);
      const moved = Math.hypot(next.x - box.x, next.y - box.y) + Math.abs(next.side - box.side);
      box = next;
      if (moved < by.still * box.side) break;
    }
    score = scored(score, by);
    if (score >= by.sure || Math.abs(box.roll) <= (by.upright * Math.PI) / 180) found.push({ box, score });
  }
  return found;
}
