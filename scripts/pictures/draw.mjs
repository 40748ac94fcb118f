// Draws a picture of links as SVG, from what is in it: places (a host, a container) in columns, links in them, wires
// between. Text is measured by estimate, on the wide side, because every reader has other fonts.

/**
 * A link, or what else has a name: a bridge as a bar over the whole height of its place, a table, a program.
 * @typedef {object} Node
 * @property {string} id for wires
 * @property {string} name
 * @property {readonly string[]} [lines] addresses and the like, below the name
 * @property {"link" | "bar" | "table" | "program" | "text"} [kind]
 * @property {string} [level] the node beside which it stands at the same height
 */

/**
 * @typedef {object} Place
 * @property {string} title
 * @property {readonly (readonly Node[])[]} columns from left to right
 */

/**
 * @typedef {object} Wire
 * @property {string} from left of `to`, or above it in one column
 * @property {string} to
 * @property {string} [label] above it
 * @property {"wire" | "arrow" | "back" | "both" | "refused"} [kind] with a head at the end, at the beginning, at both; or
 *   crossed out
 */

/**
 * @typedef {object} Picture
 * @property {string} name the plugin
 * @property {string} alt what is to be seen, in words
 * @property {readonly (readonly Place[])[]} columns of places, from left to right
 * @property {readonly Wire[]} [wires]
 * @property {readonly string[]} [notes] below
 */

/** @typedef {{ x: number, y: number, width: number, height: number }} Box */
/** @typedef {Node & Box & { inner: Box }} PlacedNode `inner`: the content of its place */
/** @typedef {Place & Box & { nodes: PlacedNode[] }} PlacedPlace */

/** Pixels. */
const size = { name: 13, line: 11.5, title: 12.5, label: 11.5, note: 12.5 };
const margin = 12;
const padding = 14;
const titleHeight = 26;
const lineHeight = 15;
const noteHeight = 18;
/** Between places, between nodes of a column, and between columns of a place where no label needs more. */
const gap = { place: 34, stack: 14, node: 16, column: 34 };

/** Widths of a letter by its font's size; wider than those of the fonts in use. */
const mono = 0.615;
const sans = 0.575;

/** @param {string} text @param {number} fontSize @param {number} letter */
const widthOf = (text, fontSize, letter) => text.length * fontSize * letter;

/** @param {string} text */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/** @param {Node} node */
function nodeSize({ name, lines = [], kind }) {
  const letter = kind === "text" ? sans : mono;
  const text = Math.max(
    widthOf(name, size.name, letter),
    ...lines.map((line) => widthOf(line, size.line, letter)),
  );
  return { width: Math.ceil(text + 18), height: 26 + lines.length * lineHeight };
}

/** @param {readonly number[]} numbers */
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/**
 * The room between neighbouring columns, by the labels of the wires that cross it.
 * @param {readonly Wire[]} wires @param {readonly Node[]} left @param {readonly Node[]} right @param {number} least
 */
function room(wires, left, right, least) {
  const crossing = wires.filter(
    ({ from, to }) => left.some(({ id }) => id === from) && right.some(({ id }) => id === to),
  );
  return Math.max(least, ...crossing.map(({ label = "" }) => widthOf(label, size.label, sans) + 28));
}

/** @param {Place} place @param {readonly Wire[]} wires */
function measure(place, wires) {
  const widths = place.columns.map((nodes) => Math.max(...nodes.map((node) => nodeSize(node).width), 0));
  const rooms = place.columns
    .slice(1)
    .map((nodes, i) => room(wires, place.columns[i] ?? [], nodes, gap.column));
  const heights = place.columns.map((nodes) =>
    sum([...nodes.map((node) => nodeSize(node).height), gap.node * (nodes.length - 1)]),
  );
  const title = widthOf(place.title, size.title, sans);
  return {
    widths,
    rooms,
    width: Math.max(title, sum([...widths, ...rooms])) + 2 * padding,
    height: Math.max(...heights) + titleHeight + padding,
  };
}

/** @param {Place} place @param {Box} box @param {readonly Wire[]} wires @returns {PlacedPlace} */
function placeNodes(place, box, wires) {
  const { widths, rooms } = measure(place, wires);
  const spare = box.width - 2 * padding - sum([...widths, ...rooms]);
  const top = box.y + titleHeight;
  const height = box.height - titleHeight - padding;
  const inner = { x: box.x, y: top, width: box.width, height };
  let x = box.x + padding + spare / 2;
  const nodes = place.columns.flatMap((column, i) => {
    const width = widths[i] ?? 0;
    const left = x;
    x += width + (rooms[i] ?? 0);
    const free = (height - sum(column.map((node) => nodeSize(node).height))) / column.length;
    let y = top;
    return column.map((node) => {
      if (node.kind === "bar") return { ...node, width, height, x: left, y, inner };
      const own = nodeSize(node).height;
      y += own + free;
      return { ...node, width, height: own, x: left, y: y - own - free / 2, inner };
    });
  });
  return { ...place, ...box, nodes };
}

