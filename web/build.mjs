/** Builds the page into cxr_edge_web/page: node build.mjs. Equal sources and packages give equal bytes. */

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(fileURLToPath(import.meta.url));
const page = join(web, "cxr_edge_web", "page");
const modules = join(web, "node_modules");
const resolve = createRequire(import.meta.url).resolve;

/** Nothing from other origins; `wasm-unsafe-eval` allows compiling WebAssembly, but no `eval` of scripts. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "connect-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Files of ONNX Runtime Web: for WebAssembly alone, and for WebGPU, which are twice as large. */
const ORT = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];

await rm(page, { recursive: true, force: true });
await mkdir(join(page, "ort"), { recursive: true });
await build({
  entryPoints: {
    page: join(web, "src/page/main.ts"),
    worker: join(web, "src/engine/worker.ts"),
    "service-worker": join(web, "src/service_worker.ts"),
  },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  // Emscripten asks for these in Node.js alone.
  external: ["fs", "path", "crypto", "url", "module"],
  define: { __POLICY__: JSON.stringify(POLICY) },
  legalComments: "none",
  outdir: page,
  logLevel: "warning",
});
const html = await readFile(join(web, "src/index.html"), "utf8");
await writeFile(join(page, "index.html"), html.replace("__POLICY__", POLICY));
for (const name of ["page.css", "icon.svg"]) await copyFile(join(web, "src", name), join(page, name));
for (const name of ORT) await copyFile(join(modules, "onnxruntime-web/dist", name), join(page, "ort", name));
await copyFile(resolve("@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm"), join(page, "libjpeg-turbo.wasm"));
await writeFile(join(page, "licenses.txt"), await licenses());
await writeFile(join(web, "cxr_edge_web", "files.json"), `${JSON.stringify(await listed(), null, 1)}\n`);

/** The licenses of the packages whose code is in the page. */
async function licenses() {
  const { dependencies } = JSON.parse(await readFile(join(web, "package.json"), "utf8"));
  const parts = ["This software is based in part on the work of the Independent JPEG Group.\n"];
  for (const name of [...Object.keys(dependencies), "iobuffer", "onnxruntime-common"].sort()) {
    const folder = join(modules, name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((candidate) => /^licen[cs]e/i.test(candidate));
    const text = file ? await readFile(join(folder, file), "utf8") : `License: ${license}\n`;
    parts.push(`${name} ${version}\n${"-".repeat(name.length + version.length + 1)}\n${text.trim()}\n`);
  }
  return parts.join("\n");
}

/** Each file of the page with its size and its SHA-256, which `cxr-edge web` checks. */
async function listed() {
  const names = (await readdir(page, { recursive: true })).sort();
  const files = [];
  for (const name of names) {
    const path = join(page, name);
    if ((await stat(path)).isFile()) {
      const content = await readFile(path);
      files.push({ file: name, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") });
    }
  }
  return files;
}
