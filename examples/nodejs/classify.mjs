/** Classify chest X-rays in Node.js: node classify.mjs MODEL.onnx IMAGE... */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import ort from "onnxruntime-node";
import sharp from "sharp";
import { resizeBilinear } from "./resize.mjs";

/** The labels and the image size of an artifact, by the manifest beside it. */
async function readContract(model, content) {
  // onnxruntime-node does not hand out the metadata inside the file.
  const manifest = await readFile(join(dirname(model), "manifest.json"), "utf8");
  const { artifacts, shared, cascade } = JSON.parse(manifest);
  if (cascade) {
    throw new Error("a model of a cascade, which cxr-edge predict runs as a whole: name a file of another bundle");
  }
  const entry = artifacts.find(({ file }) => file === basename(model));
  if (entry?.sha256 !== createHash("sha256").update(content).digest("hex")) {
    throw new Error("not the file that manifest.json describes");
  }
  if (!shared.imaging.resize.startsWith("stretch")) {
    throw new Error(`images ${shared.imaging.resize}: not what this program does`);
  }
  return { labels: shared.labels, size: shared.contract.input.shape[1] };
}

/** Exact sums: without VNNI, ONNX Runtime's fastest int8 kernels on x86 add products in 16 bits, and they do not fit. */
async function sessionOptions() {
  const cpu = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  return process.arch === "x64" && !cpu.includes("vnni") ? { extra: { session: { x64quantprecision: "1" } } } : {};
}

/** Decode an image file to 8-bit grey pixels at its own size. */
async function readGrey(path) {
  // As `cxr-edge predict`: no colour profile is applied, and so many pixels are refused.
  const image = sharp(path, { ignoreIcc: true, limitInputPixels: 80_000_000 });
  const { depth, space } = await image.metadata();
  if (depth !== "uchar" || !["b-w", "srgb"].includes(space)) {
    throw new Error(`${space} pixels need what cxr-edge predict does`);
  }
  const { data, info } = await image.autoOrient().raw().toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const pixels = new Uint8Array(width * height);
  for (let index = 0; index < pixels.length; index++) {
    const at = index * channels;
    // ITU-R 601-2 luma in Pillow's fixed point; alpha is ignored.
    pixels[index] =
      channels < 3 ? data[at] : (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16;
  }
  return { pixels, width, height };
}

const [model, ...images] = process.argv.slice(2);
if (images.length === 0) {
  console.error("usage: node classify.mjs MODEL.onnx IMAGE...");
  process.exit(2);
}
let file = model;
try {
  const content = await readFile(model);
  const { labels, size } = await readContract(model, content);
  const session = await ort.InferenceSession.create(content, await sessionOptions());
  for (file of images) {
    const { pixels, width, height } = await readGrey(file);
    const image = new ort.Tensor("uint8", resizeBilinear(pixels, width, height, size), [1, size, size, 1]);
    const { probabilities } = await session.run({ image }, ["probabilities"]);
    const values = Array.from(probabilities.data);
    const top = values.indexOf(Math.max(...values));
    console.log([file, labels[top], ...values.map((value) => value.toFixed(4))].join("\t"));
  }
} catch (error) {
  console.error(`${file}: ${error.message}`);
  process.exitCode = 1;
}
