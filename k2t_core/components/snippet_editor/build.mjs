// src/ → bundle/: editor.js and the licences of all that is in it.
//     npm ci --ignore-scripts && npm run build
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const sources = ["build.mjs", "package-lock.json", ...readdirSync("src").map((name) => `src/${name}`)].sort();
const hash = createHash("sha256");
for (const name of sources) hash.update(`${name}\n${readFileSync(name, "utf8")}`);

const { metafile } = await build({
  entryPoints: ["src/index.js"],
  outfile: "bundle/editor.js",
  bundle: true,
  format: "esm",
  minify: true,
  target: "es2022",
  loader: { ".css": "text" },
  legalComments: "none", // LICENSES.txt has them in full
  banner: { js: `// Built by k2t_core/components/snippet_editor/build.mjs from sources ${hash.digest("hex")}; licences in LICENSES.txt.` },
  metafile: true,
});
const packages = new Set(Object.keys(metafile.inputs).map((path) => path.match(/^node_modules\/(@[^/]+\/[^/]+|[^/]+)/)?.[1]).filter(Boolean));
const licences = [...packages].sort().map((name) => {
  const folder = `node_modules/${name}`;
  const { version, license, homepage, repository } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const text = readdirSync(folder).filter((file) => /^licen[sc]e/i.test(file)).map((file) => readFileSync(`${folder}/${file}`, "utf8").trim());
  if (!text.length) throw new Error(`${name} has no licence text`);
  return `${name} ${version} (${license})\n${homepage ?? repository?.url ?? ""}\n\n${text.join("\n\n")}\n`;
});
writeFileSync("bundle/LICENSES.txt", licences.join(`\n${"-".repeat(80)}\n\n`));
