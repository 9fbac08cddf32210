// src/ → bundle/: graph.js, worker.js that it starts, and the licences of all that is in them.
//     npm ci --ignore-scripts && npm run build
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const sources = ["build.mjs", "package-lock.json", ...readdirSync("src").map((name) => `src/${name}`)].sort();
const hash = createHash("sha256");
for (const name of sources) hash.update(`${name}\n${readFileSync(name, "utf8")}`);

const options = {
  bundle: true,
  format: "esm",
  minify: true,
  target: "es2022",
  jsx: "automatic",
  loader: { ".css": "text" },
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "none", // LICENSES.txt has them in full
  banner: { js: `// Built by k2t_core/components/graph_view/build.mjs from sources ${hash.digest("hex")}; licences in LICENSES.txt.` },
  metafile: true,
};
const built = [
  await build({ ...options, entryPoints: ["src/index.jsx"], outfile: "bundle/graph.js" }),
  // elkjs takes the lack of a document for its own worker and would answer in our stead.
  await build({ ...options, entryPoints: ["src/worker.js"], outfile: "bundle/worker.js", format: "iife", define: { ...options.define, document: "globalThis" } }),
];

const packages = new Set(built.flatMap(({ metafile }) => Object.keys(metafile.inputs)).map((path) => path.match(/^node_modules\/(@[^/]+\/[^/]+|[^/]+)/)?.[1]).filter(Boolean));
const licences = [...packages].sort().map((name) => {
  const folder = `node_modules/${name}`;
  const { version, license, homepage, repository } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const text = readdirSync(folder).filter((file) => /^licen[sc]e/i.test(file)).map((file) => readFileSync(`${folder}/${file}`, "utf8").trim());
  if (!text.length) throw new Error(`${name} has no licence text`);
  return `${name} ${version} (${license})\n${homepage ?? repository?.url ?? ""}\n\n${text.join("\n\n")}\n`;
});
writeFileSync("bundle/LICENSES.txt", licences.join(`\n${"-".repeat(80)}\n\n`));
