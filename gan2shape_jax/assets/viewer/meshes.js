/* global THREE */
// A model as three.js draws it: its mesh, the lines over it, its colours, its place before the camera.

import { CIVIDIS, mapped } from "./colours.js";
import { backProjected, facesOf, meshNormals, normalsOf, rotation, texturePlaces, wiresOf } from "./geometry.js";
import { SURFACE_FRAGMENT, SURFACE_VERTEX, WIRE_FRAGMENT, WIRE_VERTEX } from "./shaders.js";

const _WIRES = 72; // the most lines along each side of the sheet

/** Returns the materials of the mesh and of the lines over it. */
export function materials() {
  const uniforms = {
    albedo: { value: null },
    photo: { value: null },
    found: { value: [1, 0, 0, 0] },
    hasPhoto: { value: false },
    closed: { value: false },
    mode: { value: 0 },
    ambient: { value: 1 },
    diffuse: { value: 0 },
    direction: { value: new THREE.Vector3() },
    clayDirection: { value: new THREE.Vector3() },
    ground: { value: new THREE.Vector3(0.9, 0.92, 0.95) },
  };
  const of = (vertexShader, fragmentShader, uniforms, more = {}) =>
    new THREE.RawShaderMaterial({ glslVersion: THREE.GLSL3, vertexShader, fragmentShader, uniforms, ...more });
  return {
    material: of(SURFACE_VERTEX, SURFACE_FRAGMENT, uniforms, { side: THREE.DoubleSide, transparent: true, premultipliedAlpha: true }),
    wireMaterial: of(WIRE_VERTEX, WIRE_FRAGMENT, { ink: { value: new THREE.Vector3(0.1, 0.25, 0.45) } }),
  };
}

const _BEHIND = 2; // the field of a back, which is none of the depth map's

/** Returns the mesh of a model with all that its colours need; of a closed one the back's vertices come last. */
export function surfaceGeometry(model) {
  const front = backProjected(model.depth, model.size, model.focal);
  const back = model.back || { points: [], faces: [], colours: [] };
  const geometry = new THREE.BufferGeometry();
  const put = (name, width, ...parts) => {
    const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    whole.set(parts[0]);
    whole.set(parts[1], parts[0].length);
    geometry.setAttribute(name, new THREE.BufferAttribute(whole, width));
  };
  const tint = new Float32Array(front.length);
  if (model.spread) model.spread.forEach((value, k) => tint.set(mapped(CIVIDIS, value / 255).map((c) => c / 255), 3 * k));
  const behind = back.points.length / 3;
  put("position", 3, front, back.points);
  put("normal", 3, normalsOf(front, model.size), meshNormals(back.points, back.faces));
  put("place", 2, texturePlaces(model.size), new Float32Array(2 * behind));
  put("tint", 3, tint, Float32Array.from(back.colours, (value) => value / 255));
  put("field", 1, Float32Array.from(model.outline, (value) => value / 255), new Float32Array(behind).fill(_BEHIND));
  const faces = facesOf(model.inside, model.size);
  const all = new Uint32Array(faces.length + back.faces.length);
  all.set(faces);
  all.set(Uint32Array.from(back.faces, (corner) => corner + model.size * model.size), faces.length);
  geometry.setIndex(new THREE.BufferAttribute(all, 1));
  return geometry;
}

/** Returns lines along the rows and columns of the depth map, over the mesh. */
export function wireGeometry(surface, { inside, size }) {
  const geometry = new THREE.BufferGeometry();
  const step = wireStep(size);
  geometry.setAttribute("position", surface.getAttribute("position"));
  geometry.setIndex(new THREE.BufferAttribute(wiresOf(inside, size, step), 1));
  return geometry;
}

/** Returns how many rows of the depth map lie between two wires. */
export function wireStep(size) {
  return Math.max(1, Math.ceil(size / _WIRES));
}

/** Returns a picture as a texture whose first row is at 0. */
export function colourTexture(image) {
  const texture = new THREE.Texture(image);
  texture.flipY = false;
  texture.colorSpace = THREE.NoColorSpace; // the method multiplies colours as the picture has them
  texture.minFilter = THREE.LinearMipmapLinearFilter;
  texture.anisotropy = 4;
  texture.needsUpdate = true;
  return texture;
}

/** Returns the matrix from canonical points to the frame of a view: p' = R (p - c) + c + t, with c = (0, 0, depth). */
export function viewMatrix(view, depth) {
  const r = rotation(view);
  const t = r.map((row, k) => (k === 2 ? depth : 0) - row[2] * depth + view[3 + k]);
  return new THREE.Matrix4().set(...r[0], t[0], ...r[1], t[1], ...r[2], t[2], 0, 0, 0, 1);
}
