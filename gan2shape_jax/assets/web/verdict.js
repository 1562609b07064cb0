// How far to trust a shape: photos/judge.py, whose numbers and words, `by`, come with model.json.

/** Returns what a crop of the photo (RGB bytes, not lightened) shows, and how well; `box` is its place in the photo. */
export function assessed(crop, box, photo, inside, by) {
  const side = Math.sqrt(inside.length);
  const luma = lumaOf(crop, by);
  const light = percentile(luma, by.percentile);
  const object = luma.filter((_, k) => inside[k]);
  const [cos, sin] = [Math.cos(box.roll), Math.sin(box.roll)];
  let [beyond, count] = [0, 0];
  inside.forEach((there, k) => {
    const [column, row] = [((k % side) + 0.5) / side - 0.5, (Math.floor(k / side) + 0.5) / side - 0.5];
    if (!there || Math.max(Math.abs(column), Math.abs(row)) > by.core / 2) return;
    const [u, v] = [column * box.side, row * box.side];
    const [x, y] = [box.x + cos * u - sin * v, box.y + sin * u + cos * v];
    count += 1;
    beyond += x < 0 || y < 0 || x > photo.width || y > photo.height;
  });
  return {
    size: box.side / photo.scale,
    outside: beyond / count,
    light,
    contrast: (percentile(object, by.high) - percentile(object, by.low)) / Math.max(light, 1),
    blur: Math.log(Math.max(difference(luma, inside, side, by.far), 1e-6) / Math.max(difference(luma, inside, side, by.near), 1e-6)) / (2 * Math.log(by.far / by.near)),
  };
}

/** Returns how unlike its reconstruction (RGB) a picture (RGB) is inside the object: 1 minus a correlation. */
export function dissimilarity(picture, reconstruction, inside, by) {
  const [there, other] = [picture, reconstruction].map((one) => detail(lumaOf(one, by), inside, by.around));
  let [both, first, second] = [0, 0, 0];
  inside.forEach((known, k) => {
    if (!known) return;
    both += there[k] * other[k];
    first += there[k] ** 2;
    second += other[k] ** 2;
  });
  return 1 - both / Math.max(Math.sqrt(first * second), 1e-9);
}

/** Returns how much there is to see where the mouth of a picture's (RGB) face is; `landmarks` are pixels of it. */
export function mouth(picture, landmarks, inside, by) {
  const [left, right, , low, high] = landmarks;
  const [x, y] = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const tall = by.mouth.high * Math.abs(y - (left[1] + right[1]) / 2);
  return scatter(detail(lumaOf(picture, by), inside, by.around), [x, y], by.mouth.wide * Math.abs(high[0] - low[0]), tall, inside);
}

/** Returns the deviation of detail around a place, over the root mean square of it inside. */
function scatter(seen, [x, y], wide, tall, inside) {
  const side = Math.sqrt(inside.length);
  [wide, tall] = [Math.max(wide, 1), Math.max(tall, 1)];
  let [total, sum, squares, all, count] = [0, 0, 0, 0, 0];
  inside.forEach((known, k) => {
    if (!known) return;
    const weight = Math.exp(-(((k % side) - x) ** 2) / (2 * wide ** 2) - (Math.floor(k / side) - y) ** 2 / (2 * tall ** 2));
    total += weight;
    sum += weight * seen[k];
    squares += weight * seen[k] ** 2;
    all += seen[k] ** 2;
    count += 1;
  });
  const mean = sum / Math.max(total, 1e-9);
  return count ? Math.sqrt(Math.max(squares / Math.max(total, 1e-9) - mean ** 2, 0) / Math.max(all / count, 1e-9)) : NaN;
}

