// From the networks' factors to the model that the viewer shows: outline, texture of the photo, how well the factors explain
// the picture; after results/surface.py, photos/texture.py and photos/explain.py. Maps are (size, size), row by row.

import { backProjected, facesOf, normalsOf, rotation, shadingOf } from "./viewer/geometry.js";
import { cropToPhoto } from "./framing.js";

const gaussian = (deviation, reach) =>
  Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-(((k - reach) / deviation) ** 2) / 2)).map((value, _, all) => value / all.reduce((a, b) => a + b));
const KERNEL = gaussian(1, 2);
const [FEWEST, MOST] = [256, 512]; // texels of the texture, a side: powers of two
const SAMPLES = 4; // a pixel's side, at which it is known what the camera sees first
const DELTA = 1e-5; // of an unknown, for differences

const clamp = (value, low, high) => (value < low ? low : value > high ? high : value);
const ramp = (value, [low, high]) => {
  const share = clamp((value - low) / (high - low), 0, 1);
  return share * share * (3 - 2 * share);
};

const median = (values) => {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : 0;
};

/** Returns a map blurred by a kernel along both axes, its outermost values repeated. */
function blurred(values, size, kernel = KERNEL) {
  const half = (kernel.length - 1) / 2;
  let from = values;
  for (const step of [1, size]) {
    const next = new Float64Array(from.length);
    for (let k = 0; k < next.length; k++) {
      const at = step === 1 ? k % size : Math.floor(k / size);
      for (let j = 0; j < kernel.length; j++) next[k] += kernel[j] * from[k + (clamp(at + j - half, 0, size - 1) - at) * step];
    }
    from = next;
  }
  return from;
}

/** Returns a depth map that goes on straight for `rings` past what is known: by planes through 5 x 5 pixels. */
function extended(depth, core, size, rings) {
  let [values, known] = [Float64Array.from(depth), Uint8Array.from(core)];
  const [low, high] = [depth.reduce((a, b) => Math.min(a, b)), depth.reduce((a, b) => Math.max(a, b))];
  for (let ring = 0; ring < rings; ring++) {
    const [next, grown] = [values.slice(), known.slice()];
    for (let k = 0; k < size * size; k++) {
      if (known[k]) continue;
      const [row, column] = [Math.floor(k / size), k % size];
      let touches = false;
      const m = [0, 0, 0, 1e-3, 0, 1e-3]; // of (1, x, y): n, x, y, xx, xy, yy
      const b = [0, 0, 0];
      for (let y = -2; y <= 2; y++) {
        for (let x = -2; x <= 2; x++) {
          const [r, c] = [row + y, column + x];
          if (r < 0 || c < 0 || r >= size || c >= size || !known[r * size + c]) continue;
          touches ||= Math.abs(x) < 2 && Math.abs(y) < 2;
          const z = values[r * size + c];
          [1, x, y, x * x, x * y, y * y].forEach((term, i) => (m[i] += term));
          [z, x * z, y * z].forEach((term, i) => (b[i] += term));
        }
      }
      if (!touches) continue;
      const [n, sx, sy, xx, xy, yy] = m;
      const det = n * (xx * yy - xy * xy) - sx * (sx * yy - xy * sy) + sy * (sx * xy - xx * sy);
      const top = b[0] * (xx * yy - xy * xy) - sx * (b[1] * yy - xy * b[2]) + sy * (b[1] * xy - xx * b[2]);
      next[k] = clamp(top / det, low, high);
      grown[k] = 1;
    }
    [values, known] = [next, grown];
  }
  return values;
}

/** Returns depth and field of the object's surface: its border even, its outline before the way down to the background. */
function outlined(depth, facts) {
  const { size, focal, outline, surface: by } = facts;
  const straight = extended(depth, outline.core, size, by.rings);
  const part = blurred(straight.map((value, k) => value * outline.there[k]), size);
  const whole = blurred(outline.there, size);
  const even = Float32Array.from(straight, (value, k) => value + outline.weight[k] * (part[k] / Math.max(whole[k], 1e-6) - value));
  const sides = Array.from({ length: size }, (_, row) => [depth[row * size], depth[row * size + size - 1]]).flat().sort((a, b) => a - b);
  const far = (sides[size - 1] + sides[size]) / 2;
  const near = even.reduce((least, value, k) => (outline.kept[k] ? Math.min(least, value) : least), far);
  const front = even.map((value) => (near < far ? clamp(0.5 + (far - by.wall * (far - near) - value) * by.slope * focal, 0, 1) : 0));
  const both = front.map((value, k) => Math.min(value, outline.share[k]));
  const enough = both.filter((value) => value >= 0.5).length > by.least_front * outline.kept.reduce((a, b) => a + b);
  return { depth: even, field: enough ? both : Float32Array.from(outline.share) };
}

