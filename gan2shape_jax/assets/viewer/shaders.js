// Colours of the model's surface. Normals are those of the canonical frame, in which the light is given too, as in
// gan2shape_jax/geometry/lighting.py: colour = albedo * (ambient + diffuse * max(0, n . direction)), on [0, 1].

export const MODES = ["texture", "albedo", "normals", "clay", "wire", "spread"];

export const SURFACE_VERTEX = `
in vec3 position;
in vec3 normal;
in vec2 place;
in vec3 tint;
in float field;
uniform mat4 modelViewMatrix;
uniform mat4 projectionMatrix;
out vec3 vNormal;
out vec2 vPlace;
out vec3 vTint;
out float vField;
void main() {
  vNormal = normal;
  vPlace = place;
  vTint = tint;
  vField = field;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`;

export const SURFACE_FRAGMENT = `
precision highp float;
const float FADE = 0.03;  // of the picture's side
const float JOINED = 0.47;  // where the front ends before a back, which begins at 0.5
in vec3 vNormal;
in vec2 vPlace;
in vec3 vTint;
in float vField;
uniform sampler2D albedo;
uniform sampler2D photo;  // as the photo shows it
uniform vec4 found;  // the photo's light: ambient, diffuse, dx, dy
uniform bool hasPhoto;
uniform bool closed;  // with a back, to which the front goes on
uniform int mode;
uniform float ambient;
uniform float diffuse;
uniform vec3 direction;      // of the light, canonical frame
uniform vec3 clayDirection;  // of the light that stays with the viewer, turned into the canonical frame
uniform vec3 ground;         // the fill between wires
out vec4 colour;
void main() {
  vec2 rim = min(vPlace, 1.0 - vPlace) / FADE;  // the outline fades, also where it is the picture's own border
  float share = smoothstep(0.0, 1.0, min((vField - 0.5) / max(fwidth(vField), 0.4), min(rim.x, rim.y)));
  bool behind = vField > 1.5;
  if (closed) share = step(JOINED, vField);
  if (share == 0.0) discard;
  vec3 n = normalize(vNormal);
  vec3 c = behind ? vTint : texture(albedo, vPlace).rgb;
  float clay = 0.26 + 0.82 * pow(0.5 + 0.5 * dot(n, clayDirection), 1.6);  // no spot is black: the form shows everywhere
  if (mode == 0) c *= ambient + diffuse * max(0.0, dot(n, direction));
  if (mode == 0 && hasPhoto) {  // as in gan2shape_jax/results/views.py
    float before = found.x + found.y * max(0.0, dot(n, normalize(vec3(found.zw, 1.0))));
    float now = ambient + diffuse * max(0.0, dot(n, direction));
    c = (behind ? vTint : texture(photo, vPlace).rgb) * (max(now, 0.0) + 0.15) / (max(before, 0.0) + 0.15);
  }
  else if (mode == 2) c = n * 0.5 + 0.5;
  else if (mode == 3) c = vec3(0.80, 0.78, 0.75) * clay;
  else if (mode == 4) c = ground * (0.55 + 0.45 * clay);
  else if (mode == 5) c = (behind ? vec3(0.5) : vTint) * (0.62 + 0.38 * clay);
  if (!gl_FrontFacing) c = vec3(0.30 + 0.22 * dot(c, vec3(0.3, 0.59, 0.11)));  // the inside of the shell: nothing is known of it
  colour = vec4(clamp(c, 0.0, 1.0) * share, share);
}`;

export const WIRE_VERTEX = `
in vec3 position;
uniform mat4 modelViewMatrix;
uniform mat4 projectionMatrix;
void main() {
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  gl_Position.z -= 0.00004 * gl_Position.w;
}`;

export const WIRE_FRAGMENT = `
precision highp float;
uniform vec3 ink;
out vec4 colour;
void main() { colour = vec4(ink, 1.0); }`;