/** Returns how much darker than its reconstruction's (RGB) the mouth of a picture's (RGB) face is where it opens. */
export function openMouth(picture, reconstruction, landmarks, inside, by) {
  const side = Math.sqrt(inside.length);
  const [there, other] = [picture, reconstruction].map((one) => lumaOf(one, by));
  const [left, right, , low, high] = landmarks;
  const [x, y] = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const [wide, top, bottom] = by.opens;
  const down = y - (left[1] + right[1]) / 2;
  const opens = (_, k) => inside[k] && Math.abs((k % side) - x) < wide * Math.abs(high[0] - low[0]) && Math.floor(k / side) > y + top * down && Math.floor(k / side) < y + bottom * down;
  if (!there.some(opens)) return NaN;
  const face = there.filter((_, k) => inside[k]);
  const [there_dark, other_dark] = [there, other].map((one) => percentile(one.filter(opens), by.dark));
  return (other_dark - there_dark) / Math.max(percentile(face, by.high) - percentile(face, by.low), 1e-6);
}

/** Returns how dark the eyes of a picture's (RGB) face are beside its reconstruction, how uneven it is beside that, and how hidden. */
export function covered(picture, reconstruction, landmarks, inside, by) {
  const side = Math.sqrt(inside.length);
  const [there, other] = [picture, reconstruction].map((one) => lumaOf(one, by));
  const difference = there.map((value, k) => value - other[k]);
  const apart = detail(difference, inside, by.part);
  const lighter = difference.map((value, k) => value - apart[k]);
  const face = there.filter((_, k) => inside[k]);
  if (!face.length) return {};
  const range = Math.max(percentile(face, by.high) - percentile(face, by.low), 1e-6);
  const mean = lighter.reduce((sum, value, k) => sum + (inside[k] ? value : 0), 0) / face.length;
  const wide = Math.max(by.eye * Math.hypot(landmarks[1][0] - landmarks[0][0], landmarks[1][1] - landmarks[0][1]), 1);
  let [squares, total, dark] = [0, 0, 0];
  inside.forEach((known, k) => {
    if (!known) return;
    squares += (lighter[k] - mean) ** 2;
    for (const [x, y] of landmarks.slice(0, 2)) {
      const weight = Math.exp(-(((k % side) - x) ** 2 + (Math.floor(k / side) - y) ** 2) / (2 * wide ** 2));
      total += weight;
      dark += weight * (mean - lighter[k]);
    }
  });
  const unevenness = Math.sqrt(squares / face.length) / range;
  const [left, right, , first, last] = landmarks;
  const eyes = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2];
  const down = [(first[0] + last[0]) / 2 - eyes[0], (first[1] + last[1]) / 2 - eyes[1]];
  const [between, far] = [Math.hypot(right[0] - left[0], right[1] - left[1]), Math.hypot(...down)];
  const [own, models] = [there, other].map((one) => {
    const seen = detail(one, inside, by.around);
    return by.bands.map(([below, across, tall]) => scatter(seen, [eyes[0] + below * down[0], eyes[1] + below * down[1]], across * between, tall * far, inside));
  });
  const beside = Math.min(...own.map((value, k) => value / Math.max(models[k], 1e-6)));
  const hidden = unevenness / Math.max(Math.min(own[0], own[1]) * beside, 1e-6);
  return { eyes: dark / Math.max(total, 1e-9) / range, unevenness, hidden };
}

/** Returns how far a canonical depth is from the mean shape, as a share of that one's relief; undefined if that is unknown. */
export function shapeDistance(depth, { side, outline }) {
  if (!side) return undefined;
  const usual = side.mean_depth.filter((_, k) => outline.kept[k]);
  const off = Array.from(depth.filter((_, k) => outline.kept[k]), (value, k) => value - usual[k]);
  const mean = off.reduce((sum, value) => sum + value, 0) / off.length;
  const deviation = Math.sqrt(off.reduce((sum, value) => sum + (value - mean) ** 2, 0) / off.length);
  return deviation / Math.max(percentile(usual, 100) - percentile(usual, 0), 1e-6);
}

/** Returns how certain it is that the picture shows what the GAN draws, from a detector's score and the measures. */
export function certaintyOf(score, measured, by) {
  if (!Number.isFinite(measured.landmark_residual) || !Number.isFinite(measured.dissimilarity)) return score;
  const bounded = Math.min(Math.max(score, 1e-6), 1 - 1e-6);
  const parts = [1, Math.log(bounded / (1 - bounded)), measured.landmark_residual, measured.dissimilarity];
  return 1 / (1 + Math.exp(-parts.reduce((sum, part, k) => sum + by.odds[k] * part, 0)));
}

