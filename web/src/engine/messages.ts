/** What the page and its worker say to each other. */

import type { Model } from "../bundle/manifest.ts";
import type { Backend } from "./backend.ts";
import type { Replay } from "./replay.ts";

export type Request =
  | { kind: "open"; model: Model; backend: Backend; withReplay: boolean }
  | { kind: "classify"; content: Uint8Array }
  /** Repeat the inference of pictures that were classified or replayed; `queries` times, and not before `seconds`. */
  | { kind: "time"; queries: number; warmUpMs: number };

/** A model that is loaded. */
export interface Opened {
  ranOn: string;
  /** Of ONNX Runtime Web. */
  version: string;
  loadMs: number;
  replay: Replay | null;
}

/** What a model says of a file. */
export interface Classified {
  grey: { width: number; height: number; pixels: Uint8Array };
  probabilities: number[];
  heatmap: Float32Array | null;
  /** Of this picture. */
  warnings: string[];
  facts: Record<string, string | null> | null;
  decodeMs: number;
  resizeMs: number;
  inferenceMs: number;
}

/** Milliseconds of each counted query. */
export interface Timed {
  ms: number[];
}

export interface Answers {
  open: Opened;
  classify: Classified;
  time: Timed;
}

/** How far the loading of a model is. */
export interface Progress {
  stage: "download" | "start" | "references";
  done: number;
  total: number;
}

export type Reply = { progress: Progress } | { answer: Answers[Request["kind"]] } | { error: string };
