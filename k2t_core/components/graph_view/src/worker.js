// The layout engine, off the page's own thread: a page that loads its charts meanwhile keeps it waiting once, not at every fold.
import ELK from "elkjs/lib/elk-api.js";
import { Worker } from "elkjs/lib/elk-worker.min.js"; // one that computes where it is called
import { arranger } from "./layout.js";

const arrange = arranger(new ELK({ workerFactory: () => new Worker() }));

self.onmessage = async ({ data: { number, skeleton, open } }) => {
  try {
    self.postMessage({ number, picture: await arrange(skeleton, open) });
  } catch (error) {
    self.postMessage({ number, problem: String(error?.message ?? error) });
  }
};
