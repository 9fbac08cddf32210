// What Streamlit calls at every run of the page: the first time it puts an editor into the page, later it hands the new data to it.
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import style from "./editor.css";

const PAUSE = 350; // ms without a key before the code is checked
const shown = new WeakMap();

function open(parentElement, data) {
  const sheet = document.createElement("style");
  sheet.textContent = style;
  const host = document.createElement("div");
  host.className = "editor";
  parentElement.append(sheet, host);
  const entry = { host, sent: data.code, place: data.place };
  const send = (text) => {
    if (text !== entry.sent) entry.send((entry.sent = text));
  };
  let waiting;
  entry.view = new EditorView({
    parent: host,
    root: parentElement.getRootNode(),
    state: EditorState.create({
      doc: data.code,
      extensions: [
        python(),
        history(),
        bracketMatching(),
        syntaxHighlighting(classHighlighter),
        placeholder(data.placeholder),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": data.label, spellcheck: "false" }),
        keymap.of([...defaultKeymap, ...historyKeymap]), // Tab goes on to the next field of the page
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          clearTimeout(waiting);
          waiting = setTimeout(() => send(entry.view.state.doc.toString()), PAUSE);
        }),
        EditorView.domEventHandlers({
          blur: () => {
            clearTimeout(waiting);
            send(entry.view.state.doc.toString());
          },
        }),
      ],
    }),
  });
  return entry;
}

export default function ({ data, parentElement, setStateValue }) {
  let entry = shown.get(parentElement);
  if (entry && entry.place !== data.place) {
    close(parentElement, entry); // another layer, or other code in force
    entry = undefined;
  }
  if (!entry) shown.set(parentElement, (entry = open(parentElement, data)));
  entry.send = (text) => setStateValue("code", text);
  entry.host.classList.toggle("dark", data.dark);
  const { state } = entry.view;
  const problems = [];
  if (data.problem && state.doc.toString() === data.checked) {
    const line = state.doc.line(Math.min(Math.max(data.problem.line, 1), state.doc.lines));
    const from = Math.min(line.from + Math.max(data.problem.column - 1, 0), line.to);
    problems.push({ from: from === line.to ? line.from : from, to: line.to, severity: "error", message: data.problem.message });
  }
  entry.view.dispatch(setDiagnostics(state, problems));
  return () => close(parentElement, entry);
}

function close(parentElement, entry) {
  shown.delete(parentElement);
  entry.view.destroy();
  parentElement.replaceChildren();
}
