// Files to take along: out of the page where it holds them, else linked in the image's folder.

import { blockText, bytesOf } from "./decode.js";
import { bytes, element } from "./words.js";

const _TYPES = { glb: "model/gltf-binary", json: "application/json", zip: "application/zip" };

function save(id, name) {
  const content = new Blob([bytesOf(blockText(id))], { type: _TYPES[name.split(".").pop()] || "application/octet-stream" });
  const address = URL.createObjectURL(content);
  const anchor = element("a", { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Returns a name with nothing in it that some file system does not take. */
function plainName(name) {
  return name.replace(/[^\p{L}\p{N}.-]+/gu, "_").replace(/^[._]+|[._]+$/g, "") || "image";
}

/** Returns the list of an image's files. */
export function downloadList(image, offers) {
  const list = element("ul", { class: "downloads" });
  for (const [number, size, inside] of image.files) {
    const [name, words, first] = offers[number];
    if (inside) {
      const saved = `${plainName(image.name)}_${name}`;
      const button = element("button", { type: "button" }, element("span", {}, words), element("small", {}, `${bytes(size)}, in this page`));
      button.addEventListener("click", () => save(`file-${image.index}-${number}`, saved));
      list.append(element("li", {}, button));
    } else {
      const link = element("a", { href: `${image.place}/${encodeURIComponent(first)}` }, element("span", {}, words), element("small", {}, `${bytes(size)}, beside the page`));
      list.append(element("li", {}, link));
    }
  }
  return list;
}
