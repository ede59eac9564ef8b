/** The worker: decodes files and runs one model on one back end, so that the page stays responsive. */

import { decodePicture, resized } from "../imaging/decode.ts";
import { loadJpegDecoder } from "../imaging/jpeg.ts";
import { examine } from "../imaging/plausibility.ts";
import type { Model } from "../bundle/manifest.ts";
import { download } from "./download.ts";
import type { Answers, Classified, Opened, Progress, Reply, Request, Timed } from "./messages.ts";
import { replay } from "./replay.ts";
import { Session } from "./session.ts";

let session: Session;
let model: Model;
const jpeg = loadJpegDecoder(new URL("libjpeg-turbo.wasm", self.location.href).href);
// Errors are reported when a JPEG file awaits the decoder.
jpeg.catch(() => undefined);

function post(reply: Reply, transfer: Transferable[] = []): void {
  (self as unknown as Worker).postMessage(reply, transfer);
}

async function open(request: Request & { kind: "open" }): Promise<Opened> {
  model = request.model;
  const report = (progress: Progress): void => post({ progress });
  const content = await download(`model/${model.file}`, model.sha256, model.bytes, (done) =>
    report({ stage: "download", done, total: model.bytes }),
  );
  report({ stage: "start", done: 0, total: 1 });
  const start = performance.now();
  session = await Session.open(model, content, request.backend);
  await session.run(new Uint8Array(model.size ** 2), false);
  const loadMs = performance.now() - start;
  let done = 0;
  const total = model.reference?.probabilities.length ?? 0;
  const replayed = request.withReplay
    ? await replay(session, model, () => report({ stage: "references", done: ++done, total }))
    : null;
  return { ranOn: session.ranOn, version: session.version, loadMs, replay: replayed };
}

async function classify({ content }: Request & { kind: "classify" }): Promise<Classified> {
  const start = performance.now();
  const picture = await decodePicture(content, jpeg);
  const warnings = examine(picture);
  const decoded = performance.now();
  const pixels = resized(picture.grey, model.size, model.resize);
  const ready = performance.now();
  const { probabilities, heatmap, ms } = await session.run(pixels, true);
  return {
    grey: picture.grey,
    probabilities,
    heatmap,
    warnings,
    facts: picture.facts ?? null,
    decodeMs: decoded - start,
    resizeMs: ready - decoded,
    inferenceMs: ms,
  };
}

async function time({ queries, warmUpMs }: Request & { kind: "time" }): Promise<Timed> {
  // Convolutions take as long for any picture.
  const ramp = Uint8Array.from({ length: model.size ** 2 }, (_, index) => index & 255);
  const end = performance.now() + warmUpMs;
  while (performance.now() < end) await session.run(ramp, false);
  const ms: number[] = [];
  for (let query = 0; query < queries; query++) ms.push((await session.run(ramp, false)).ms);
  return { ms };
}

async function answered(request: Request): Promise<Answers[Request["kind"]]> {
  switch (request.kind) {
    case "open":
      return open(request);
    case "classify":
      return classify(request);
    case "time":
      return time(request);
  }
}

self.addEventListener("message", async ({ data }: MessageEvent<Request>) => {
  try {
    post({ answer: await answered(data) });
  } catch (error) {
    post({ error: error instanceof Error ? error.message : String(error) });
  }
});