/** Returns points as a view moves them. */
function moved(points, view, centre) {
  const r = rotation(view);
  const out = new points.constructor(points.length);
  for (let k = 0; k < points.length; k += 3) {
    const [x, y, z] = [points[k], points[k + 1], points[k + 2] - centre];
    for (let i = 0; i < 3; i++) out[k + i] = r[i][0] * x + r[i][1] * y + r[i][2] * z + view[3 + i] + (i === 2 ? centre : 0);
  }
  return out;
}

/** Returns the x of matrix x = right, of a few rows, by Gaussian elimination; the matrix is positive definite. */
function solved(matrix, right) {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  rows.forEach((pivot, i) => {
    for (const row of rows.slice(i + 1)) {
      const factor = row[i] / pivot[i];
      row.forEach((_, k) => (row[k] -= factor * pivot[k]));
    }
  });
  return rows.reduceRight((x, row, i) => [(row.at(-1) - x.reduce((sum, value, k) => sum + value * row[i + 1 + k], 0)) / row[i], ...x], []);
}

/** Returns a view that agrees with landmarks, pixels, too, and their error: geometry/landmark_pose.py. */
export function correctedView(view, landmarks, { size, focal, centre, points: shape, landmarks: by }) {
  const middle = (size - 1) / 2;
  const apart = (unknowns) => {
    const grown = shape.map(([x, y, z]) => [x, y, z - centre].map((value, i) => value * Math.exp(unknowns[5]) + (i === 2 ? centre : 0)));
    const points = moved(grown.flat(), [...unknowns.slice(0, 5), 0], centre);
    return landmarks.flatMap(([u, v], k) => {
      const [x, y, z] = points.slice(3 * k, 3 * k + 3);
      return [(focal * x) / z + middle - u, (focal * y) / z + middle - v].map((value) => value / (by.landmark * size));
    });
  };
  const guess = [...view.slice(0, 3), 0, 0];
  const precision = [...by.guess.map((deviation, i) => deviation + (i === 1 ? by.more_of_yaw * Math.abs(view[1]) : 0)), by.size].map((deviation) => deviation ** -2);
  let unknowns = [...guess, 0];
  for (let step = 0; step < by.steps; step++) {
    const residuals = apart(unknowns);
    const slopes = unknowns.map((_, i) => {
      const [more, less] = [1, -1].map((sign) => apart(unknowns.map((value, k) => value + (k === i ? sign * DELTA : 0))));
      return more.map((value, k) => (value - less[k]) / (2 * DELTA));
    });
    const weights = residuals.map((value) => by.outlier / Math.max(Math.abs(value), by.outlier));
    const sum = (a, b) => weights.reduce((total, weight, k) => total + weight * a[k] * b[k], 0);
    const matrix = slopes.map((a, i) => slopes.map((b, k) => sum(a, b) + (i === k ? precision[i] : 0)));
    const right = slopes.map((a, i) => sum(a, residuals) + precision[i] * (unknowns[i] - (guess[i] ?? 0)));
    const change = solved(matrix, right);
    unknowns = unknowns.map((value, i) => value - change[i]);
  }
  const change = guess.map((value, i) => unknowns[i] - value);
  const share = Math.min(1, by.largest_turn / Math.max(...change.slice(0, 3).map(Math.abs), 1e-9));
  const error = by.landmark * Math.sqrt(apart(unknowns).reduce((sum, value) => sum + value ** 2, 0) / landmarks.length);
  return { view: [...guess.map((value, i) => value + change[i] * share), view[5]], error };
}

