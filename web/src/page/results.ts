/** The files of a session and the model's answer for each. */

import type { Model } from "../bundle/manifest.ts";
import { decide, REFER, topOf } from "../bundle/operating.ts";
import type { Classified } from "../engine/messages.ts";

/** A file with its answer, or why it has none. */
export type Result = Answered | Skipped;

export interface Answered {
  file: string;
  bytes: number;
  answer: Classified;
  /** Warnings about the model, then those about this picture. */
  warnings: string[];
  label: string;
  /** The decision by the operating point: a label, or `REFER`; null if the model has no operating point. */
  decision: string | null;
}

export interface Skipped {
  file: string;
  reason: string;
}

export function answered(file: string, bytes: number, answer: Classified, model: Model): Answered {
  const { labels, operatingPoint } = model;
  return {
    file,
    bytes,
    answer,
    warnings: [...model.warnings, ...answer.warnings],
    label: labels[topOf(answer.probabilities)],
    decision: operatingPoint && decide(operatingPoint, answer.probabilities, labels),
  };
}

export const isAnswered = (result: Result): result is Answered => "answer" in result;

/** What to show first. */
export function headline(result: Answered): string {
  const said = result.decision ?? result.label;
  return said === REFER ? "Refer to a radiologist" : said;
}