/** Puts what has a level beside its neighbour. @param {readonly PlacedNode[]} nodes */
function level(nodes) {
  for (const node of nodes) {
    const other = nodes.find(({ id }) => id === node.level);
    if (other !== undefined) node.y = other.y + other.height / 2 - node.height / 2;
  }
}

/** @param {Picture} picture */
export function layOut({ columns, wires = [], notes = [] }) {
  const sizes = columns.map((places) => places.map((place) => measure(place, wires)));
  const height = Math.max(
    ...sizes.map((places) => sum([...places.map((one) => one.height), gap.stack * (places.length - 1)])),
  );
  /** @type {PlacedPlace[]} */
  const placed = [];
  let x = margin;
  for (const [i, places] of columns.entries()) {
    const own = sizes[i] ?? [];
    const width = Math.max(...own.map((one) => one.width));
    const spare = height - sum(own.map((one) => one.height)) - gap.stack * (places.length - 1);
    let y = margin;
    for (const [j, place] of places.entries()) {
      const tall = (own[j]?.height ?? 0) + spare / places.length;
      placed.push(placeNodes(place, { x, y, width, height: tall }, wires));
      y += tall + gap.stack;
    }
    const next = columns[i + 1];
    if (next === undefined) x += width + margin;
    else {
      const edge = next.flatMap((place) => place.columns[0] ?? []);
      x +=
        width +
        room(
          wires,
          places.flatMap((place) => place.columns.at(-1) ?? []),
          edge,
          gap.place,
        );
    }
  }
  const nodes = placed.flatMap((place) => place.nodes);
  level(nodes);
  const widest = Math.max(...notes.map((note) => widthOf(note, size.note, sans) + 2 * margin), 0);
  const below = notes.length === 0 ? 0 : notes.length * noteHeight + 8;
  return {
    places: placed,
    nodes,
    width: Math.ceil(Math.max(x, widest)),
    height: Math.ceil(height + 2 * margin + below),
  };
}

/**
 * The points of a wire, and where its label stands.
 * @param {Wire} wire @param {readonly PlacedNode[]} nodes
 */
export function route(wire, nodes) {
  const [a, b] = [wire.from, wire.to].map((id) => nodes.find((node) => node.id === id));
  if (a === undefined || b === undefined) throw new Error(`a wire from "${wire.from}" to "${wire.to}"`);
  if (a.x === b.x) {
    const x = a.x + a.width / 2;
    return {
      points: [
        { x, y: a.y + a.height },
        { x, y: b.y },
      ],
      middle: x,
    };
  }
  const start = { x: a.x + a.width, y: a.y + a.height / 2 };
  const end = { x: b.x, y: b.y + b.height / 2 };
  if (a.kind === "bar") start.y = end.y;
  if (b.kind === "bar") end.y = start.y;
  if (Math.abs(start.y - end.y) < 1)
    return { points: [start, { ...end, y: start.y }], middle: (start.x + end.x) / 2 };
  const middle = (start.x + end.x) / 2;
  return { points: [start, { x: middle, y: start.y }, { x: middle, y: end.y }, end], middle };
}

/** @param {PlacedNode} node */
function drawNode({ x, y, width, height, name, lines = [], kind = "link" }) {
  const middle = round(x + width / 2);
  const top = y + (height - 26 - lines.length * lineHeight) / 2;
  const box =
    kind === "text"
      ? ""
      : `<rect class="${kind}" x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" rx="${kind === "program" ? 12 : 4}"/>`;
  const text = [
    `<text class="${kind === "text" ? "say" : "name"}" x="${middle}" y="${round(top + 17.5)}">${escaped(name)}</text>`,
    ...lines.map(
      (line, i) =>
        `<text class="${kind === "text" ? "say" : "line"}" x="${middle}" y="${round(top + 33 + i * lineHeight)}">${escaped(line)}</text>`,
    ),
  ];
  return box + text.join("");
}