/** Draws a mesh with the camera of `size` pixels at `times` as many samples a side: depth, and where its pixels come from. */
function drawn(points, faces, { size, focal }, times) {
  const side = size * times;
  const centre = (size - 1) / 2;
  const depth = new Float32Array(side * side).fill(Infinity);
  const place = new Float32Array(2 * side * side);
  const corner = (v) => [points[3 * v], points[3 * v + 1]].map((value) => ((value / points[3 * v + 2]) * focal + centre + 0.5) * times - 0.5);
  for (let f = 0; f < faces.length; f += 3) {
    const vertices = [faces[f], faces[f + 1], faces[f + 2]];
    const [a, b, c] = vertices.map(corner);
    const area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    if (area === 0) continue;
    const [left, right] = [Math.min(a[0], b[0], c[0]), Math.max(a[0], b[0], c[0])];
    const [top, low] = [Math.min(a[1], b[1], c[1]), Math.max(a[1], b[1], c[1])];
    for (let y = Math.max(0, Math.ceil(top)); y <= Math.min(side - 1, low); y++) {
      for (let x = Math.max(0, Math.ceil(left)); x <= Math.min(side - 1, right); x++) {
        const v = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area;
        const w = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area;
        const shares = [1 - v - w, v, w];
        if (shares.some((share) => share < -1e-6)) continue;
        const inverse = shares.map((share, i) => share / points[3 * vertices[i] + 2]);
        const z = 1 / (inverse[0] + inverse[1] + inverse[2]);
        const k = y * side + x;
        if (z >= depth[k]) continue;
        depth[k] = z;
        place[2 * k] = z * inverse.reduce((sum, share, i) => sum + share * (vertices[i] % size), 0);
        place[2 * k + 1] = z * inverse.reduce((sum, share, i) => sum + share * Math.floor(vertices[i] / size), 0);
      }
    }
  }
  return { depth, place, side };
}

/** Returns a value between the pixels of a map with `channels`, bilinearly; beyond it the outermost are repeated. */
function sampled(values, size, column, row, channels = 1, channel = 0, height = size) {
  const x = clamp(column, 0, size - 1); // plain numbers, no arrays, in here: it runs for millions of samples
  const y = clamp(row, 0, height - 1);
  const l = Math.min(Math.floor(x), size - 2);
  const t = Math.min(Math.floor(y), height - 2);
  const at = channels * (t * size + l) + channel;
  const below = at + channels * size;
  const a = x - l;
  return (values[at] * (1 - a) + values[at + channels] * a) * (1 - y + t) + (values[below] * (1 - a) + values[below + channels] * a) * (y - t);
}

/** Returns the picture that the factors make (RGB, -1 to 1), and where it shows the model's object. */
export function rendered(factors, facts) {
  const { size, outline } = facts;
  const points = backProjected(factors.depth, size, facts.focal);
  const shading = shadingOf(normalsOf(points, size), factors.light);
  const lit = factors.albedo.map((value, k) => (value / 2 + 0.5) * shading[Math.floor(k / 3)] * 2 - 1);
  const whole = new Uint8Array(size * size).fill(1);
  const { depth, place } = drawn(moved(points, factors.view, facts.centre), facesOf(whole, size), facts, 1);
  const at = (values, k, channels, c) => sampled(values, size, place[2 * k], place[2 * k + 1], channels, c);
  const picture = lit.map((_, k) => (depth[Math.floor(k / 3)] === Infinity ? 0 : clamp(at(lit, Math.floor(k / 3), 3, k % 3), -1, 1)));
  const inside = Array.from(depth, (value, k) => value !== Infinity && at(outline.kept, k, 1, 0) > 0.5);
  return { picture, inside };
}

/** Returns values, kept where their weight is 1 and continued smoothly to where it is 0 (pull and push). */
function filled(values, weight, side, channels) {
  if (side === 1) return values;
  const half = side / 2;
  const [means, mass] = [new Float32Array(half * half * channels), new Float32Array(half * half)];
  for (let k = 0; k < side * side; k++) {
    const to = Math.floor(Math.floor(k / side) / 2) * half + Math.floor((k % side) / 2);
    mass[to] += weight[k];
    for (let c = 0; c < channels; c++) means[channels * to + c] += weight[k] * values[channels * k + c];
  }
  for (let k = 0; k < means.length; k++) means[k] /= Math.max(mass[Math.floor(k / channels)], 1e-8);
  const coarser = filled(means, mass.map((value) => Math.min(value, 1)), half, channels);
  return values.map((value, k) => {
    const pixel = Math.floor(k / channels);
    const c = k - pixel * channels;
    const around = half === 1 ? coarser[c] : sampled(coarser, half, (pixel % side) / 2 - 0.25, Math.floor(pixel / side) / 2 - 0.25, channels, c);
    return around + weight[pixel] * (value - around);
  });
}

