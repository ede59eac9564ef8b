/** The record of a benchmark, as `cxr-edge bench --json` writes it and `--compare` reads it. */

import { optionOf, titleOf } from "../engine/backend.ts";
import type { Bundle } from "../bundle/manifest.ts";
import { QUERIES_PER_ROUND, ROUNDS, type Failed, type Measured } from "./measure.ts";
import { mean, median, percentile, ratioInterval } from "./statistics.ts";

const SCHEMA = 3;
/** Interquartile range of the rounds' medians, as a share of their median, above which small ratios mean nothing. */
const NOISY_SPREAD = 0.08;

/** A row of the table, by the keys of the record. */
export interface Row {
  id: string;
  artifact: string;
  runtime: string;
  threads: number;
  p50_ms: number;
  p90_ms: number;
  p99_ms: number;
  rounds_ms: number[];
  spread: number;
  winner: boolean;
  [key: string]: unknown;
}

/** Milliseconds of one file, from its bytes to its answer. */
export interface FileTime {
  file: string;
  bytes: number;
  decodeMs: number;
  resizeMs: number;
  inferenceMs: number;
}

export interface Files {
  times: FileTime[];
  source: "files" | "phantoms";
}

export interface BenchRecord {
  rows: Row[];
  [key: string]: unknown;
}

export function recordOf(bundle: Bundle, measured: readonly Measured[], failed: readonly Failed[], files: Files): BenchRecord {
  const rows = rowsOf(measured);
  const spread = median(rows.map((row) => row.spread));
  const noisy = spread > NOISY_SPREAD;
  const winner = rows[0];
  return {
    schema: SCHEMA,
    cxr_edge: bundle.cxrEdge,
    date: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
    command: ["cxr-edge", "web"],
    notice: bundle.notice,
    machine: machine(measured[0].opened.version),
    threads: [...new Set(rows.map((row) => row.threads))].sort((one, other) => one - other),
    queries: ROUNDS * QUERIES_PER_ROUND,
    seconds: 1,
    quick: false,
    image_size: measured[0].model.size,
    images: { source: files.source, count: files.times.length },
    trained_on: bundle.trainedOn,
    baseline: winner.baseline,
    energy: null,
    noise: { spread, noisy, reasons: noisy ? [`rounds spread by ${(100 * spread).toFixed(0)} %`] : [] },
    rows,
    from_files: fromFiles(files, winner),
    warnings: failed.map(({ model, backend, reason }) => ({
      kind: "left out",
      subject: `${model.file}@${optionOf(backend)}`,
      text: `${titleOf(backend)}: ${reason}`,
    })),
    conclusion: "",
  };
}

/** The fastest first. */
function rowsOf(measured: readonly Measured[]): Row[] {
  const rows = measured.map((candidate) => {
    // The baseline is the first candidate with the same number of threads.
    const base = measured.find((other) => other.backend.threads === candidate.backend.threads) ?? candidate;
    return { ...factsOf(candidate), ...latencyOf(candidate), ...against(candidate, base), winner: false } as Row;
  });
  rows.sort((one, other) => one.p50_ms - other.p50_ms);
  rows[0].winner = true;
  return rows;
}

function idOf({ model, backend }: Measured): string {
  return `${model.file}@${optionOf(backend)}`;
}

function factsOf(candidate: Measured): object {
  const { model, backend, opened } = candidate;
  return {
    id: idOf(candidate),
    artifact: model.file,
    runtime: `ONNX Runtime Web ${backend.kind === "wasm" ? "WebAssembly" : "WebGPU"}`,
    threads: backend.threads,
    quantization: model.quantization,
    bytes: model.bytes,
    accuracy: model.accuracy,
    agreement: model.agreement,
    verdict: model.verdict,
    ran_on: opened.ranOn,
  };
}

function latencyOf({ rounds, opened }: Measured): object {
  const all = rounds.flat();
  const medians = rounds.map(median);
  const average = mean(all);
  return {
    queries: all.length,
    p50_ms: median(all),
    p90_ms: percentile(all, 0.9),
    p99_ms: percentile(all, 0.99),
    mean_ms: average,
    std_ms: Math.sqrt(mean(all.map((value) => (value - average) ** 2))),
    worst_ms: Math.max(...all),
    images_per_second: 1000 / average,
    load_ms: opened.loadMs,
    energy_mj: null,
    rounds_ms: medians,
    spread: (percentile(medians, 0.75) - percentile(medians, 0.25)) / median(medians),
  };
}

function against(candidate: Measured, base: Measured): object {
  const [ours, theirs] = [candidate, base].map(({ rounds }) => rounds.map(median));
  const ratio = median(ours.map((value, index) => value / theirs[index]));
  const interval = candidate === base ? null : ratioInterval(ours, theirs);
  const medians = median(candidate.rounds.flat()) / median(base.rounds.flat());
  return {
    baseline: idOf(base),
    ratio,
    ratio_interval: interval,
    speed_up: 1 / ratio,
    speed: candidate === base ? "baseline" : speedOf(medians, interval),
  };
}

/** Faster or slower only if both the interval and the ratio of the medians say so. */
function speedOf(medians: number, interval: [number, number] | null): string {
  if (interval && interval[1] < 1 && medians < 1) return "faster";
  if (interval && interval[0] > 1 && medians > 1) return "slower";
  return "not told apart";
}

function fromFiles({ times, source }: Files, winner: Row): object {
  const whole = (time: FileTime): number => time.decodeMs + time.resizeMs + time.inferenceMs;
  const stage = (name: string, ms: number[]): object => ({
    stage: name,
    p50_ms: median(ms),
    p90_ms: percentile(ms, 0.9),
    worst_ms: Math.max(...ms),
  });
  const wholes = times.map(whole);
  const inference = mean(times.map((time) => time.inferenceMs));
  return {
    files: times.length,
    stages: [
      stage("decode", times.map((time) => time.decodeMs)),
      stage("resize", times.map((time) => time.resizeMs)),
      stage("inference", times.map((time) => time.inferenceMs)),
      stage("whole", wholes),
    ],
    by_file: times.map((time) => ({
      file: time.file,
      bytes: time.bytes,
      decode_ms: time.decodeMs,
      whole_ms: whole(time),
    })),
    // One after the other, as the page answers.
    folder: {
      images_per_second: 1000 / mean(wholes),
      inference_per_second: 1000 / inference,
      share: inference / mean(wholes),
    },
    id: winner.id,
    threads: winner.threads,
    source,
  };
}

/** As much as a browser reveals about its machine. */
function machine(version: string): object {
  return {
    cpu: "unknown: a browser does not say",
    instruction_sets: [],
    cores: navigator.hardwareConcurrency || 1,
    memory_bytes: null,
    governor: null,
    container: { cpus: null, memory_bytes: null },
    architecture: navigator.platform || "unknown",
    system: navigator.userAgent,
    python: "none: in a browser",
    packages: { "onnxruntime-web": version },
  };
}
