/** Shows the model's state (loading, ready, refused), and whether this browser reproduces the reference outputs. */

import type { Bundle, Model } from "../bundle/manifest.ts";
import type { Opened, Progress } from "../engine/messages.ts";
import { byId, element, megabytes } from "./dom.ts";

/** Shows a status line, which screen readers announce. */
export function say(text: string): void {
  byId("status").textContent = text;
}

export function showBundle(bundle: Bundle): void {
  byId("notice").textContent = bundle.notice;
  showWarnings(bundle.models[0]);
}

function showWarnings({ warnings }: Model): void {
  const list = byId("model-warnings");
  list.hidden = warnings.length === 0;
  list.replaceChildren(...warnings.map((warning) => element("li", {}, warning)));
}

export function showProgress({ stage, done, total }: Progress, model: Model): void {
  const bar = byId<HTMLProgressElement>("progress");
  bar.hidden = false;
  bar.max = total;
  bar.value = done;
  if (stage === "download") say(`Loading ${model.file}: ${megabytes(done)} of ${megabytes(total)}`);
  else if (stage === "start") say(`Starting ${model.file}`);
  else say(`Checking this browser: reference picture ${done} of ${total}`);
}

export function showReady(model: Model, opened: Opened): void {
  byId("progress").hidden = true;
  say("Ready");
  const checks: [string, string, "good" | "bad" | "neutral"][] = [
    ["Model", `${model.file}, ${megabytes(model.bytes)}, ${model.quantization}, ${model.size} px`, "neutral"],
    ["SHA-256", `${model.sha256.slice(0, 16)}…, as in the manifest`, "good"],
    ["Computes on", opened.ranOn, "neutral"],
    ["Validated", verdictOf(model), model.verdict === "passed" ? "good" : "bad"],
    ["This browser", ...replayOf(opened)],
  ];
  byId("checks").replaceChildren(
    ...checks.flatMap(([name, text, kind]) => [element("dt", {}, name), element("dd", { class: kind }, text)]),
  );
  showWarnings(model);
}

function verdictOf(model: Model): string {
  if (model.verdict === null) return "never verified against its Keras model";
  const agreement = model.agreement === null ? "" : `, ${(100 * model.agreement).toFixed(1)} % agreement with it`;
  return `parity with its Keras model: ${model.verdict}${agreement}`;
}

function replayOf({ replay }: Opened): [string, "good" | "bad"] {
  if (!replay) return ["the bundle has no reference outputs to check it with", "bad"];
  const { images, sameTop, largestDifference, tolerance, recordedOn } = replay;
  const figures = `${sameTop} of ${images} reference pictures get the recorded class, largest difference ${largestDifference.toFixed(4)} (limit ${tolerance}; recorded on ${recordedOn})`;
  return replay.passed
    ? [`computes what was validated: ${figures}`, "good"]
    : [`does not compute what was validated: ${figures}. Do not use its answers`, "bad"];
}

/** No model, no answers. */
export function showRefused(reason: string): void {
  byId("progress").hidden = true;
  byId("checks").replaceChildren();
  say(`No model: ${reason}`);
  byId("status").classList.add("bad");
}