/** Returns the source with the target's colours where both are known, keeping its own detail: times a smooth field. */
function matched(source, trusted, target, known, by, cells = 64) {
  const texels = Math.sqrt(known.length);
  const times = texels / cells;
  const [mass, ours, theirs] = [1, 3, 3].map((channels) => new Float32Array(cells * cells * channels));
  for (let k = 0; k < texels * texels; k++) {
    const to = Math.floor(k / texels / times) * cells + Math.floor((k % texels) / times);
    const both = trusted[k] * known[k];
    mass[to] += both / times ** 2;
    for (let c = 0; c < 3; c++) {
      ours[3 * to + c] += (both * source[3 * k + c]) / times ** 2;
      theirs[3 * to + c] += (both * target[3 * k + c]) / times ** 2;
    }
  }
  const ratio = ours.map((value, k) => {
    const of = Math.max(mass[Math.floor(k / 3)], 1e-8);
    return clamp(Math.log((theirs[k] / of + by.darkest) / (value / of + by.darkest)), -Math.log(by.gain), Math.log(by.gain));
  });
  const sure = mass.map((value) => Math.min(4 * value, 1));
  // Where the two differ by much more than elsewhere, one shows skin and the other hair.
  const usual = [0, 1, 2].map((c) => median(Array.from(sure.keys()).filter((k) => sure[k] > 0.5).map((k) => ratio[3 * k + c])));
  const alike = ratio.map((value, k) => sure[Math.floor(k / 3)] * (1 - ramp(Math.abs(value - usual[k % 3]), by.other_thing)));
  const field = new Float64Array(ratio.length);
  for (let c = 0; c < 3; c++) {
    const one = (values) => Float64Array.from(sure, (_, k) => values[3 * k + c]);
    filled(one(ratio), one(alike), cells, 1).forEach((value, k) => (field[3 * k + c] = value));
  }
  return source.map((value, k) => {
    const pixel = Math.floor(k / 3);
    const column = ((pixel % texels) + 0.5) / times - 0.5;
    const row = (Math.floor(pixel / texels) + 0.5) / times - 0.5;
    return value * Math.exp(sampled(field, cells, column, row, 3, k % 3));
  });
}

/** Returns 0 in columns where the photo's camera sees the other half so much better that it shows both, else 1. */
function ownHalf(facing, near, size, by) {
  const sums = [new Float64Array(size), new Float64Array(size)];
  facing.forEach((cosine, k) => {
    sums[0][k % size] += near[k] * cosine;
    sums[1][k % size] += near[k];
  });
  const mean = sums[0].map((value, k) => value / Math.max(sums[1][k], 1));
  const reach = 4 * by.wide;
  const kernel = gaussian(by.wide, reach);
  const smooth = mean.map((_, k) => kernel.reduce((sum, weight, j) => sum + weight * mean[clamp(k + j - reach, 0, size - 1)], 0));
  return Float32Array.from(facing, (_, k) => ramp(smooth[k % size] / Math.max(smooth[size - 1 - (k % size)], by.grazing[0]), by.other_half));
}

