/** Latency of every back end of this browser, measured in turn, so that a drifting machine is unfair to none. */

import type { Backend } from "../engine/backend.ts";
import { Engine } from "../engine/engine.ts";
import type { Opened } from "../engine/messages.ts";
import type { Model } from "../bundle/manifest.ts";

/** Rounds over all candidates, and minimum counted queries of each per round. */
export const ROUNDS = 10;
export const QUERIES_PER_ROUND = 3;
/** Approximate seconds of counted queries of each candidate. */
const SECONDS = 1;
const WARM_UP_MS = 100;
/** A candidate with slower queries than this is counted once per round. */
const SLOW_MS = 2000;

/** A model on a back end. */
export interface Candidate {
  model: Model;
  backend: Backend;
}

export interface Measured extends Candidate {
  opened: Opened;
  /** Milliseconds of each counted query, by rounds. */
  rounds: number[][];
}

/** A candidate that could not be loaded, and why. */
export interface Failed extends Candidate {
  reason: string;
}

/** Called before each step, with a description of it. */
export type OnStep = (text: string, done: number, total: number) => void;

/** WebAssembly with the bundle's first model, WebGPU with the first that computes in float: it has no integer kernels. */
export function candidatesOf(models: readonly Model[], backends: readonly Backend[]): Candidate[] {
  return backends.flatMap((backend) => {
    const model = modelFor(models, backend);
    return model ? [{ model, backend }] : [];
  });
}

/** The model to run on a back end; undefined if the bundle has none for it. */
export function modelFor(models: readonly Model[], { kind }: Backend): Model | undefined {
  return kind === "wasm" ? models[0] : models.find(({ isInteger }) => !isInteger);
}

export async function measure(
  candidates: readonly Candidate[],
  onStep: OnStep,
): Promise<{ measured: Measured[]; failed: Failed[] }> {
  const engines: { engine: Engine; measured: Measured; queries: number }[] = [];
  const failed: Failed[] = [];
  const steps = candidates.length * (ROUNDS + 1);
  let step = 0;
  try {
    for (const candidate of candidates) {
      onStep("loading", step++, steps);
      try {
        const options = { withReplay: false, onProgress: () => undefined };
        const { engine, opened } = await Engine.open(candidate.model, candidate.backend, options);
        const { ms } = await engine.time(2, 0);
        const quickest = Math.min(...ms);
        const wanted = Math.ceil((1000 * SECONDS) / ROUNDS / quickest);
        const queries = quickest > SLOW_MS ? 1 : Math.max(QUERIES_PER_ROUND, wanted);
        engines.push({ engine, queries, measured: { ...candidate, opened, rounds: [] } });
      } catch (error) {
        failed.push({ ...candidate, reason: error instanceof Error ? error.message : String(error) });
      }
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const { engine, measured, queries } of engines) {
        onStep(`round ${round + 1} of ${ROUNDS}`, step++, steps);
        measured.rounds.push((await engine.time(queries, WARM_UP_MS)).ms);
      }
    }
  } finally {
    engines.forEach(({ engine }) => engine.close());
  }
  return { measured: engines.map(({ measured }) => measured), failed };
}
