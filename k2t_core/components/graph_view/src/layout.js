// Where everything is drawn. Each fold is laid out by itself and then stands in the fold around it as one box, so that unfolding
// one moves nothing inside the others, and the blocks of one class are laid out once.

export const CARD = { width: 400, height: 54 };
const HEAD = 36; // of an open fold: its names, which no line crosses
const PAD = 16;

const OPTIONS = {
  "elk.algorithm": "layered",
  "elk.direction": "DOWN",
  "elk.edgeRouting": "ORTHOGONAL",
  "elk.layered.mergeEdges": "true",
  "elk.layered.considerModelOrder.strategy": "NODES_AND_EDGES",
  "elk.layered.nodePlacement.strategy": "NETWORK_SIMPLEX",
  "elk.layered.thoroughness": "1",
  "elk.separateConnectedComponents": "false",
  "elk.spacing.nodeNode": "26",
  "elk.spacing.edgeNode": "16",
  "elk.spacing.edgeEdge": "10",
  "elk.layered.spacing.nodeNodeBetweenLayers": "34",
  "elk.layered.spacing.edgeNodeBetweenLayers": "14",
  "elk.layered.spacing.edgeEdgeBetweenLayers": "10",
};

// elk: has layout(graph), a promise. model: what `read` gives as its skeleton. Returns arrange(model, open), a promise of { boxes, lines, width, height }: boxes in the order of
// execution, each with id, x, y, width, height, open, depth; lines with source, target, note and points.
export function arranger(elk) {
  const known = new Map(); // what ELK was asked → its answer: alike folds are asked for once

  async function inside(model, open, fold) {
    const ids = model.inside.get(fold);
    const boxes = await Promise.all(ids.map(async (id) => (open.has(id) ? { ...(await inside(model, open, id)), id, open: true } : { id, ...CARD })));
    const at = new Map(ids.map((id, index) => [id, index]));
    const [entries, exits] = model.ports.get(fold);
    const lines = model.lines.get(fold);
    const end = (id, kind, port) => (id === "" ? `${kind}${port}` : boxes[at.get(id)].open ? `${at.get(id)}${kind === "in" ? "out" : "in"}${port}` : `${at.get(id)}`);
    const graph = {
      id: "fold",
      layoutOptions: { ...OPTIONS, "elk.padding": fold ? `[top=${HEAD},left=${PAD},bottom=${PAD},right=${PAD}]` : `[top=${PAD},left=${PAD},bottom=${PAD},right=${PAD}]` },
      children: [
        ...boxes.map((box, index) => ({ id: `${index}`, width: box.width, height: box.height, ...(box.open && { ports: ports(box, index), layoutOptions: { "elk.portConstraints": "FIXED_POS" } }) })),
        ...dots(entries, "in", "FIRST"),
        ...dots(exits, "out", "LAST"),
      ],
      edges: lines.map((line, index) => ({ id: `e${index}`, sources: [end(line.source, "in", line.exit)], targets: [end(line.target, "out", line.entry)] })),
    };
    const key = JSON.stringify(graph);
    if (!known.has(key)) known.set(key, elk.layout(graph));
    const { children, edges, width, height } = await known.get(key);
    const across = (from, count) => children.slice(from, from + count).map((dot) => dot.x + dot.width / 2);
    return {
      width,
      height,
      entries: across(boxes.length, entries),
      exits: across(boxes.length + entries, exits),
      boxes: boxes.map((box, index) => ({ ...box, x: children[index].x, y: children[index].y })),
      lines: lines.map((line, index) => {
        const [{ startPoint, bendPoints = [], endPoint }] = edges[index].sections;
        const points = [startPoint, ...bendPoints, endPoint];
        if (line.target === "") points.push({ x: points.at(-1).x, y: height });
        return { ...line, points };
      }),
    };
  }

  return async (model, open) => {
    const top = await inside(model, open, "");
    const boxes = [];
    const lines = [];
    const spread = (fold, parent, left, up, depth) => {
      for (const { id, x, y, width, height, open, ...box } of fold.boxes) {
        boxes.push({ id, x: left + x, y: up + y, width, height, open: Boolean(open), depth });
        if (open) spread(box, id, left + x, up + y, depth + 1);
      }
      for (const line of fold.lines) lines.push({ ...line, parent, points: line.points.map(({ x, y }) => ({ x: left + x, y: up + y })) });
    };
    spread(top, "", 0, 0, 0);
    return { boxes, lines, width: top.width, height: top.height };
  };
}

const dots = (count, kind, layer) => Array.from({ length: count }, (_, port) => ({ id: `${kind}${port}`, width: 2, height: 2, layoutOptions: { "elk.layered.layering.layerConstraint": layer } }));

function ports(box, index) {
  const side = (kind, places, y) => places.map((x, port) => ({ id: `${index}${kind}${port}`, width: 0, height: 0, x, y }));
  return [...side("in", box.entries, 0), ...side("out", box.exits, box.height)];
}

// An SVG path through the points, its corners rounded.
export function path(points, radius = 7) {
  const parts = [`M${points[0].x} ${points[0].y}`];
  for (let i = 1; i < points.length - 1; i++) {
    const [a, b, c] = [points[i - 1], points[i], points[i + 1]];
    const before = Math.min(radius, Math.hypot(a.x - b.x, a.y - b.y) / 2);
    const after = Math.min(radius, Math.hypot(c.x - b.x, c.y - b.y) / 2);
    parts.push(`L${along(b, a, before)}Q${b.x} ${b.y} ${along(b, c, after)}`);
  }
  const last = points.at(-1);
  return `${parts.join("")}L${last.x} ${last.y}`;
}

function along(from, to, by) {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  return `${from.x + ((to.x - from.x) / length) * by} ${from.y + ((to.y - from.y) / length) * by}`;
}
