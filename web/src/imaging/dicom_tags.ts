/** The elements of a DICOM file, read by dicom-parser: those about the picture, never those about the patient. */

import { parseDicom, type DataSet } from "dicom-parser";
import { Inflate } from "fflate";
import { pushInPieces } from "./inflate.ts";
import { ImageError } from "./picture.ts";

/** Maximum size of an inflated file in bytes. */
const MAX_INFLATED = 256 * 2 ** 20;

const BIG_ENDIAN = "1.2.840.10008.1.2.2";
/** By the tag of dicom-parser: `x` and eight hexadecimal digits. */
const FACTS = {
  modality: "x00080060",
  body_part: "x00180015",
  view_position: "x00185101",
  burned_in_annotation: "x00280301",
  presentation_intent: "x00080068",
  photometric_interpretation: "x00280004",
};
const VIEW_CODES = "x00540220";
const CODE_MEANING = "x00080104";

/** Lateral and oblique views, in the standard's terms and in others that occur in files. */
const NOT_FRONTAL = new Set(["LL", "RL", "RLO", "LLO", "LAT", "LATERAL", "LLAT", "RLAT", "OBL", "OBLIQUE"]);
/** Computed and digital radiography, radiofluoroscopy, digitised film; secondary capture and other may be anything. */
const RADIOGRAPHS = new Set(["CR", "DX", "RG", "RF", "SC", "OT"]);
/** Parts of the names of the chest, in the standard's terms and in others that occur in files. */
const CHEST = ["CHEST", "THORA", "TORAX", "LUNG", "RIB", "HEART", "STERN"];

export type Facts = Record<keyof typeof FACTS, string | null>;

export function isDicom(content: Uint8Array): boolean {
  return content.length > 132 && String.fromCharCode(...content.subarray(128, 132)) === "DICM";
}

/** Raises ImageError for a file whose elements cannot be read. */
export function parse(content: Uint8Array): DataSet {
  try {
    return parseDicom(content, { inflater: inflated });
  } catch (error) {
    // dicom-parser raises strings, and objects that hold one.
    const reason = error instanceof Error ? error.message : String((error as { exception?: unknown }).exception ?? error);
    throw new ImageError(`a damaged DICOM file (${reason})`);
  }
}

/** A deflated file with its data set, which begins at `start`, inflated. */
function inflated(content: Uint8Array, start: number): Uint8Array {
  const chunks = [content.subarray(0, start)];
  let length = start;
  const stream = new Inflate((chunk) => {
    length += chunk.length;
    if (length > MAX_INFLATED) throw new ImageError(`refused, inflates to more than ${MAX_INFLATED >> 20} MiB`);
    chunks.push(chunk);
  });
  pushInPieces(stream, content.subarray(start), true);
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Data sets about one image; if several have an element, the first one counts. */
export class Tags {
  constructor(private readonly sets: readonly DataSet[]) {}

  get isBigEndian(): boolean {
    return this.transferSyntax === BIG_ENDIAN;
  }

  get transferSyntax(): string {
    return this.text("x00020010") ?? "1.2.840.10008.1.2";
  }

  with(first: readonly DataSet[]): Tags {
    return new Tags([...first, ...this.sets]);
  }

  has(tag: string): boolean {
    return this.setWith(tag) !== undefined;
  }

  text(tag: string): string | undefined {
    return this.setWith(tag)?.string(tag)?.trim() || undefined;
  }

  unsigned(tag: string, index = 0): number | undefined {
    return this.setWith(tag)?.uint16(tag, index);
  }

  /** A value whose sign depends on its VR or, in a file without VRs, on that of the pixels. */
  signedLikePixels(tag: string, index = 0): number | undefined {
    const set = this.setWith(tag);
    const vr = set?.elements[tag].vr;
    const signed = vr === "SS" || (vr !== "US" && this.unsigned("x00280103") === 1);
    return signed ? set?.int16(tag, index) : set?.uint16(tag, index);
  }

  /** The first value of a decimal string. */
  decimal(tag: string): number | undefined {
    const value = this.setWith(tag)?.floatString(tag, 0);
    return value === undefined || Number.isNaN(value) ? undefined : value;
  }

  /** The first item of a sequence. */
  item(tag: string): DataSet | undefined {
    return this.setWith(tag)?.elements[tag].items?.[0]?.dataSet;
  }

  bytes(tag: string): Uint8Array {
    const set = this.setWith(tag);
    if (!set) return new Uint8Array();
    const { dataOffset, length } = set.elements[tag];
    return (set.byteArray as Uint8Array).subarray(dataOffset, dataOffset + length);
  }

  vr(tag: string): string | undefined {
    return this.setWith(tag)?.elements[tag].vr;
  }

  private setWith(tag: string): DataSet | undefined {
    return this.sets.find((set) => set.elements[tag] !== undefined && set.elements[tag].length !== 0);
  }
}

export function factsOf(tags: Tags): Facts {
  const facts = Object.fromEntries(
    Object.entries(FACTS).map(([name, tag]) => [name, tags.text(tag) ?? null]),
  ) as unknown as Facts;
  const view = tags.item(VIEW_CODES);
  facts.view_position ??= view ? (new Tags([view]).text(CODE_MEANING) ?? null) : null;
  return facts;
}

/** Why the picture is not a radiograph according to its tags. */
export function otherModality(facts: Facts): string | undefined {
  const { modality } = facts;
  if (modality === null || RADIOGRAPHS.has(modality.toUpperCase())) return undefined;
  return `not a radiograph (Modality is ${modality})`;
}

/** What the tags say against classifying the picture as a frontal chest X-ray, a line each. */
export function warningsAbout(facts: Facts): string[] {
  const reasons: string[] = [];
  if (facts.burned_in_annotation?.toUpperCase() === "YES") {
    reasons.push(
      "annotations are burnt into the picture (Burned In Annotation is YES); the model may go by them",
    );
  }
  const view = (facts.view_position ?? "").toUpperCase();
  if (NOT_FRONTAL.has(view) || ["LATERAL", "OBLIQUE"].includes(view.slice(view.lastIndexOf(" ") + 1))) {
    reasons.push(`not a frontal view (View Position is ${facts.view_position})`);
  }
  const part = facts.body_part;
  if (part !== null && !CHEST.some((name) => part.toUpperCase().includes(name))) {
    reasons.push(`not of the chest (Body Part Examined is ${part})`);
  }
  if (facts.presentation_intent?.toUpperCase() === "FOR PROCESSING") {
    reasons.push("raw detector values, not meant to be looked at (Presentation Intent Type is FOR PROCESSING)");
  }
  return reasons;
}
