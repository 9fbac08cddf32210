// The graph: layout in a worker, drawing by React Flow, and everything a person does with it.
import { MiniMap, ReactFlow, ReactFlowProvider, useReactFlow, useStore, ViewportPortal } from "@xyflow/react";
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import Card from "./Card.jsx";
import { Legend, Toolbar } from "./Controls.jsx";
import { path } from "./layout.js";
import { around, drawn, neighbours, read, search } from "./model.js";

const worker = new Worker(new URL("./worker.js", import.meta.url));
const asked = new Map(); // questions to the worker, by number
worker.onmessage = ({ data: { number, picture, problem } }) => {
  const { resolve, reject } = asked.get(number);
  asked.delete(number);
  if (picture) resolve(picture);
  else reject(new Error(problem));
};
worker.onerror = (event) => asked.forEach(({ reject }) => reject(new Error(event.message ?? "the layout engine does not start")));
let questions = 0;
function arrange(model, open) {
  return new Promise((resolve, reject) => {
    asked.set(++questions, { resolve, reject });
    worker.postMessage({ number: questions, skeleton: model.skeleton, open });
  });
}

const seen = new Map(); // by key: where a person was, for a component that Streamlit has thrown away and makes anew
const TYPES = { card: Card };
const FAR = 0.3; // below this zoom nobody can read the words
const READABLE = 0.8;
const MANY = 40; // boxes, from which on there is a map
const HELP = "Arrow keys walk along the edges, Enter selects a layer or unfolds, Escape folds, slash searches, plus and minus zoom, 0 fits.";

export default function Graph(props) {
  return (
    <ReactFlowProvider>
      <View {...props} />
    </ReactFlowProvider>
  );
}

