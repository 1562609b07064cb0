// The factors side by side: pictures drawn from the model's numbers, each with words and a legend.

import { CIVIDIS, MAGMA, depthColour, drawBall, drawBar, mapped, normalColour } from "./colours.js";
import { backProjected, normalsOf, shadingOf } from "./geometry.js";
import { element, lightWords, viewWords } from "./words.js";

const _FADE = 0.15; // how much of its colour the surroundings of the object keep, as in depth.png
const _IDEA = "It is the model's estimate, and may look like somebody or something else.";
const _DARKEST = 0.25; // the difference, of black to white, that is drawn darkest

function painted(size, colour) {
  const canvas = element("canvas", { width: size, height: size, role: "img" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(size, size);
  for (let k = 0; k < size * size; k++) {
    const [red, green, blue] = colour(k);
    image.data.set([red, green, blue, 255], 4 * k);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function faded(colour, inside) {
  const opacity = inside ? 1 : _FADE;
  return colour.map((value) => 255 + (value - 255) * opacity);
}

function grey(share) {
  const value = 255 * Math.min(Math.max(share, 0), 1);
  return [value, value, value];
}

/** Returns a legend: a colour bar with words at its ends and below. */
export function barLegend(stops, low, high, below, { flipped = false } = {}) {
  const bar = element("canvas", { class: "bar", "aria-hidden": "true" });
  drawBar(bar, flipped ? stops.slice().reverse() : stops);
  return element(
    "div",
    { class: "legend" },
    bar,
    element("div", { class: "ends" }, element("span", {}, low), element("span", {}, high)),
    below ? element("div", { class: "below" }, below) : null,
  );
}

/** Returns the legend of depth: near is bright. */
export function depthLegend(model) {
  const span = model.depthFar - model.depthNear;
  const share = (span * model.focal) / (model.rotCenterDepth * model.size); // of the picture's width, at the object
  return barLegend(
    MAGMA,
    `near ${model.depthNear.toFixed(3)}`,
    `far ${model.depthFar.toFixed(3)}`,
    `scene units; from near to far ${Math.round(share * 100)} % of the picture's width`,
    { flipped: true },
  );
}

/** Returns the legend of normals: a ball in their colours. */
export function normalLegend() {
  const ball = element("canvas", { class: "ball", "aria-hidden": "true" });
  drawBall(ball, (x, y, z) => normalColour(x, y, z), 64);
  return element(
    "div",
    { class: "legend ballLegend" },
    ball,
    element("div", { class: "below" }, "Key: light blue faces you, and each edge has the colour of the surfaces that face that way."),
  );
}

export function spreadLegend(model) {
  return barLegend(CIVIDIS, "certain 0", `uncertain ${model.spreadHigh.toPrecision(2)}`, "scene units");
}

function figure(picture, title, term, words, legend) {
  const name = term ? `${title} (${term})` : title;
  picture.setAttribute(picture.tagName === "IMG" ? "alt" : "aria-label", `${name}: ${words}`);
  return element(
    "figure",
    { class: "factor" },
    picture,
    element("figcaption", {}, element("strong", {}, title), term ? element("span", { class: "term" }, term) : null, element("p", {}, words), legend),
  );
}

function still(address) {
  return element("img", { src: address, decoding: "async" });
}

/** Returns figures of the photographs that a shape is from, each beside the model; none where there is only one. */
export function photographFigures(model) {
  return model.photographs.map(({ name, view, used, address }) => {
    const picture = still(address);
    picture.setAttribute("alt", `${name}, the model from there, its shape, and the model from the front in that light`);
    const words = `${viewWords(view)}${used ? "" : "; not used, as it does not show the same one"}`;
    return element("figure", { class: used ? "photograph" : "photograph unused" }, picture, element("figcaption", {}, element("strong", {}, name), ` ${words}`));
  });
}

/** Returns figures of a model's factors. */
export function factorFigures(model) {
  const { size, inside } = model;
  const normals = normalsOf(backProjected(model.depth, size, model.focal), size);
  const shading = shadingOf(normals, model.light);
  const albedo = model.albedo.pixels;
  const figures = [
    figure(still(model.input.address), "The photo", "input", "The input."),
    ...(model.photo ? [figure(still(model.photo.src), "Colours of the 3D model", "texture", "The photo, laid over the shape and seen from the front. What it does not show is taken from the other half, or is a guess.")] : []),
    figure(
      painted(size, (k) => grey(model.inputMask[k] / 255)),
      "Object",
      "mask",
      "White is the object: the photo's colours are taken from there.",
    ),
    figure(
      painted(size, (k) => faded(depthColour(model.depth[k], model.depthNear, model.depthFar), inside[k])),
      "Depth",
      "",
      "Distance of each point, from the front.",
      depthLegend(model),
    ),
    figure(
      painted(size, (k) => normalColour(normals[3 * k], normals[3 * k + 1], normals[3 * k + 2])),
      "Normals",
      "",
      "Direction of the surface.",
      normalLegend(),
    ),
    figure(still(model.albedo.address), "Unlit colours, as the model estimates them", "albedo", `The colours without light and shade. ${_IDEA}`),
    figure(
      painted(size, (k) => grey(shading[k])),
      "Light and shade",
      "shading",
      `The light falls ${lightWords(model.light)}: ambient ${model.light[0].toFixed(2)}, directional up to ${model.light[1].toFixed(2)} more where the surface points at it.`,
    ),
    figure(
      painted(size, (k) => [0, 1, 2].map((c) => Math.min(albedo[4 * k + c] * shading[k], 255))),
      "From the front, as the model renders it",
      "canonical view",
      `Unlit colours times light and shade. ${_IDEA}`,
    ),
  ];
  if (model.reconstruction) {
    const [input, explained] = [model.input.pixels, model.reconstruction.pixels];
    figures.push(
      figure(
        still(model.reconstruction.address),
        "The photo, as the model renders it",
        "reconstruction",
        `Rendered from depth, colours, light and camera. ${_IDEA}`,
      ),
      figure(
        painted(size, (k) => {
          const off = [0, 1, 2].reduce((sum, c) => sum + Math.abs(input[4 * k + c] - explained[4 * k + c]), 0) / 765;
          return faded(grey(1 - off / _DARKEST), model.inputMask[k] > 127);
        }),
        "Difference",
        "",
        `White where photo and reconstruction agree, black where they differ by ${_DARKEST * 100} % or more; pale outside the object.`,
      ),
    );
  }
  if (model.ganImage) {
    figures.push(figure(still(model.ganImage.address), "The GAN's version", "inversion", "The picture closest to the photo that the GAN can draw."));
  }
  if (model.spread) {
    figures.push(
      figure(
        painted(size, (k) => faded(mapped(CIVIDIS, model.spread[k] / 255), inside[k])),
        "Expected error",
        "spread of depth",
        "Bright where depth is uncertain.",
        spreadLegend(model),
      ),
    );
  }
  return figures;
}
