/**
 * What the page's own code makes of image files: node pixels.mjs CASES.json OUT.
 *
 * CASES.json is a list of { file, size, resize }. OUT gets one JSON line a case, with the grey pixels and those that a
 * model takes in base64, or the error, the warnings of the input gate, and the memory's peak so far in KiB.
 */

import { build } from "esbuild";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const web = new URL("..", import.meta.url);
const [casesFile, outFile] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "cxr-edge-web-"));
try {
  const bundle = join(folder, "decoding.cjs");
  await build({
    stdin: {
      contents: `
        export { decodePicture, resized } from "./src/imaging/decode.ts";
        export { loadJpegDecoder } from "./src/imaging/jpeg.ts";
        export { examine } from "./src/imaging/plausibility.ts";
        export { evidence } from "./src/imaging/evidence.ts";
      `,
      resolveDir: web.pathname,
      loader: "ts",
    },
    bundle: true,
    platform: "node",
    format: "cjs",
    outfile: bundle,
    logLevel: "error",
  });
  const { default: page } = await import(pathToFileURL(bundle).href);
  const wasm = createRequire(web).resolve("@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm");
  const jpeg = page.loadJpegDecoder(new Uint8Array(await readFile(wasm)));
  const base64 = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  const lines = [];
  for (const { file, size, resize, heatmap } of JSON.parse(await readFile(casesFile, "utf8"))) {
    let answer;
    try {
      const picture = await page.decodePicture(new Uint8Array(await readFile(file)), jpeg);
      const { width, height, pixels } = picture.grey;
      answer = { width, height, grey: base64(pixels), model: base64(page.resized(picture.grey, size, resize)) };
      if (heatmap) answer.evidence = base64(page.evidence(heatmap, { width, height }, resize));
      answer.warnings = page.examine(picture);
    } catch (error) {
      answer = { ...answer, error: error.message };
    }
    answer.peak = process.resourceUsage().maxRSS;
    lines.push(JSON.stringify(answer));
  }
  await writeFile(outFile, lines.join("\n"));
} finally {
  await rm(folder, { recursive: true });
}