function View({ place: key, graph, selected: wanted, colour: firstColour, open: firstOpen, height, reveal, stale, dark, send }) {
  const received = useMemo(() => performance.now(), [graph]);
  const model = useMemo(() => read(graph), [graph]);
  const memory = useMemo(() => seen.get(key) ?? seen.set(key, {}).get(key), [key]);
  const [open, setOpen] = useState(() => new Set(firstOpen));
  const [selected, setSelected] = useState(wanted);
  const [colour, setColour] = useState(firstColour);
  const [cursor, setCursor] = useState(memory.cursor ?? null);
  const [words, setWords] = useState("");
  const [picture, setPicture] = useState(null);
  const [problem, setProblem] = useState("");
  const [full, setFull] = useState(false); // on the full screen the wheel zooms; in the page it needs Ctrl, so that the page can be scrolled
  const [hint, setHint] = useState(0);
  const frame = useRef(null);
  const canvas = useRef(null);
  const goal = useRef(null); // what to do with the view once the layout is there: { keep: id } or { show: id, focus }
  const flow = useReactFlow();
  const far = useStore((state) => state.transform[2] < FAR);
  const still = useMemo(() => matchMedia("(prefers-reduced-motion: reduce)").matches, []);
  const found = useMemo(() => search(model, words), [model, words]);
  const isOpen = useMemo(() => new Set([...open].filter((id) => model.inside.has(id))), [open, model]);
  const places = useMemo(() => new Map(picture?.boxes.map((box) => [box.id, box])), [picture]);

  // Layout

  useEffect(() => {
    let current = true;
    arrange(model, isOpen).then(
      (next) => {
        if (!current) return;
        place(next);
        setPicture({ ...next, model, open: isOpen });
      },
      (error) => current && setProblem(String(error?.message ?? error)),
    );
    return () => (current = false);
  }, [model, isOpen]);

  useEffect(() => {
    if (!picture) return;
    const { show, focus } = goal.current ?? {};
    goal.current = null;
    if (show) go(show, focus);
    requestAnimationFrame(() =>
      setTimeout(() => {
        if (!frame.current) return;
        frame.current.dataset.drawn = picture.boxes.length;
        if (memory.measured !== graph) performance.measure("k2t graph drawn", { start: received, end: performance.now(), detail: { boxes: picture.boxes.length } });
        memory.measured = graph;
      }),
    );
  }, [picture]);

  // The view after a new layout: what a person looks at stays where it is. At first: as it was left, else all of the model if
  // that can be read, else its beginning.
  function place(next) {
    const { width, height } = canvas.current.getBoundingClientRect();
    const seenFrom = ({ x, y, zoom }, box) => box.x * zoom + x < width && (box.x + box.width) * zoom + x > 0 && box.y * zoom + y < height && (box.y + box.height) * zoom + y > 0;
    if (picture) {
      const { x, y, zoom } = flow.getViewport();
      const middle = { x: (width / 2 - x) / zoom, y: (height / 3 - y) / zoom };
      const away = (box) => (box.id === goal.current?.keep ? -1 : Math.hypot(box.x + box.width / 2 - middle.x, box.y - middle.y));
      const both = next.boxes.filter((box) => places.has(box.id)).map((box) => ({ before: places.get(box.id), after: box }));
      if (!both.length) return;
      const { before, after } = both.reduce((best, pair) => (away(pair.before) < away(best.before) ? pair : best));
      flow.setViewport({ x: x + (before.x + before.width / 2 - after.x - after.width / 2) * zoom, y: y + (before.y - after.y) * zoom, zoom });
    } else if (memory.viewport && next.boxes.some((box) => seenFrom(memory.viewport, box))) {
      flow.setViewport(memory.viewport);
    } else {
      const zoom = Math.max(Math.min(width / next.width, height / next.height, 1), Math.min(READABLE, width / 420));
      const first = next.boxes[0];
      const middle = next.width * zoom <= width ? next.width / 2 : first.x + first.width / 2;
      flow.setViewport({ x: width / 2 - middle * zoom, y: Math.max((height - next.height * zoom) / 2, 0), zoom });
    }
  }

  function unfold(folds, then) {
    const next = new Set(isOpen);
    for (const fold of folds) next.add(fold);
    change(next, then);
  }

  function change(next, then) {
    goal.current = then;
    setOpen(next);
    send("open", [...next]);
  }

  const toggle = useCallback(
    (id, focus) => {
      const next = new Set(isOpen);
      if (!next.delete(id)) next.add(id);
      change(next, { keep: id, ...(focus && { show: id, focus }) });
    },
    [isOpen],
  );

  // Where the eye goes

  // Bring a node into view, unfolding what it is in; focus: move the keyboard's place there too.
  function go(id, focus) {
    const closed = around(model, id).filter((fold) => !isOpen.has(fold));
    if (closed.length) return unfold(closed, { show: id, focus });
    const box = places.get(id);
    if (!box) return;
    const { x, y, zoom } = flow.getViewport();
    const { width, height } = canvas.current.getBoundingClientRect();
    const [left, up, right, down] = [box.x * zoom + x, box.y * zoom + y, (box.x + box.width) * zoom + x, (box.y + Math.min(box.height, 60)) * zoom + y];
    const near = Math.max(zoom, Math.min(READABLE, width / 420));
    if (zoom < FAR || left < 0 || up < 0 || right > width || down > height) {
      flow.setCenter(box.x + box.width / 2, box.y + Math.min(box.height / 2, height / 3 / near), { zoom: near, duration: focus || still ? 0 : 250 });
    }
    setCursor((memory.cursor = id));
    if (focus) setTimeout(() => focusOn(id));
  }

  function focusOn(id, tries = 20) {
    const card = [...(canvas.current?.querySelectorAll("[data-node]") ?? [])].find((element) => element.dataset.node === id);
    if (card) card.focus({ preventScroll: true });
    else if (tries) requestAnimationFrame(() => focusOn(id, tries - 1)); // it is drawn once the view has moved
  }

  const fit = () => flow.fitBounds({ x: 0, y: 0, width: picture.width, height: picture.height }, { padding: 0.03, duration: still ? 0 : 250 });

  // Selection: what a person clicks goes to the page, what the page selects is brought into view.

  const sent = useRef([]);
  useEffect(() => {
    const mine = sent.current.indexOf(wanted);
    if (mine >= 0) {
      sent.current.splice(0, mine + 1);
      return;
    }
    if (sent.current.length) return; // an older state of the page: the answer to the last click is on its way
    setSelected(wanted);
    const nodes = Object.values(model.nodes).filter((node) => node.row === wanted && wanted !== null);
    if (nodes.length && reveal) {
      const id = (nodes.find((node) => drawn(model, isOpen, node.id) === node.id) ?? nodes[0]).id;
      if (picture) go(id);
      else if (!memory.viewport || memory.selected !== wanted) {
        const closed = around(model, id).filter((fold) => !isOpen.has(fold));
        if (closed.length) unfold(closed, { show: id });
        else goal.current = { show: id };
      }
    }
    memory.selected = wanted;
  }, [wanted]);

  const press = useCallback(
    (id, focus = false) => {
      const node = model.nodes[id];
      setCursor((memory.cursor = id));
      if (node.folds) toggle(id, focus);
      if (node.row !== null && node.row !== selected && !(node.folds && isOpen.has(id))) {
        sent.current.push((memory.selected = node.row));
        setSelected(node.row);
        send("selected", node.row);
      }
    },
    [model, toggle, selected, isOpen],
  );

  // Keyboard

  function walk(by) {
    const next = neighbours(model, isOpen, cursor, by);
    if (!next.length) return;
    const here = places.get(cursor);
    const off = (id) => Math.abs(places.get(id).x + places.get(id).width / 2 - here.x - here.width / 2);
    go(next.sort((a, b) => off(a) - off(b))[0], true);
  }

  function aside(by) {
    const here = places.get(cursor);
    const beside = picture.boxes.filter((box) => !box.open && box.y < here.y + here.height && box.y + box.height > here.y && (box.x - here.x) * by > 0);
    if (beside.length) go(beside.sort((a, b) => (a.x - b.x) * by)[0].id, true);
  }

  function onKeyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !picture) return;
    const at = places.has(cursor) ? cursor : null;
    const keys = {
      ArrowDown: () => (at ? walk(1) : go(picture.boxes[0].id, true)),
      ArrowUp: () => (at ? walk(-1) : go(picture.boxes[0].id, true)),
      ArrowLeft: () => at && aside(-1),
      ArrowRight: () => at && aside(1),
      Home: () => go(picture.boxes[0].id, true),
      End: () => go(picture.boxes.at(-1).id, true),
      Enter: () => at && press(at, true),
      " ": () => at && press(at, true),
      Escape: () => {
        const fold = at && isOpen.has(at) ? at : at && model.nodes[at].parent;
        if (fold) change(new Set([...isOpen].filter((id) => id !== fold)), { show: fold, focus: true });
      },
      "/": () => frame.current.querySelector("[type=search]").focus(),
      "+": () => flow.zoomIn(),
      "=": () => flow.zoomIn(),
      "-": () => flow.zoomOut(),
      0: fit,
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // Streamlit has keys of its own
    act();
  }

  // Drawing

  const hits = useMemo(() => {
    const counted = new Map();
    for (const id of found) {
      const shown = drawn(model, isOpen, id);
      counted.set(shown, (counted.get(shown) ?? 0) + (shown !== id));
    }
    return counted;
  }, [found, model, isOpen]);

  const holds = useMemo(() => new Set(selected === null ? [] : Object.values(model.nodes).filter((node) => node.row === selected).map((node) => drawn(model, isOpen, node.id))), [selected, model, isOpen]);

  const old = useRef(new Map());
  const nodes = useMemo(() => {
    const next = new Map();
    for (const box of picture?.boxes ?? []) {
      const node = picture.model.nodes[box.id];
      const data = {
        node,
        inside: picture.model.nodes[node.parent]?.torch.name,
        open: box.open,
        selected: selected !== null && node.row === selected,
        holds: node.row !== selected && holds.has(box.id),
        hit: hits.has(box.id),
        hits: hits.get(box.id) ?? 0,
        dim: words.trim() !== "" && !hits.has(box.id) && !box.open,
        onPress: press,
      };
      const made = { id: box.id, type: "card", position: { x: box.x, y: box.y }, width: box.width, height: box.height, zIndex: box.depth, handles: [], data, domAttributes: { "aria-roledescription": undefined } };
      const before = old.current.get(box.id); // React Flow draws anew what is another object
      next.set(box.id, before && alike(before, made) && alike(before.data, data) ? before : made);
    }
    old.current = next;
    return [...next.values()];
  }, [picture, selected, holds, hits, words, press]);

  const lit = useMemo(() => (picture ? picture.lines.filter((line) => [line.source, line.target].some((id) => id && model.nodes[id]?.row === selected && selected !== null)) : []), [picture, selected, model]);

  useEffect(() => {
    const changed = () => setFull(Boolean(document.fullscreenElement));
    document.addEventListener("fullscreenchange", changed);
    return () => document.removeEventListener("fullscreenchange", changed);
  }, []);

  useEffect(() => {
    const wait = hint && setTimeout(() => setHint(0), 1500);
    return () => clearTimeout(wait);
  }, [hint]);

  return (
    <section ref={frame} className={`k2t-graph ${far ? "far" : "near"}`} data-colour={colour} data-theme={dark ? "dark" : "light"} aria-label={`Graph of ${model.name}, Keras beside PyTorch`} style={{ "--height": `${height}px` }}>
      <Toolbar
        model={model}
        colour={colour}
        setColour={(name) => (setColour(name), send("colour", name))}
        words={words}
        setWords={setWords}
        found={found}
        show={(id, focus) => go(id, focus)}
        peek={(id) => go(drawn(model, isOpen, id))}
        unfoldAll={() => change(new Set(model.folds), cursor && { show: cursor })}
        foldAll={() => change(new Set(), { show: cursor && drawn(model, new Set(), cursor) })}
        opened={isOpen.size}
        zoomIn={() => flow.zoomIn()}
        zoomOut={() => flow.zoomOut()}
        fit={fit}
        fill={() => (document.fullscreenElement ? document.exitFullscreen() : frame.current.requestFullscreen())}
      />
      <div ref={canvas} className="canvas" tabIndex={0} role="group" aria-label={`${model.name}: layers and their edges. ${HELP}`} onKeyDown={onKeyDown} onWheel={(event) => full || event.ctrlKey || setHint(Date.now())}>
        <ReactFlow
          nodes={nodes}
          nodeTypes={TYPES}
          minZoom={0.003}
          maxZoom={2}
          onlyRenderVisibleElements
          nodesDraggable={false}
          nodesConnectable={false}
          nodesFocusable={false}
          elementsSelectable={false}
          disableKeyboardA11y
          deleteKeyCode={null}
          selectionKeyCode={null}
          multiSelectionKeyCode={null}
          panActivationKeyCode={null}
          zoomOnDoubleClick={false}
          preventScrolling={full}
          onMoveEnd={(_, viewport) => picture && (memory.viewport = viewport)}
        >
          <ViewportPortal>{picture && <Lines lines={picture.lines} lit={lit} />}</ViewportPortal>
          {nodes.length >= MANY && <MiniMap pannable position="bottom-right" nodeClassName={(node) => (node.data.open ? "open" : node.data.node.status)} ariaLabel="Map of the graph" />}
        </ReactFlow>
        {hint > 0 && <p className="hint">Ctrl and the wheel zoom</p>}
        {problem && <p className="wait">The graph could not be laid out, the table has all of it. ({problem})</p>}
        {!picture && !problem && <p className="wait">Laying out {Object.keys(model.nodes).length} nodes…</p>}
      </div>
      <Legend model={model} colour={colour} stale={stale} />
    </section>
  );
}

