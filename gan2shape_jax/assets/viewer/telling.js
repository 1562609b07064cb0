// What is told of an image beside its pictures: the verdict, figures, what the model shows.

import { normalLegend, spreadLegend } from "./factors.js";
import { wireStep } from "./meshes.js";
import { element, lightWords, number, sign, viewWords } from "./words.js";

/** Tells how far to trust a shape, in words and by a sign; nothing where nothing is known. */
export function tellVerdict(box, image) {
  box.replaceChildren();
  const { trust, remarks } = image;
  box.hidden = !trust && !remarks;
  if (box.hidden) return;
  const grade = image.done ? trust?.grade || "told" : "no";
  box.className = `verdict ${grade}`;
  const heading = !image.done ? (remarks.startsWith("not used") ? "Not used" : "Failed") : trust?.found ? capital(trust.found) : trust ? "How far to trust it" : "Note";
  const text = element("div", {}, element("strong", {}, heading));
  const told = trust?.found ? [trust.shape, trust.photographs, trust.invented] : [trust?.verdict];
  for (const words of told) if (words) text.append(element("p", {}, capital(words)));
  if (image.awaits) text.append(element("p", {}, "Not refined yet: this is the model's first estimate. Reload the page to see the refined result."));
  else if (remarks && !trust?.found) text.append(element("p", {}, capital(remarks)));
  if (trust?.category !== undefined) {
    const meter = element("meter", { min: 0, max: 1, value: trust.category, "aria-label": "Confidence score, 0 to 1" });
    text.append(element("p", { class: "typical" }, `Confidence that the photo shows one: ${trust.category.toFixed(2)}, a score between 0 and 1 `, meter));
  }
  box.append(sign(grade), text);
}

function capital(words) {
  return words.charAt(0).toLocaleUpperCase() + words.slice(1);
}

/** Tells view, light and figures of an image; `model` is null where the page has none. */
export function tellFacts(list, image, model, columns) {
  list.replaceChildren();
  const add = (name, value, title, term) => {
    const named = element("dt", {}, name, term && element("span", { class: "term" }, term));
    list.append(element("div", { title }, named, element("dd", {}, value)));
  };
  if (model) {
    add("The object", capital(viewWords(model.view)), "from the front to the photo's view");
    add("Light", `${capital(lightWords(model.light))}: ambient ${model.light[0].toFixed(2)}, directional ${model.light[1].toFixed(2)}`);
    add("Picture", `${model.size} × ${model.size} pixels`);
  }
  columns.forEach(({ label, term, words, digits }, k) => {
    if (image.figures[k] !== null) add(label, number(image.figures[k], digits), words, term);
  });
}

/** Tells what a mode shows, with its legend. */
export function tellMode(box, mode, model) {
  const words = {
    texture: [`${model?.photo ? "The photo's own colours." : "The colours under the estimated light."} Move the light to relight them.`],
    albedo: ["The colours alone (albedo), without light and shade, as the model estimates them."],
    normals: ["Which way the surface points (normals).", normalLegend()],
    clay: ["The shape alone, in grey. The light moves with the camera."],
    wire: [model && wireStep(model.size) > 1 ? `The mesh: every ${wireStep(model.size)}th row and column of the depth map.` : "The mesh: a line for each row and column of the depth map."],
    spread: ["The uncertainty of depth.", model?.spread ? spreadLegend(model) : null],
  }[mode];
  box.replaceChildren(element("p", {}, words[0]), ...(words[1] ? [words[1]] : []));
}
