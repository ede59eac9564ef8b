/** The files of a session and what the model says of each. */

import type { Model } from "../bundle/manifest.ts";
import { decide, REFER, topOf } from "../bundle/operating.ts";
import type { Classified } from "../engine/messages.ts";

/** A file with its answer, or why it has none. */
export type Result = Answered | Skipped;

export interface Answered {
  file: string;
  bytes: number;
  answer: Classified;
  /** Those of the model, and then those of this picture. */
  warnings: string[];
  label: string;
  /** What the operating point makes of it: a label, or to refer; null where the model has none. */
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