/** Returns the photo's texture over the canonical picture, RGBA: its own colours, their mirror image, the model's. */
function photoTexture(factors, surface, photo, box, facts) {
  const { size, focal, texture: by } = facts;
  const points = backProjected(surface.depth, size, focal);
  const normals = normalsOf(points, size);
  const seenFrom = moved(points, factors.view, facts.centre);
  const turned = moved(normals.map((value, k) => value + (k % 3 === 2 ? facts.centre : 0)), [...factors.view.slice(0, 3), 0, 0, 0], facts.centre);
  const facing = Float32Array.from({ length: size * size }, (_, k) => {
    const [p, n] = [seenFrom, turned].map((all) => all.subarray(3 * k, 3 * k + 3));
    return (n[0] * p[0] + n[1] * p[1] + (n[2] - facts.centre) * p[2]) / Math.hypot(...p);
  });
  const shades = shadingOf(normals, factors.light);
  const near = blurred(surface.inside, size, [1, 1, 1]).map((value) => Math.min(value, 1)); // the object and a pixel around it
  const owned = ownHalf(facing, near, size, by);
  const first = drawn(seenFrom, facesOf(surface.inside, size), facts, SAMPLES);
  const brightest = Math.max(1e-3, Array.from(shades).filter((_, k) => surface.inside[k]).sort((a, b) => a - b).at(-1) ?? 1);
  const texels = box.side > FEWEST ? MOST : FEWEST;
  const count = texels * texels;
  const [shown, model] = [new Float32Array(3 * count), new Float32Array(3 * count)];
  let seen = new Float32Array(count);
  const [shading, clean, half] = [new Float32Array(count), new Float32Array(count), new Float32Array(count)];
  for (let k = 0; k < count; k++) {
    const u = (((k % texels) + 0.5) * size) / texels - 0.5;
    const v = ((Math.floor(k / texels) + 0.5) * size) / texels - 0.5;
    const z = sampled(seenFrom, size, u, v, 3, 2);
    const column = (sampled(seenFrom, size, u, v, 3, 0) / z) * focal + (size - 1) / 2;
    const row = (sampled(seenFrom, size, u, v, 3, 1) / z) * focal + (size - 1) / 2;
    const cosine = sampled(facing, size, u, v);
    const i = Math.round(clamp((column + 0.5) * SAMPLES - 0.5, 0, first.side - 1));
    const j = Math.round(clamp((row + 0.5) * SAMPLES - 0.5, 0, first.side - 1));
    const steep = Math.sqrt(1 - Math.max(cosine, by.grazing[0]) ** 2) / Math.max(cosine, by.grazing[0]);
    const visible = z <= first.depth[j * first.side + i] + (by.tolerance + steep / SAMPLES) / focal;
    const [px, py] = cropToPhoto([column + 0.5, row + 0.5], box, size);
    const within = px > 0 && py > 0 && px < photo.width && py < photo.height;
    const inner = sampled(facts.outline.inner, size, column, row);
    const faced = visible ? ramp(cosine, by.grazing) : 0;
    clean[k] = within ? sampled(facts.outline.clean, size, u, v) * (1 - faced + faced * inner) : 0;
    seen[k] = within ? faced * inner * sampled(near, size, u, v) : 0;
    half[k] = sampled(owned, size, u, v);
    shading[k] = sampled(shades, size, u, v);
    for (let c = 0; c < 3; c++) {
      shown[3 * k + c] = sampled(photo.data, photo.width, px - 0.5, py - 0.5, 4, c, photo.height) / 255;
      model[3 * k + c] = clamp(sampled(factors.albedo, size, u, v, 3, c) / 2 + 0.5, 0, 1);
    }
  }
  const soft = blurred(seen, texels, new Array(9).fill(1 / 9));
  seen = seen.map((value, k) => value * ramp(soft[k], [0.5, 1]));
  const mirror = (k) => k - (k % texels) + texels - 1 - (k % texels);
  const mirrored = facts.symmetric ? 1 : 0; // of other objects, one half says nothing of the other
  half.forEach((value, k) => (half[k] = 1 - mirrored * (1 - value) * seen[mirror(k)]));
  seen = seen.map((value, k) => value * half[k]);
  clean.forEach((value, k) => (clean[k] = value * half[k]));
  const sure = seen.map((value) => ramp(value, by.sure));
  const own = shown.map((value, k) => value / Math.max(shading[Math.floor(k / 3)], by.least_shading * brightest));
  const ownThere = own.map((_, k) => own[3 * mirror(Math.floor(k / 3)) + (k % 3)]);
  const seenThere = seen.map((_, k) => mirrored * seen[mirror(k)]);
  const other = matched(ownThere, sure.map((_, k) => sure[mirror(k)]), own, sure, by);
  const known = seen.map((value, k) => value + (1 - value) * seenThere[k]);
  const sum = own.map((value, k) => {
    const [at, o] = [Math.floor(k / 3), other[k]];
    return (value * seen[at] + o * (known[at] - seen[at])) / Math.max(known[at], 1e-6);
  });
  const rest = matched(model, clean, sum, known, by);
  const whole = known.map((value, k) => value + clean[k] * (1 - value));
  const colours = sum.map((value, k) => {
    const at = Math.floor(k / 3);
    return (value * known[at] + rest[k] * (whole[at] - known[at])) / Math.max(whole[at], 1e-6);
  });
  const albedo = filled(colours, whole.map((value) => ramp(value, by.sure)), texels, 3);
  const again = matched(albedo.map((value, k) => value * shading[Math.floor(k / 3)]), clean.fill(1), shown, sure, by);
  const texture = new Uint8ClampedArray(4 * count).fill(255);
  for (let k = 0; k < 3 * count; k++) {
    const at = Math.floor(k / 3);
    texture[4 * at + (k % 3)] = 255 * (again[k] + (shown[k] - again[k]) * seen[at]);
  }
  return texture;
}

