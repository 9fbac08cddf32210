// The data of `k2t_core/inspector/graph_data.py` with what the page looks up in it: what is in a fold, who reads whom.

export const FOLDS = new Set(["model", "block", "sequence"]);

export function read(text) {
  const { name, nodes, edges, legends } = JSON.parse(text);
  const inside = new Map([["", []]]);
  const lines = new Map([["", []]]);
  const ports = new Map([["", [0, 0]]]); // entries and exits
  for (const [id, node] of Object.entries(nodes)) {
    node.id = id;
    node.folds = FOLDS.has(node.kind);
    node.words = [node.keras.name, node.keras.type, node.keras.shape, node.torch.name, node.torch.type, node.torch.shape, node.torch.code].join(" ").toLowerCase();
    inside.get(node.parent).push(id);
    if (node.folds) {
      inside.set(id, []);
      lines.set(id, []);
      ports.set(id, [node.entries, node.exits]);
    }
  }
  for (const [parent, source, exit, target, entry, note] of edges) lines.get(parent).push({ source, exit, target, entry, note });
  return { name, nodes, legends, inside, lines, skeleton: { inside, lines, ports }, folds: [...inside.keys()].filter(Boolean) };
}

// The folds around a node, innermost first.
export function around(model, id) {
  const found = [];
  for (let fold = model.nodes[id].parent; fold; fold = model.nodes[fold].parent) found.push(fold);
  return found;
}

// The node itself, or the outermost closed fold around it: what is drawn of it.
export const drawn = (model, open, id) => around(model, id).findLast((fold) => !open.has(fold)) ?? id;

// Ids of the nodes whose words on either side hold all that is asked for, in the order of execution.
export function search(model, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length ? Object.values(model.nodes).filter((node) => words.every((word) => node.words.includes(word))).map((node) => node.id) : [];
}

// The nodes that are drawn next to a node along the edges: by = 1 reads it, by = -1 is read by it. Ports of open folds are passed through.
export function neighbours(model, open, id, by) {
  const [here, port, there, otherPort] = by > 0 ? ["source", "exit", "target", "entry"] : ["target", "entry", "source", "exit"];
  const found = new Set();
  const follow = (parent, at, number) => {
    for (const line of model.lines.get(parent)) {
      if (line[here] !== at || (number !== null && line[port] !== number)) continue;
      const next = line[there];
      if (next === "") {
        follow(model.nodes[parent].parent, parent, line[otherPort]); // out of the fold, by its port
      } else if (open.has(next)) {
        follow(next, "", line[otherPort]); // into the fold
      } else {
        found.add(next);
      }
    }
  };
  follow(model.nodes[id].parent, id, null);
  return [...found];
}
