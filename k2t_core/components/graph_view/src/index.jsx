// What Streamlit calls at every run of the page: the first time it puts the graph into the page, later it hands the new data to it.
import { createRoot } from "react-dom/client";
import flowStyle from "@xyflow/react/dist/base.css";
import Graph from "./Graph.jsx";
import style from "./graph.css";

const shown = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let root = shown.get(parentElement);
  if (!root) {
    const host = document.createElement("div");
    const sheet = document.createElement("style");
    sheet.textContent = flowStyle + style;
    parentElement.append(sheet, host);
    root = createRoot(host);
    shown.set(parentElement, root);
  }
  root.render(<Graph key={data.place} {...data} dark={isDark(parentElement.host)} send={setTriggerValue} />);
  return () => {
    shown.delete(parentElement);
    root.unmount();
  };
}

// Streamlit calls again when its theme changes, and says its colours in CSS only.
function isDark(element) {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d");
  pixel.fillStyle = getComputedStyle(element).getPropertyValue("--st-background-color");
  pixel.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
  return red + green + blue < 384;
}