const alike = (a, b) => Object.keys(b).every((name) => a[name] === b[name] || ["data", "handles", "domAttributes"].includes(name) || (name === "position" && a.position.x === b.position.x && a.position.y === b.position.y));

const Lines = memo(function Lines({ lines, lit }) {
  return (
    <>
      <svg className="lines" aria-hidden="true">
        <defs>
          {["arrow", "lit-arrow"].map((id) => (
            <marker key={id} id={id} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">
              <path d="M0 0.6L7.4 4L0 7.4Z" />
            </marker>
          ))}
          <marker id="dot" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6" markerUnits="userSpaceOnUse">
            <circle cx="4" cy="4" r="3.4" />
          </marker>
        </defs>
        <Paths lines={lines} />
        {lit.map((line, index) => (
          <path key={index} className="lit" d={path(line.points)} />
        ))}
      </svg>
      {lines.map((line, index) => line.note && <Note key={index} line={line} />)}
    </>
  );
});

const Paths = memo(({ lines }) => lines.map((line, index) => <path key={index} className={[line.source === "" && "entering", line.target === "" && "passing"].filter(Boolean).join(" ") || undefined} d={path(line.points)} />));

// What torch does to a tensor on its way: the only step that Keras does not have.
function Note({ line }) {
  const { x, y } = line.points.at(-1);
  return (
    <span className="note" style={{ transform: `translate(-50%, -100%) translate(${x}px, ${y - 9}px)` }}>
      {line.note}
    </span>
  );
}