/** Returns a picture of RGBA bytes as a canvas. */
export function canvasOf(rgba) {
  const side = Math.sqrt(rgba.length / 4);
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  canvas.getContext("2d").putImageData(new ImageData(rgba, side, side), 0, 0);
  return canvas;
}

/** Returns the viewer's model of factors whose input was the photo's `box`. `gain` is by what that was lightened. */
export function modelOf(factors, photo, box, gain, facts) {
  const { size } = facts;
  const { depth, field } = outlined(factors.depth, facts);
  const outline = field.map((value) => Math.round(value * 255));
  const inside = outline.map((value) => (value > 127 ? 1 : 0));
  const light = factors.light.map((value, k) => (k < 2 ? value / gain : value));
  const albedo = new Uint8ClampedArray(4 * size * size).fill(255);
  for (let k = 0; k < 3 * size * size; k++) albedo[4 * Math.floor(k / 3) + (k % 3)] = (factors.albedo[k] / 2 + 0.5) * 255;
  return {
    ...{ size, focal: facts.focal, rotCenterDepth: facts.centre, view: factors.view, light, depth, field, outline, inside },
    albedo: { image: canvasOf(albedo) },
    photo: canvasOf(photoTexture({ ...factors, light }, { depth, inside }, photo, box, facts)),
  };
}

/** Cuts the sheet where the field is 1/2: corners as columns of (pixel, pixel, share of the second), and faces. */
function cut(field, size, clear) {
  const value = Float64Array.from(field, (one) => (Math.abs(one - 0.5) < clear ? Math.sign(one - 0.5 || -1) * clear : one - 0.5));
  const [corners, numbers, faces] = [[], new Map(), []];
  const corner = (a, b) => {
    const [low, high] = a < b ? [a, b] : [b, a];
    const key = low * size * size + high;
    if (!numbers.has(key)) numbers.set(key, corners.push([low, high, low === high ? 0 : value[low] / (value[low] - value[high])]) - 1);
    return numbers.get(key);
  };
  const all = facesOf(new Uint8Array(size * size).fill(1), size);
  for (let f = 0; f < all.length; f += 3) {
    let [a, b, c] = all.subarray(f, f + 3);
    const count = [a, b, c].filter((v) => value[v] > 0).length;
    if (count === 0) continue;
    if (count === 3) faces.push(corner(a, a), corner(b, b), corner(c, c));
    else {
      while (value[a] > 0 !== (count === 1)) [a, b, c] = [b, c, a]; // the one that differs comes first
      if (count === 1) faces.push(corner(a, a), corner(a, b), corner(a, c));
      else faces.push(corner(a, b), corner(b, b), corner(c, c), corner(a, b), corner(c, c), corner(a, c));
    }
  }
  return { corners, faces: new Uint32Array(faces) };
}

