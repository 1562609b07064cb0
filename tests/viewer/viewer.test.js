// The viewer's depth decoding and geometry, beside the package's own: `tests/results/test_viewer.py` writes what that
// makes of a result into a file, runs this with the file's name in VIEWER_TRUTH, and reports what differs.

import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";

// The page's modules have no package of their own that says to Node what they are, but a text has a type.
async function viewer(name) {
  const text = fs.readFileSync(new URL(`../../gan2shape_jax/assets/viewer/${name}`, import.meta.url));
  return import(`data:text/javascript;base64,${text.toString("base64")}`);
}

const { decodedDepth, unpacked } = await viewer("decode.js");
const { backProjected, facesOf, lightDirection, meshNormals, normalsOf, rotation, shadingOf, texturePlaces, wiresOf } = await viewer("geometry.js");
const truth = JSON.parse(fs.readFileSync(process.env.VIEWER_TRUTH, "utf8"));
const { model, size } = truth;

function assertClose(found, expected, most) {
  assert.equal(found.length, expected.length);
  found.forEach((value, k) => assert.ok(Math.abs(value - expected[k]) <= most, `${k}: ${value} instead of ${expected[k]}`));
}

test("depth comes back to half a step of its coding", async () => {
  const bytes = await unpacked(model.depth, 2 * size * size);
  const depth = decodedDepth(bytes, size, model.depth_low, model.depth_high);
  const step = (model.depth_high - model.depth_low) / 65535;
  assertClose(depth, truth.depth, 0.51 * step + 1e-7);
});

test("a map of another length than promised is refused", async () => {
  await assert.rejects(unpacked(model.depth, 2 * size * size - 1), /too many/);
  await assert.rejects(unpacked(model.depth, 2 * size * size + 1), /too few/);
});

test("points, normals, light and rotation are those of the package", () => {
  const points = backProjected(truth.depth, size, model.focal);
  assertClose(points, truth.points, 1e-6);
  const normals = normalsOf(points, size);
  assertClose(normals, truth.normals, 1e-4);
  assertClose(shadingOf(normals, model.light), truth.shading, 1e-4);
  assertClose(rotation(model.view).flat(), truth.rotation, 1e-6);
  assertClose(lightDirection(3, 4), [3, 4, 1].map((value) => value / Math.sqrt(26)), 1e-12);
});

test("a back's normals are those of the package", () => {
  assertClose(meshNormals(truth.back_points, truth.back_faces), truth.back_normals, 1e-4);
});

test("triangles cover the cells that touch the object, counterclockwise from the front", () => {
  const whole = facesOf(new Array(9).fill(1), 3);
  assert.equal(whole.length, 3 * 8);
  let area = 0;
  for (let k = 0; k < whole.length; k += 3) {
    const [a, b, c] = [...whole.slice(k, k + 3)].map((pixel) => [pixel % 3, Math.floor(pixel / 3)]);
    const twice = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    assert.equal(twice, -1); // rows go down, so counterclockwise is negative
    area -= twice / 2;
  }
  assert.equal(area, 4);
  assert.equal(facesOf(new Array(9).fill(0), 3).length, 0);
  assert.deepEqual([...facesOf([1, 0, 0, 0, 0, 0, 0, 0, 0], 3)], [0, 3, 1]);
});

test("wires join neighbours inside, in every second row and column", () => {
  const pairs = (inside, step) => Array.from({ length: wiresOf(inside, 3, step).length / 2 }, (_, k) => wiresOf(inside, 3, step).slice(2 * k, 2 * k + 2).join());
  assert.deepEqual(pairs([1, 1, 0, 1, 0, 0, 0, 0, 0], 1), ["0,1", "0,3"]);
  assert.deepEqual(pairs(new Array(9).fill(1), 2).sort(), ["0,1", "0,3", "1,2", "2,5", "3,6", "5,8", "6,7", "7,8"]);
});

test("pixels lie in the middle of their texels", () => {
  assert.deepEqual([...texturePlaces(2)], [0.25, 0.25, 0.75, 0.25, 0.25, 0.75, 0.75, 0.75]);
});
