/** The benchmark in the page: every back end of this browser, and its record. */

import { candidatesOf, measure } from "../benchmarking/measure.ts";
import { recordOf, type BenchRecord, type Files } from "../benchmarking/record.ts";
import type { Bundle } from "../bundle/manifest.ts";
import { backendsHere } from "../engine/backend.ts";
import { byId, element } from "./dom.ts";
import { save } from "./exports.ts";

/** Enables the benchmark; `filesOf` returns the times of classified files, after classifying some if needed. */
export function offerBenchmark(bundle: Bundle, filesOf: () => Promise<Files>): void {
  const start = byId<HTMLButtonElement>("bench-start");
  const status = byId("bench-status");
  start.disabled = false;
  start.addEventListener("click", async () => {
    start.disabled = true;
    try {
      const record = await run(bundle, filesOf, status);
      show(record);
    } catch (error) {
      status.textContent = `The benchmark failed: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      start.disabled = false;
    }
  });
}

async function run(bundle: Bundle, filesOf: () => Promise<Files>, status: HTMLElement): Promise<BenchRecord> {
  status.textContent = "Measuring: classifying files";
  const files = await filesOf();
  const candidates = candidatesOf(bundle.models, await backendsHere());
  const { measured, failed } = await measure(candidates, (text, done, total) => {
    status.textContent = `Measuring: ${text}, step ${done + 1} of ${total}. Keep this tab in front.`;
  });
  if (measured.length === 0) throw new Error(failed.map(({ reason }) => reason).join("; "));
  const left = failed.map(({ backend, reason }) => ` ${backend.kind} left out: ${reason}.`).join("");
  status.textContent = `Done.${left}`;
  return recordOf(bundle, measured, failed, files);
}

function show(record: BenchRecord): void {
  const rows = record.rows.map((row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, `${row.runtime.replace("ONNX Runtime Web ", "")}, ${row.threads} thread${row.threads > 1 ? "s" : ""}`),
      element("td", {}, row.artifact),
      ...[row.p50_ms, row.p90_ms].map((ms) => element("td", { class: "figure" }, ms.toFixed(1))),
    ),
  );
  byId("bench-rows").replaceChildren(...rows);
  byId("bench-result").hidden = false;
  const text = `${JSON.stringify(record, null, 2)}\n`;
  // Browsers have a clipboard on secure pages only.
  byId("bench-copy").hidden = !navigator.clipboard;
  byId("bench-copy").onclick = async () => {
    await navigator.clipboard.writeText(text);
    byId("bench-status").textContent = "The record is on the clipboard.";
  };
  byId("bench-save").onclick = () => save("bench.json", text, "application/json");
}