/** Returns the verdict: grade, three statements, warnings. */
export function verdict(score, measured, { verdict: { words, scores, measures }, kind, side }) {
  const fill = (text, given) => text.replace(/\{(\w+)\}/g, (_, name) => ({ kind, a: "aeiou".includes(kind[0]) ? "an" : "a", ...given })[name]);
  const beyond = (name, limit) => limit !== null && Number.isFinite(measured[name]) && (measures[name].worst > measures[name].usual ? measured[name] >= limit : measured[name] <= limit);
  const names = Object.keys(measures).filter((name) => !measures[name].unless || !beyond(measures[name].unless, measures[measures[name].unless].doubt));
  const guess = names.filter((name) => beyond(name, measures[name].no));
  const doubted = names.filter((name) => beyond(name, measures[name].doubt) && !guess.includes(name));
  let reasons = [...guess, ...doubted].map((name) => fill(measures[name].words, { value: (measured[name] * measures[name].scale).toFixed(0) }));
  if (score < scores.unlikely) reasons = [words.nothing]; // of what is not there, nothing else needs saying
  else if (score < scores.sure) reasons.unshift(words.perhaps);
  const grade = score < scores.perhaps || guess.length ? "no" : reasons.length ? "doubt" : side ? "trust" : "unmeasured";
  let shape = fill(words[grade], { whose: fill(words.general), why: reasons.join(", and ") });
  if (grade !== "no" && side) {
    const severity = ({ usual, worst }, value) => (Number.isFinite(value) ? Math.min(Math.max((value - usual) / (worst - usual), 0), 1) : 0);
    const expected = Math.exp(Object.keys(measures).reduce((sum, name, k) => sum + side.weights[k + 1] * severity(measures[name], measured[name]), side.weights[0]));
    const percent = (value) => (100 * value * side.widths).toFixed(0);
    shape += fill(words.error, { side: percent(expected), least: percent(expected * side.interval[0]), most: percent(expected * side.interval[1]) });
  } else if (grade !== "no") shape += words["unknown error"];
  const found = score >= scores.sure ? "found" : score >= scores.perhaps ? "perhaps found" : score >= scores.unlikely ? "hardly found" : "not found";
  return { grade, category: score, found: fill(words[found]), shape, invented: words[score < scores.unlikely ? "all" : "turned away"], warnings: reasons };
}

/** Returns the luma of a picture (RGB). */
export function lumaOf(picture, { luma: [red, green, blue] }) {
  return Float64Array.from({ length: picture.length / 3 }, (_, k) => red * picture[3 * k] + green * picture[3 * k + 1] + blue * picture[3 * k + 2]);
}

/** Returns a percentile of values, between two of them where it lies between, as NumPy does. */
export function percentile(values, percent) {
  const sorted = Float64Array.from(values).sort();
  const place = (percent / 100) * (sorted.length - 1);
  const low = sorted[Math.floor(place)];
  return low + (place % 1) * ((sorted[Math.floor(place) + 1] ?? low) - low);
}

/** Returns the mean squared difference of the object's pixels that lie this far apart along a row or column. */
function difference(luma, inside, side, apart) {
  let [sum, count] = [0, 0];
  for (let k = 0; k < luma.length; k++) {
    for (const other of [k % side >= apart ? k - apart : -1, k - apart * side]) {
      if (other < 0 || !inside[k] || !inside[other]) continue;
      sum += (luma[k] - luma[other]) ** 2;
      count += 1;
    }
  }
  return sum / Math.max(count, 1);
}

/** Returns luma less the mean of the object's pixels in the square around each pixel. */
function detail(luma, inside, around) {
  const side = Math.sqrt(luma.length);
  return luma.map((value, k) => {
    let [sum, count] = [0, 0];
    for (let row = Math.max(0, Math.floor(k / side) - around); row <= Math.min(side - 1, Math.floor(k / side) + around); row++) {
      for (let column = Math.max(0, (k % side) - around); column <= Math.min(side - 1, (k % side) + around); column++) {
        if (!inside[row * side + column]) continue;
        sum += luma[row * side + column];
        count += 1;
      }
    }
    return value - sum / Math.max(count, 1);
  });
}
