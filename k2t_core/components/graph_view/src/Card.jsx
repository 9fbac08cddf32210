// A node: its Keras half and its PyTorch half, closed as a card, open as the frame around what is inside it.
import { memo } from "react";

const MARKS = { exact: "✓", ambiguous: "◆", inert: "–", unsupported: "✕", "cut off": "✂" };
const KINDS = { model: "nested model", block: "block", sequence: "sequence of blocks" };

// What is read aloud: first what is to be seen, the Keras half and the PyTorch half.
function label(node, torch, open) {
  const halves = open ? [node.keras.name, torch, node.torch.type] : [node.keras.name, node.keras.type, node.keras.shape, torch, node.torch.type, node.torch.shape];
  const what = node.folds ? `${KINDS[node.kind]} of ${node.size} layers` : `${node.kind} in Keras and in PyTorch, ${node.status}`;
  return `${halves.filter(Boolean).join(" ")}: ${what}${node.overridden ? ", overridden" : ""}${node.first ? ", diverges first" : ""}`;
}

// The scales of graph.css take a place between 0 and 1; --none where a node has no such number.
const heat = (node) => Object.fromEntries(Object.entries(node.heat).map(([name, place]) => [`--${name}`, place]));

function Half({ side, name, kind }) {
  return (
    <span className={`half ${kind}`}>
      <span className="name">{name}</span>{" "}
      <span className="type">
        <span>{side.type}</span> <span className="shape">{side.shape}</span>
      </span>
    </span>
  );
}

function Card({ data: { node, inside, open, selected, holds, hit, hits, dim, onPress } }) {
  const torch = inside && node.torch.name.startsWith(`${inside}.`) ? node.torch.name.slice(inside.length + 1) : node.torch.name;
  const numbers = Object.entries(node.text).map(([name, value]) => `${name === "alone" ? "error alone" : name} ${value}`);
  const title = [`${node.keras.name}: ${node.keras.type} ${node.keras.shape}`, `${node.torch.name}: ${node.torch.code ?? node.torch.type} ${node.torch.shape}`, ...numbers].join("\n");
  const classes = ["card", node.kind, open ? "open" : "closed", node.status, node.first && "first", selected && "selected", holds && "holds", hit && "hit", dim && "dim", ...["error", "alone", "parameters"].filter((name) => node.heat[name] === undefined).map((name) => `no-${name}`)];
  return (
    <button
      type="button"
      tabIndex={-1}
      className={classes.filter(Boolean).join(" ")}
      style={heat(node)}
      title={title}
      aria-label={label(node, torch, open)}
      aria-pressed={node.folds ? undefined : Boolean(selected)}
      aria-expanded={node.folds ? open : undefined}
      data-node={node.id}
      data-error={node.text.error}
      data-alone={node.text.alone}
      data-parameters={node.text.parameters}
      onClick={() => onPress(node.id)}
    >
      <span className="mark" aria-hidden="true">
        {node.folds ? (open ? "⊟" : "⊞") : MARKS[node.status]}
        {node.overridden && <span className="pen">✎</span>}
      </span>
      <Half side={node.keras} name={node.keras.name} kind="keras" />{" "}
      <Half side={node.torch} name={torch} kind="torch" />
      {hits > 0 && <span className="hits" aria-hidden="true">{hits}</span>}
    </button>
  );
}

export default memo(Card);
