// The bar above the graph and the legend in its corner.
import { useEffect, useRef, useState } from "react";

const COLOURS = { status: "Status", error: "Error", alone: "Error alone", parameters: "Parameters" };
const MEANING = {
  error: "Relative difference of what a layer computes, on torch's own inputs, in the last verification",
  alone: "Relative difference of a layer alone, on Keras's own input, in the last verification",
  parameters: "Parameters",
};
const STATUS = { exact: "✓ exact", ambiguous: "◆ ambiguous", inert: "– inert", unsupported: "✕ unsupported", "cut off": "✂ cut off" };

export function Toolbar({ model, colour, setColour, words, setWords, found, show, peek, unfoldAll, foldAll, opened, zoomIn, zoomOut, fit, fill }) {
  const [at, setAt] = useState(-1);
  const field = useRef(null);

  // While a person types, the first match comes into view; what is folded stays so until Enter is pressed.
  useEffect(() => {
    setAt(-1);
    if (!found.length) return;
    const wait = setTimeout(() => peek(found[0]), 250);
    return () => clearTimeout(wait);
  }, [found]);

  function step(by) {
    if (!found.length) return;
    const next = at < 0 ? (by > 0 ? 0 : found.length - 1) : (at + by + found.length) % found.length;
    setAt(next);
    show(found[next]);
  }

  function onKeyDown(event) {
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") setWords("");
    else return;
    event.preventDefault();
  }

  return (
    <div className="bar">
      <span className="search">
        <input ref={field} type="search" value={words} placeholder="Search the graph" aria-label="Search the graph" onChange={(event) => setWords(event.target.value)} onKeyDown={onKeyDown} />
        <span className="count" role="status">
          {words.trim() && (found.length ? `${at < 0 ? "" : `${at + 1} of `}${found.length}` : "none")}
        </span>
        <Button text={<Icon path="M8 14V3M3 8L8 3L13 8" />} label="Previous match" onClick={() => step(-1)} disabled={!found.length} />
        <Button text={<Icon path="M8 2V13M3 8L8 13L13 8" />} label="Next match" onClick={() => step(1)} disabled={!found.length} />
      </span>
      <label className="colour">
        Colour
        <select aria-label="Colour by" value={colour} onChange={(event) => setColour(event.target.value)}>
          {Object.entries(COLOURS).map(([name, text]) => (
            <option key={name} value={name} disabled={name !== "status" && !model.legends[name]}>
              {text}
              {name !== "status" && !model.legends[name] ? " (verify first)" : ""}
            </option>
          ))}
        </select>
      </label>
      <span className="buttons">
        {model.folds.length > 0 && (
          <>
            <Button text="⊞" label="Unfold all" onClick={unfoldAll} disabled={opened === model.folds.length} />
            <Button text="⊟" label="Fold all" onClick={foldAll} disabled={!opened} />
          </>
        )}
        <Button text="−" label="Zoom out" onClick={zoomOut} />
        <Button text="+" label="Zoom in" onClick={zoomIn} />
        <Button text={<Icon path="M5 2H2V5M11 2H14V5M14 11V14H11M5 14H2V11M5.5 5.5H10.5V10.5H5.5Z" />} label="Fit all" onClick={fit} />
        <Button text={<Icon path="M9.5 6.5L14 2M10 2H14V6M6.5 9.5L2 14M2 10V14H6" />} label="Full screen" onClick={fill} />
      </span>
    </div>
  );
}

function Button({ text, label, ...rest }) {
  return (
    <button type="button" className="tool" aria-label={label} title={label} {...rest}>
      {text}
    </button>
  );
}

const Icon = ({ path }) => (
  <svg viewBox="0 0 16 16" width="15" height="15" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden="true">
    <path d={path} />
  </svg>
);

export function Legend({ model, colour, stale }) {
  const scale = model.legends[colour];
  return (
    <div className="legend">
      <span className="halves">
        <b>Keras</b>
        <b>PyTorch</b>
      </span>
      {scale ? (
        <span className="scale" title={MEANING[colour]}>
          <span>{scale.low}</span>
          <span className="ramp" role="img" aria-label={`${MEANING[colour]}: from ${scale.low} to ${scale.high}`} />
          <span>{scale.high}</span>
          <span className="blank" />
          <span>{colour === "parameters" ? "none" : "not compared"}</span>
          {colour !== "parameters" && stale && <em>of an earlier conversion</em>}
        </span>
      ) : (
        <span className="keys">
          {Object.entries(STATUS)
            .filter(([name]) => Object.values(model.nodes).some((node) => node.status === name))
            .map(([name, text]) => (
              <span key={name} className={`key ${name}`}>
                {text}
              </span>
            ))}
        </span>
      )}
    </div>
  );
}
