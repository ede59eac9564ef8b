/** Does this browser compute what was validated? `cxr_edge.evaluation.replay` in the page. */

import { topOf } from "../bundle/operating.ts";
import type { Model } from "../bundle/manifest.ts";
import { readReferences } from "../bundle/references.ts";
import { download } from "./download.ts";
import type { Session } from "./session.ts";

export interface Replay {
  images: number;
  /** Number of images with the recorded top class. */
  sameTop: number;
  largestDifference: number;
  tolerance: number;
  passed: boolean;
  recordedOn: string;
}

/** Null for a model without reference outputs. Throws Error if the reference inputs are not those of the export. */
export async function replay(session: Session, model: Model, onImage: () => void): Promise<Replay | null> {
  if (!model.reference) return null;
  const { sha256, probabilities: recorded, runtime: recordedOn } = model.reference;
  const content = await download("model/reference.npz", sha256);
  const images = readReferences(content, model.size).slice(0, recorded.length);
  let sameTop = 0;
  let largestDifference = 0;
  for (const [index, image] of images.entries()) {
    const { probabilities } = await session.run(image, false);
    sameTop += topOf(probabilities) === topOf(recorded[index]) ? 1 : 0;
    for (const [at, value] of probabilities.entries()) {
      largestDifference = Math.max(largestDifference, Math.abs(value - recorded[index][at]));
    }
    onImage();
  }
  const passed = largestDifference <= model.tolerance;
  return { images: images.length, sameTop, largestDifference, tolerance: model.tolerance, passed, recordedOn };
}
