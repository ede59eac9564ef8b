/** What the page and its worker say to each other. */

import type { Model } from "../bundle/manifest.ts";
import type { Backend } from "./backend.ts";
import type { Replay } from "./replay.ts";

export type Request =
  | { kind: "open"; model: Model; backend: Backend; withReplay: boolean }
  | { kind: "classify"; content: Uint8Array }
  /** Time `queries` inferences on a ramp of grey values, after `warmUpMs` of warm-up. */
  | { kind: "time"; queries: number; warmUpMs: number };

/** A model that is loaded. */
export interface Opened {
  ranOn: string;
  /** Version of ONNX Runtime Web. */
  version: string;
  loadMs: number;
  replay: Replay | null;
}

/** A model's answer for a file. */
export interface Classified {
  grey: { width: number; height: number; pixels: Uint8Array };
  probabilities: number[];
  heatmap: Float32Array | null;
  /** Warnings about this picture. */
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

/** Progress of loading a model. */
export interface Progress {
  stage: "download" | "start" | "references";
  done: number;
  total: number;
}

export type Reply = { progress: Progress } | { answer: Answers[Request["kind"]] } | { error: string };