/** @param {Wire} wire @param {readonly PlacedNode[]} nodes */
function drawWire(wire, nodes) {
  const { points, middle } = route(wire, nodes);
  const { kind = "wire", label } = wire;
  const heads = [
    kind === "arrow" || kind === "both" ? ' marker-end="url(#head)"' : "",
    kind === "back" || kind === "both" ? ' marker-start="url(#head)"' : "",
  ].join("");
  const path = points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${round(x)} ${round(y)}`).join("");
  const height = (points[0]?.y ?? 0) / 2 + (points.at(-1)?.y ?? 0) / 2;
  const cross =
    kind === "refused"
      ? `<path class="no" d="M${round(middle - 6)} ${round(height - 6)}l12 12m0 -12l-12 12"/>`
      : "";
  const from = points[0] ?? { x: 0, y: 0 };
  const over = points.length === 2 ? middle : (from.x + middle) / 2;
  const above = kind === "refused" ? height - 11 : (points.length === 2 ? height : from.y) - 6;
  const text =
    label === undefined
      ? ""
      : `<text class="label" x="${round(kind === "refused" ? middle : over)}" y="${round(above)}">${escaped(label)}</text>`;
  return `<path class="${kind === "refused" ? "wire cut" : "wire"}" d="${path}"${heads}/>${cross}${text}`;
}

const style = `text{font-family:system-ui,"Segoe UI","Helvetica Neue",Arial,sans-serif;fill:#1f2328}
.name,.line{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;text-anchor:middle}
.name{font-size:${size.name}px;font-weight:600}.line{font-size:${size.line}px}
.say,.label{font-size:${size.label}px;text-anchor:middle}.title{font-size:${size.title}px;font-weight:600}.note{font-size:${size.note}px}
.page{fill:#fff}.place{fill:#f2f4f7;stroke:#8c959f}.link{fill:#ddebfb;stroke:#3b74c4}.bar{fill:#d7efdc;stroke:#3d8b4f}
.table{fill:#fbefd0;stroke:#a97b16;stroke-dasharray:5 3}.program{fill:#eadff7;stroke:#7a55b0}
.wire{fill:none;stroke:#57606a;stroke-width:1.6}.cut{stroke-dasharray:4 4}.no{fill:none;stroke:#cf222e;stroke-width:2.4}
.head{fill:#57606a}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.place{fill:#1c2128;stroke:#6e7681}.link{fill:#17304f;stroke:#5b9bea}
.bar{fill:#16361f;stroke:#56b068}.table{fill:#3a2e10;stroke:#d0a13a}.program{fill:#2d2143;stroke:#a583dd}.wire{stroke:#9aa4ae}.head{fill:#9aa4ae}.no{stroke:#ff6b63}}`;

/** @param {Picture} picture @returns {string} the SVG file */
export function draw(picture) {
  const { places, nodes, width, height } = layOut(picture);
  const { notes = [], wires = [], alt } = picture;
  const base = height - notes.length * noteHeight - 2;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(alt)}</title>`,
    `<style>${style}</style>`,
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0L8 4L0 8z"/></marker>',
    `<rect class="page" width="${width}" height="${height}" rx="8"/>`,
    ...places.map(
      ({ x, y, width, height, title }) =>
        `<rect class="place" x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" rx="8"/><text class="title" x="${round(x + padding)}" y="${round(y + 18)}">${escaped(title)}</text>`,
    ),
    ...wires.map((wire) => drawWire(wire, nodes)),
    ...nodes.map(drawNode),
    ...notes.map(
      (note, i) =>
        `<text class="note" x="${margin}" y="${round(base + (i + 0.7) * noteHeight)}">${escaped(note)}</text>`,
    ),
    "</svg>",
  ].join("\n")}\n`;
}

/** @param {Box} a @param {Box} b */
const overlap = (a, b) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/** @param {Box} a @param {Box} b */
const within = (a, b) =>
  a.x >= b.x && a.y >= b.y && a.x + a.width <= b.x + b.width && a.y + a.height <= b.y + b.height;

/**
 * What nobody could read: nodes over each other or out of their place, wires through nodes.
 * @param {Picture} picture
 */
export function faults(picture) {
  const { nodes } = layOut(picture);
  /** @type {string[]} */
  const found = [];
  for (const [i, node] of nodes.entries()) {
    if (!within(node, { ...node.inner, y: node.inner.y - 1, height: node.inner.height + 2 }))
      found.push(`${node.id} is not within its place`);
    for (const other of nodes.slice(i + 1))
      if (overlap(node, other)) found.push(`${node.id} is over ${other.id}`);
  }
  for (const wire of picture.wires ?? []) {
    const { points } = route(wire, nodes);
    for (const [i, to] of points.entries()) {
      const from = points[i - 1];
      if (from === undefined) continue;
      const line = {
        x: Math.min(from.x, to.x),
        y: Math.min(from.y, to.y),
        width: Math.abs(to.x - from.x),
        height: Math.abs(to.y - from.y),
      };
      const over = nodes.find(({ id, ...box }) => id !== wire.from && id !== wire.to && overlap(line, box));
      if (over !== undefined) found.push(`the wire from ${wire.from} to ${wire.to} goes over ${over.id}`);
    }
  }
  return found;
}
