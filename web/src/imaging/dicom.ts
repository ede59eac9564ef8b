/** DICOM files to 8-bit grey, by the rule of `cxr_edge.imaging.dicom`. */

import type { DataSet } from "dicom-parser";
import { readStored, type Layout, type Stored } from "./dicom_streams.ts";
import { factsOf, parse, Tags } from "./dicom_tags.ts";
import type { JpegDecoder } from "./jpeg.ts";
import { ImageError, luma, refuseBombs, roundHalfEven, type Picture } from "./picture.ts";

const MODALITY_LUT = "x00283000";
const SLOPE = "x00281053";
const INTERCEPT = "x00281052";
const VOI_LUT = "x00283010";
const CENTER = "x00281050";
const WIDTH = "x00281051";
const FUNCTION = "x00281056";
const PADDING = "x00280120";
const PADDING_LIMIT = "x00280121";
const PIXELS = ["x7fe00010", "x7fe00008", "x7fe00009"];
/** Transformations that an enhanced image has per frame in functional groups: the group, its LUT, or a pair of numbers. */
const TRANSFORMATIONS = [
  { group: "x00289145", lut: MODALITY_LUT, numbers: [SLOPE, INTERCEPT] },
  { group: "x00289132", lut: VOI_LUT, numbers: [CENTER, WIDTH] },
];
const GROUPS = ["x52009230", "x52009229"];

/** Raises ImageError. */
export async function readDicom(content: Uint8Array, jpeg: Promise<JpegDecoder>): Promise<Picture> {
  const data = parse(content);
  const tags = new Tags([data]);
  const layout = layoutOf(tags);
  const stored = await readStored(data, tags, layout, jpeg);
  const { width, height } = layout;
  const photometric = tags.text("x00280004");
  const pixels = layout.samples === 1 ? greyOf(withGroups(tags), stored, layout) : lumaOf(stored, layout);
  if (photometric === "MONOCHROME1") pixels.forEach((value, index) => (pixels[index] = 255 - value));
  return { grey: { width, height, pixels }, facts: factsOf(tags) };
}

/** Throws ImageError for a file without exactly one picture, or with one of a kind that this page does not read. */
function layoutOf(tags: Tags): Layout {
  const height = tags.unsigned("x00280010");
  const width = tags.unsigned("x00280011");
  const modality = tags.text("x00080060") ?? "unknown";
  if (!height || !width || !PIXELS.some((tag) => tags.has(tag))) {
    throw new ImageError(`a DICOM file without an image (modality ${modality})`);
  }
  refuseBombs(width, height);
  const frames = Number(tags.text("x00280008") ?? 1);
  if (frames !== 1) {
    throw new ImageError(`${frames} frames; a chest X-ray has one: save the one that is meant by itself`);
  }
  const samples = tags.unsigned("x00280002") ?? 1;
  const bitsAllocated = tags.unsigned("x00280100") ?? 0;
  const photometric = tags.text("x00280004") ?? "";
  const readable = samples === 1 ? photometric.startsWith("MONOCHROME") : samples === 3 && photometric === "RGB";
  if (!readable || !tags.has(PIXELS[0]) || ![8, 16, 32].includes(bitsAllocated)) {
    throw new ImageError(
      `${photometric || "pixels without a photometric interpretation"} of ${bitsAllocated} bits, which cxr-edge predict may read and this page does not`,
    );
  }
  return {
    width,
    height,
    samples,
    bitsAllocated,
    bitsStored: tags.unsigned("x00280101") ?? bitsAllocated,
    isSigned: tags.unsigned("x00280103") === 1,
    isPlanar: tags.unsigned("x00280006") === 1,
  };
}

/** The tags with the transformations of the only frame, if the file has them only in functional groups. */
function withGroups(tags: Tags): Tags {
  const items: DataSet[] = [];
  for (const { group, lut, numbers } of TRANSFORMATIONS) {
    const has = (set: Tags): boolean =>
      set.item(lut) !== undefined || numbers.every((tag) => set.decimal(tag) !== undefined);
    for (const place of GROUPS) {
      const frame = tags.item(place);
      const item = frame && new Tags([frame]).item(group);
      if (item && has(new Tags([item])) && !has(tags)) {
        items.push(item);
        break;
      }
    }
  }
  return tags.with(items);
}

/** Maps a value to another one. */
type Curve = (value: number) => number;

function greyOf(tags: Tags, stored: Stored, layout: Layout): Uint8Array {
  const modality = modalityOf(tags);
  const voi = voiOf(tags, layout);
  const { black, white } = endsOf(tags, stored, layout, modality);
  if (!Number.isFinite(black) || !Number.isFinite(white)) throw new ImageError("values that are no numbers");
  const scale = white !== black ? 255 / (white - black) : 0;
  const greyOfValue: Curve = (value) => {
    const shown = voi(modality(value));
    return Math.min(255, Math.max(0, roundHalfEven((shown - black) * scale)));
  };
  const known = new Map<number, number>();
  return Uint8Array.from(stored, (value) => {
    let grey = known.get(value);
    if (grey === undefined) known.set(value, (grey = greyOfValue(value)));
    return grey;
  });
}

