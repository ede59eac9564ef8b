/** Results as files: the JSON and the CSV of `cxr-edge predict`. */

import type { Bundle, Model } from "../bundle/manifest.ts";
import type { Opened } from "../engine/messages.ts";
import type { Backend } from "../engine/backend.ts";
import { element } from "./dom.ts";
import { isAnswered, type Result } from "./results.ts";

const SCHEMA = 3;

/** The model that answers, and what it runs on. */
export interface Answering {
  bundle: Bundle;
  model: Model;
  backend: Backend;
  opened: Opened;
}

export function resultsJson({ bundle, model, backend, opened }: Answering, results: readonly Result[]): string {
  const record = {
    schema: SCHEMA,
    notice: bundle.notice,
    artifact: model.file,
    sha256: model.sha256,
    runtime: `ONNX Runtime Web ${backend.kind === "wasm" ? "WebAssembly" : "WebGPU"}`,
    ran_on: opened.ranOn,
    selection_note: null,
    labels: model.labels,
    operating_point: model.operatingPoint && pointOf(model.operatingPoint),
    trained_on: bundle.trainedOn,
    warnings: model.warnings,
    warning: model.warnings.join("; ") || null,
    rows: results.filter(isAnswered).map(({ file, label, decision, answer, warnings }) => ({
      file,
      label,
      ...(decision === null ? {} : { decision }),
      probabilities: answer.probabilities,
      warnings,
      ...(answer.facts ? { dicom: answer.facts } : {}),
    })),
    skipped: results.flatMap((result) => (isAnswered(result) ? [] : [{ path: result.file, reason: `${result.file}: ${result.reason}` }])),
  };
  return `${JSON.stringify(record, null, 2)}\n`;
}

/** The rule by itself, without what it was fitted on. */
function pointOf({ sensitive_class, suspected_from, called_from, schema, description }: NonNullable<Model["operatingPoint"]>): object {
  return { sensitive_class, suspected_from, called_from, schema, description };
}

export function resultsCsv({ model }: Answering, results: readonly Result[]): string {
  const head = ["file", "label", "decision", ...model.labels, "warnings", "error"];
  const lines = results.map((result) =>
    isAnswered(result)
      ? [
          ...[result.file, result.label, result.decision ?? ""],
          ...result.answer.probabilities.map(String),
          ...[result.warnings.join("; "), ""],
        ]
      : [result.file, "", "", ...model.labels.map(() => ""), "", `${result.file}: ${result.reason}`],
  );
  return [head, ...lines].map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** Hand a text to the user as a file. */
export function save(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
