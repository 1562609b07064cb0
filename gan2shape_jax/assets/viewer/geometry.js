// The mesh of a depth map, as gan2shape_jax/geometry and gan2shape_jax/results/surface.py have it. Frame: x right,
// y down, z away from the camera, scene units. Normals point into the surface: a plane that faces the camera has (0, 0, 1).

/** Returns the point that each pixel shows, (size * size, 3) in one array. */
export function backProjected(depth, size, focal) {
  const points = new Float32Array(size * size * 3);
  const center = (size - 1) / 2;
  for (let k = 0; k < size * size; k++) {
    const z = depth[k];
    points[3 * k] = (z * ((k % size) - center)) / focal;
    points[3 * k + 1] = (z * (Math.floor(k / size) - center)) / focal;
    points[3 * k + 2] = z;
  }
  return points;
}

/** Returns unit normals from central differences; those of the border are (0, 0, 1). */
export function normalsOf(points, size) {
  const normals = new Float32Array(points.length);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const k = 3 * (row * size + column);
      normals[k + 2] = 1;
      if (row === 0 || column === 0 || row === size - 1 || column === size - 1) continue;
      const [left, right, above, below] = [k - 3, k + 3, k - 3 * size, k + 3 * size];
      const along = [0, 1, 2].map((axis) => points[right + axis] - points[left + axis]);
      const down = [0, 1, 2].map((axis) => points[below + axis] - points[above + axis]);
      const x = along[1] * down[2] - along[2] * down[1];
      const y = along[2] * down[0] - along[0] * down[2];
      const z = along[0] * down[1] - along[1] * down[0];
      const length = Math.hypot(x, y, z);
      if (length > 0) normals.set([x / length, y / length, z / length], k);
    }
  }
  return normals;
}

/** Returns unit normals of a mesh's vertices, into the surface, by its triangles and their areas. */
export function meshNormals(points, faces) {
  const normals = new Float32Array(points.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [faces[f], faces[f + 1], faces[f + 2]];
    const [ux, uy, uz] = [0, 1, 2].map((axis) => points[3 * c + axis] - points[3 * a + axis]);
    const [vx, vy, vz] = [0, 1, 2].map((axis) => points[3 * b + axis] - points[3 * a + axis]);
    const across = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const vertex of [a, b, c]) across.forEach((value, axis) => (normals[3 * vertex + axis] += value));
  }
  for (let k = 0; k < normals.length; k += 3) {
    const length = Math.hypot(normals[k], normals[k + 1], normals[k + 2]);
    if (length > 0) normals.set([0, 1, 2].map((axis) => normals[k + axis] / length), k);
  }
  return normals;
}

/** Returns the triangles of which some part is inside, counterclockwise seen from the front. */
export function facesOf(inside, size) {
  const faces = [];
  for (let row = 0; row < size - 1; row++) {
    for (let column = 0; column < size - 1; column++) {
      const topLeft = row * size + column;
      const [topRight, lowLeft, lowRight] = [topLeft + 1, topLeft + size, topLeft + size + 1];
      if (inside[topLeft] || inside[lowLeft] || inside[topRight]) faces.push(topLeft, lowLeft, topRight);
      if (inside[topRight] || inside[lowLeft] || inside[lowRight]) faces.push(topRight, lowLeft, lowRight);
    }
  }
  return new Uint32Array(faces);
}

/** Returns lines along every `step`-th row and column of the sheet, as pairs of pixels, where the mesh is. */
export function wiresOf(inside, size, step) {
  const pairs = [];
  for (let k = 0; k < size * size; k++) {
    if (!inside[k]) continue;
    const [row, column] = [Math.floor(k / size), k % size];
    if (column + 1 < size && inside[k + 1] && row % step === 0) pairs.push(k, k + 1);
    if (row + 1 < size && inside[k + size] && column % step === 0) pairs.push(k, k + size);
  }
  return new Uint32Array(pairs);
}

/** Returns where each pixel lies in the albedo's picture, 0 to 1, the first row at 0. */
export function texturePlaces(size) {
  const places = new Float32Array(size * size * 2);
  for (let k = 0; k < size * size; k++) {
    places[2 * k] = ((k % size) + 0.5) / size;
    places[2 * k + 1] = (Math.floor(k / size) + 0.5) / size;
  }
  return places;
}

/** Returns the unit vector (dx, dy, 1) / length in which the light falls. */
export function lightDirection(dx, dy) {
  const length = Math.hypot(dx, dy, 1);
  return [dx / length, dy / length, 1 / length];
}

/** Returns ambient + diffuse * max(0, n . direction) for each pixel. */
export function shadingOf(normals, light) {
  const [ambient, diffuse, dx, dy] = light;
  const [x, y, z] = lightDirection(dx, dy);
  return Float32Array.from({ length: normals.length / 3 }, (_, k) => {
    const facing = normals[3 * k] * x + normals[3 * k + 1] * y + normals[3 * k + 2] * z;
    return ambient + diffuse * Math.max(0, facing);
  });
}

/** Returns Rz Ry Rx for angles in radians, row by row. */
export function rotation([rx, ry, rz]) {
  const [sx, sy, sz] = [rx, ry, rz].map(Math.sin);
  const [cx, cy, cz] = [rx, ry, rz].map(Math.cos);
  return [
    [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
    [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
    [-sy, cy * sx, cy * cx],
  ];
}