/** Stored values through the modality LUT or rescale. */
function modalityOf(tags: Tags): Curve {
  const table = tags.item(MODALITY_LUT);
  if (table) return lookUp(table, tags).curve;
  const slope = tags.decimal(SLOPE);
  const intercept = tags.decimal(INTERCEPT);
  if (slope === undefined || intercept === undefined) return (value) => value;
  return (value) => value * slope + intercept;
}

/** The modality's values through the VOI LUT or the first window. */
function voiOf(tags: Tags, layout: Layout): Curve {
  const table = tags.item(VOI_LUT);
  if (table) return lookUp(table, tags).curve;
  return windowOf(tags, layout)?.curve ?? ((value) => value);
}

interface Window {
  curve: Curve;
  black: number;
  white: number;
}

/** PS3.3, C.11.2.1.2 and C.11.2.1.3; undefined where there is none. */
function windowOf(tags: Tags, layout: Layout): Window | undefined {
  const center = tags.decimal(CENTER);
  const width = tags.decimal(WIDTH);
  if (center === undefined || width === undefined) return undefined;
  const { black, white } = outputRange(tags, layout);
  const range = white - black;
  const name = (tags.text(FUNCTION) ?? "LINEAR").toUpperCase();
  if (name === "SIGMOID" && width > 0) {
    return { black, white, curve: (value) => range / (1 + Math.exp((-4 * (value - center)) / width)) + black };
  }
  const exact = name === "LINEAR_EXACT" && width > 0;
  if (!exact && !(name === "LINEAR" && width >= 1)) throw new ImageError(`a window of ${width}, ${name}`);
  const middle = exact ? center : center - 0.5;
  const across = exact ? width : width - 1;
  const curve: Curve = (value) => {
    if (value <= middle - across / 2) return black;
    if (value > middle + across / 2) return white;
    return ((value - middle) / across + 0.5) * range + black;
  };
  return { curve, black, white };
}

/** The range of values after the modality transformation, from the declared bit depth. */
function outputRange(tags: Tags, layout: Layout): { black: number; white: number } {
  const table = tags.item(MODALITY_LUT);
  const [low, high] = table ? [0, lookUp(table, tags).largest] : storedRange(layout);
  const slope = tags.decimal(SLOPE);
  const intercept = tags.decimal(INTERCEPT);
  if (slope === undefined || intercept === undefined) return { black: low, white: high };
  return { black: low * slope + intercept, white: high * slope + intercept };
}

function storedRange({ bitsStored, isSigned }: Layout): [number, number] {
  return isSigned ? [-(2 ** (bitsStored - 1)), 2 ** (bitsStored - 1) - 1] : [0, 2 ** bitsStored - 1];
}

/** The values that become 0 and 255. */
function endsOf(tags: Tags, stored: Stored, layout: Layout, modality: Curve): { black: number; white: number } {
  const table = tags.item(VOI_LUT);
  if (table) return { black: 0, white: lookUp(table, tags).largest };
  const window = windowOf(tags, layout);
  if (window) return window;
  if (layout.bitsStored <= 8 && !tags.item(MODALITY_LUT)) {
    const [black, white] = storedRange(layout).map(modality).sort((one, other) => one - other);
    return { black, white };
  }
  const present = [...new Set(stored)];
  const padded = paddingOf(tags);
  const counted = present.filter((value) => !padded(value));
  let black = Infinity;
  let white = -Infinity;
  for (const value of (counted.length ? counted : present).map(modality)) {
    black = Math.min(black, value);
    white = Math.max(white, value);
  }
  return { black, white };
}

/** Whether a stored value is padding: a reserved value for areas that the detector did not capture. */
function paddingOf(tags: Tags): (value: number) => boolean {
  const value = tags.signedLikePixels(PADDING);
  if (value === undefined) return () => false;
  const limit = tags.signedLikePixels(PADDING_LIMIT) ?? value;
  const [low, high] = [Math.min(value, limit), Math.max(value, limit)];
  return (stored) => stored >= low && stored <= high;
}

/** A DICOM LUT, and the largest value of its declared bit depth. */
function lookUp(table: DataSet, image: Tags): { curve: Curve; largest: number } {
  // The image's tags say whether pixels, and so the first value mapped, are signed.
  const tags = image.with([table]);
  // 65536 does not fit into the field, and is written as 0.
  const count = tags.unsigned("x00283002", 0) || 65536;
  const first = tags.signedLikePixels("x00283002", 1) ?? 0;
  const bits = tags.unsigned("x00283002", 2) ?? 16;
  const bytes = tags.bytes("x00283006");
  const oneByte = bytes.length < 2 * count;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = Math.min(count, oneByte ? bytes.length : bytes.length >> 1);
  const curve: Curve = (value) => {
    const index = Math.min(entries - 1, Math.max(0, roundHalfEven(value) - first));
    return oneByte ? bytes[index] : view.getUint16(2 * index, !image.isBigEndian);
  };
  return { curve, largest: 2 ** bits - 1 };
}

function lumaOf(stored: Stored, layout: Layout): Uint8Array {
  const scale = 255 / (2 ** layout.bitsStored - 1);
  const eight = (value: number): number => Math.min(255, Math.max(0, roundHalfEven(value * scale)));
  const pixels = new Uint8Array(layout.width * layout.height);
  for (let index = 0, at = 0; index < pixels.length; index++, at += 3) {
    pixels[index] = luma(eight(stored[at]), eight(stored[at + 1]), eight(stored[at + 2]));
  }
  return pixels;
}