/** Returns the model as binary glTF 2.0 in the mesh frame: y up, z towards the viewer, metres; its colours unlit. */
export async function glbOf(model, { metres, surface: by }) {
  const { corners, faces } = cut(model.field, model.size, by.clear);
  const points = backProjected(model.depth, model.size, model.focal);
  const normals = normalsOf(points, model.size);
  const mixed = (values, [a, b, share], axis) => values[3 * a + axis] + share * (values[3 * b + axis] - values[3 * a + axis]);
  const positions = Float32Array.from(corners.flatMap((one) => [0, 1, 2].map((axis) => (axis ? -1 : 1) * metres * (mixed(points, one, axis) - (axis === 2 ? model.rotCenterDepth : 0)))));
  const outward = Float32Array.from(corners.flatMap((one) => {
    const n = [0, 1, 2].map((axis) => mixed(normals, one, axis) * (axis ? 1 : -1));
    return n.map((value) => value / Math.hypot(...n));
  }));
  const places = Float32Array.from(corners.flatMap(([a, b, share]) => [(k) => k % model.size, (k) => Math.floor(k / model.size)].map((of) => (of(a) + share * (of(b) - of(a)) + 0.5) / model.size)));
  const field = ([a, b, share]) => model.field[a] + share * (model.field[b] - model.field[a]);
  const opacity = Uint8Array.from(corners.flatMap((one) => [255, 255, 255, Math.round(255 * ramp(field(one), [0.5, 0.5 + by.fade]))]));
  const [opaque, blended] = [[], []]; // what is blended hides nothing, so that it is the outline alone
  for (let f = 0; f < faces.length; f += 3) {
    const three = faces.subarray(f, f + 3);
    (three.every((corner) => opacity[4 * corner + 3] === 255) ? opaque : blended).push(...three);
  }
  const jpeg = new Uint8Array(await (await new Promise((done) => model.photo.toBlob(done, "image/jpeg", 0.92))).arrayBuffer());
  const parts = [positions, outward, places, Uint32Array.from(opaque), Uint32Array.from(blended), opacity, jpeg];
  let length = 0;
  const views = parts.map((part) => {
    const view = { buffer: 0, byteOffset: length, byteLength: part.byteLength };
    length += (part.byteLength + 3) & ~3;
    return view;
  });
  const extremes = (pick) => [0, 1, 2].map((axis) => pick(...corners.map((_, k) => positions[3 * k + axis])));
  const accessor = (bufferView, type, count, more = {}) => ({ bufferView, componentType: 5126, type, count, ...more });
  const tree = {
    asset: { version: "2.0", generator: "gan2shape_jax" },
    extensionsUsed: ["KHR_materials_unlit"],
    scene: 0,
    scenes: [{ nodes: [0] }],
    nodes: [{ mesh: 0, name: "mesh" }],
    meshes: [{ name: "mesh", primitives: [0, 1].map((material) => ({ attributes: { POSITION: 0, NORMAL: 1, TEXCOORD_0: 2, COLOR_0: 5 }, indices: 3 + material, material })) }],
    materials: [["photo", "OPAQUE"], ["photo outline", "BLEND"]].map(([name, alphaMode]) => ({ name, alphaMode, doubleSided: true, extensions: { KHR_materials_unlit: {} }, pbrMetallicRoughness: { baseColorTexture: { index: 0 }, metallicFactor: 0, roughnessFactor: 1 } })),
    textures: [{ source: 0 }],
    images: [{ bufferView: 6, mimeType: "image/jpeg" }],
    accessors: [
      accessor(0, "VEC3", corners.length, { min: extremes(Math.min), max: extremes(Math.max) }),
      accessor(1, "VEC3", corners.length),
      accessor(2, "VEC2", corners.length),
      { ...accessor(3, "SCALAR", opaque.length), componentType: 5125 },
      { ...accessor(4, "SCALAR", blended.length), componentType: 5125 },
      { ...accessor(5, "VEC4", corners.length), componentType: 5121, normalized: true },
    ],
    bufferViews: views,
    buffers: [{ byteLength: length }],
  };
  let json = JSON.stringify(tree);
  json += " ".repeat(-json.length & 3);
  const bytes = new Uint8Array(28 + json.length + length);
  const words = new DataView(bytes.buffer);
  [0x46546c67, 2, bytes.length, json.length, 0x4e4f534a].forEach((word, k) => words.setUint32(4 * k, word, true));
  bytes.set(new TextEncoder().encode(json), 20);
  [length, 0x004e4942].forEach((word, k) => words.setUint32(20 + json.length + 4 * k, word, true));
  parts.forEach((part, k) => bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), 28 + json.length + views[k].byteOffset));
  return new Blob([bytes], { type: "model/gltf-binary" });
}
