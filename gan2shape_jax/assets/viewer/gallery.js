// The gallery: sorting by trust, name and errors, finding by name or status. Cards and rows of the table go together.

/** Returns the ways to sort that these images allow: [key, words, compare]. */
function orders(images, columns) {
  const grades = { trust: 3, unmeasured: 2, doubt: 1, no: 0 };
  const trusted = (image) => (image.trust ? (grades[image.trust.grade] ?? 1) * 10 + (image.trust.category ?? 0) : null);
  // What is not known comes last either way. (Two such differ by NaN, which leaves them as they are listed.)
  const last = (value, sense) => (value === null || value === undefined ? Infinity : sense * value);
  const found = [
    ["listed", "as listed", (a, b) => a.index - b.index],
    ["name", "name", (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })],
  ];
  if (images.some((image) => image.trust)) {
    found.push(["least", "least trusted first", (a, b) => last(trusted(a), 1) - last(trusted(b), 1)]);
    found.push(["most", "most trusted first", (a, b) => last(trusted(a), -1) - last(trusted(b), -1)]);
  }
  columns.forEach(({ title, label }, k) => {
    if (images.some((one) => one.figures[k] !== null)) {
      found.push([`worst-${title}`, `largest ${label} first`, (a, b) => last(a.figures[k], -1) - last(b.figures[k], -1)]);
    }
  });
  if (images.some((one) => !one.done)) found.push(["failed", "failed first", (a, b) => a.done - b.done]);
  return found;
}

/**
 * Returns the gallery; `order()` gives the indices of the images that are shown, in their order.
 *
 * changed() is called when order or choice have changed.
 */
export function createGallery({ cards, rows, sort, filter, count }, images, columns, changed) {
  const ways = orders(images, columns);
  for (const [key, words] of ways) {
    const option = document.createElement("option");
    option.value = key;
    option.textContent = words;
    sort.append(option);
  }
  const byIndex = (list) => new Map(Array.from(list.children, (node) => [Number(node.dataset.index), node]));
  const [card, row] = [byIndex(cards), byIndex(rows)];
  let shown = images.map((image) => image.index);

  function arrange() {
    const compare = ways.find(([key]) => key === sort.value)[2];
    const wanted = filter.value.trim().toLocaleLowerCase();
    const sorted = images.slice().sort((a, b) => compare(a, b) || a.index - b.index);
    const text = (image) => `${image.name} ${image.done ? "done" : "failed"} ${image.remarks}`.toLocaleLowerCase();
    shown = sorted.filter((image) => text(image).includes(wanted)).map((image) => image.index);
    const visible = new Set(shown);
    for (const [nodes, list] of [[card, cards], [row, rows]]) {
      list.append(...sorted.map((image) => nodes.get(image.index)).filter(Boolean));
      for (const [index, node] of nodes) node.hidden = !visible.has(index);
    }
    count.textContent = wanted ? `${shown.length} of ${images.length} images` : `${images.length} images`;
    changed();
  }

  sort.addEventListener("change", arrange);
  filter.addEventListener("input", arrange);
  arrange();

  return {
    order: () => shown,
    mark(index) {
      for (const nodes of [card, row]) {
        for (const [one, node] of nodes) {
          if (one === index) node.setAttribute("aria-current", "true");
          else node.removeAttribute("aria-current");
        }
      }
      const current = card.get(index);
      if (!current) return;
      // Only the list itself is scrolled, never the page.
      const [list, box] = [cards.getBoundingClientRect(), current.getBoundingClientRect()];
      if (box.top < list.top || box.bottom > list.bottom) cards.scrollTop += box.top - list.top - list.height / 2 + box.height / 2;
      if (box.left < list.left || box.right > list.right) cards.scrollLeft += box.left - list.left - list.width / 2 + box.width / 2;
    },
  };
}
