/** The stored values of a DICOM file: uncompressed, deflated, RLE, JPEG baseline and lossless JPEG. */

import { readEncapsulatedPixelDataFromFragments, type DataSet } from "dicom-parser";
import { Decoder as LosslessDecoder } from "jpeg-lossless-decoder-js";
import type { Tags } from "./dicom_tags.ts";
import { readJpegHeader, type JpegDecoder } from "./jpeg.ts";
import { ImageError } from "./picture.ts";

const PIXEL_DATA = "x7fe00010";
const MAX_FRAGMENTS = 1000;
const UNCOMPRESSED = new Set([
  "1.2.840.10008.1.2",
  "1.2.840.10008.1.2.1",
  "1.2.840.10008.1.2.1.99",
  "1.2.840.10008.1.2.2",
]);
const RLE = "1.2.840.10008.1.2.5";
const JPEG_BASELINE = "1.2.840.10008.1.2.4.50";
const JPEG_LOSSLESS = new Set(["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"]);
/** Names of transfer syntaxes that this page does not read. */
const NAMES: Record<string, string> = {
  "1.2.840.10008.1.2.4.51": "JPEG of 12 bits",
  "1.2.840.10008.1.2.4.80": "JPEG-LS",
  "1.2.840.10008.1.2.4.81": "JPEG-LS",
  "1.2.840.10008.1.2.4.90": "JPEG 2000",
  "1.2.840.10008.1.2.4.91": "JPEG 2000",
  "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000",
  "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000",
  "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
};

/** What the tags say of the stored values. */
export interface Layout {
  width: number;
  height: number;
  samples: number;
  bitsAllocated: number;
  bitsStored: number;
  isSigned: boolean;
  isPlanar: boolean;
}

export type Stored = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array;

/** Values pixel by pixel, with interleaved colours. Throws ImageError for damaged or unsupported pixels. */
export async function readStored(
  data: DataSet,
  tags: Tags,
  layout: Layout,
  jpeg: Promise<JpegDecoder>,
): Promise<Stored> {
  const syntax = tags.transferSyntax;
  const count = layout.width * layout.height * layout.samples;
  let bytes: Uint8Array;
  if (UNCOMPRESSED.has(syntax)) {
    bytes = littleEndian(tags, layout);
  } else if (syntax === RLE) {
    bytes = unpackedRuns(frameOf(data), layout);
  } else if (syntax === JPEG_BASELINE) {
    bytes = await baseline(frameOf(data), layout, jpeg);
  } else if (JPEG_LOSSLESS.has(syntax)) {
    bytes = lossless(frameOf(data), layout);
  } else {
    throw new ImageError(`${NAMES[syntax] ?? `transfer syntax ${syntax}`}, which cxr-edge predict reads and this page does not`);
  }
  const size = layout.bitsAllocated / 8;
  if (bytes.length < count * size) throw new ImageError("a DICOM file that cannot be decoded (too few pixels)");
  const values = viewed(bytes, count, layout);
  return byPixel(withoutUnusedBits(values, layout), layout);
}

/** Samples as little-endian bytes, whatever the file's byte order. */
function littleEndian(tags: Tags, layout: Layout): Uint8Array {
  const bytes = tags.bytes(PIXEL_DATA);
  // Bytes in words are swapped like words.
  const size = layout.bitsAllocated === 8 && tags.vr(PIXEL_DATA) === "OW" ? 2 : layout.bitsAllocated / 8;
  if (!tags.isBigEndian || size === 1) return bytes;
  const swapped = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) {
    swapped[at] = bytes[at - (at % size) + (size - 1 - (at % size))];
  }
  return swapped;
}

function viewed(bytes: Uint8Array, count: number, layout: Layout): Stored {
  // A copy, since the bytes may not be aligned in the file.
  const buffer = bytes.slice(0, (count * layout.bitsAllocated) / 8).buffer;
  if (layout.bitsAllocated === 8) return layout.isSigned ? new Int8Array(buffer) : new Uint8Array(buffer);
  if (layout.bitsAllocated === 16) return layout.isSigned ? new Int16Array(buffer) : new Uint16Array(buffer);
  return layout.isSigned ? new Int32Array(buffer) : new Uint32Array(buffer);
}

function withoutUnusedBits(values: Stored, layout: Layout): Stored {
  const shift = layout.bitsAllocated - layout.bitsStored;
  for (let index = 0; shift > 0 && index < values.length; index++) {
    // The typed array truncates to its bits, and handles the sign.
    values[index] <<= shift;
    values[index] = layout.isSigned ? values[index] >> shift : values[index] >>> shift;
  }
  return values;
}

function byPixel(values: Stored, layout: Layout): Stored {
  if (!layout.isPlanar || layout.samples === 1) return values;
  const plane = values.length / layout.samples;
  return values.map((_, index) => values[(index % layout.samples) * plane + Math.floor(index / layout.samples)]);
}

/** The only frame of compressed pixels. */
function frameOf(data: DataSet): Uint8Array {
  const element = data.elements[PIXEL_DATA];
  const fragments = element.fragments ?? [];
  if (fragments.length === 0 || fragments.length > MAX_FRAGMENTS) {
    throw new ImageError(`a DICOM file that cannot be decoded (a frame in ${fragments.length} fragments)`);
  }
  return readEncapsulatedPixelDataFromFragments(data, element, 0, fragments.length) as Uint8Array;
}

/** PackBits, a segment for each byte of each sample, the higher byte first (PS3.5, annex G). */
function unpackedRuns(frame: Uint8Array, layout: Layout): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const size = layout.bitsAllocated / 8;
  const pixels = layout.width * layout.height;
  const segments = view.getUint32(0, true);
  if (segments !== size * layout.samples) throw new ImageError(`a DICOM file that cannot be decoded (${segments} segments)`);
  const bytes = new Uint8Array(pixels * size * layout.samples);
  for (let segment = 0; segment < segments; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : frame.length;
    const sample = Math.floor(segment / size);
    const significance = size - 1 - (segment % size);
    // By planes, whatever the tags say.
    const to = { first: sample * pixels * size + significance, step: size, count: pixels };
    unpackSegment(frame.subarray(start, end), bytes, to);
  }
  layout.isPlanar = true;
  return bytes;
}

interface Places {
  first: number;
  step: number;
  count: number;
}

function unpackSegment(segment: Uint8Array, bytes: Uint8Array, to: Places): void {
  let done = 0;
  for (let at = 0; at < segment.length && done < to.count; ) {
    const control = segment[at++];
    if (control === 128) continue;
    const literal = control < 128;
    const length = literal ? control + 1 : 257 - control;
    for (let index = 0; index < length && done < to.count; index++) {
      bytes[to.first + to.step * done++] = segment[literal ? at + index : at];
    }
    at += literal ? length : 1;
  }
  if (done < to.count) throw new ImageError("a DICOM file that cannot be decoded (too few pixels)");
}

async function baseline(frame: Uint8Array, layout: Layout, jpeg: Promise<JpegDecoder>): Promise<Uint8Array> {
  const header = readJpegHeader(frame);
  requireSize(header.width, header.height, header.components, layout);
  if (layout.samples !== 1) {
    throw new ImageError("a DICOM file with a JPEG in colour, which cxr-edge predict reads and this page does not");
  }
  return (await jpeg)(frame, header).samples;
}

function lossless(frame: Uint8Array, layout: Layout): Uint8Array {
  const header = readJpegHeader(frame);
  requireSize(header.width, header.height, header.components, layout);
  const copy = frame.slice();
  let decoded: ArrayBuffer;
  try {
    decoded = new LosslessDecoder().decompress(copy.buffer, 0, copy.length) as ArrayBuffer;
  } catch {
    throw new ImageError("a DICOM file that cannot be decoded (a damaged lossless JPEG)");
  }
  layout.isPlanar = false;
  const bytes = new Uint8Array(decoded);
  if (header.precision > 8 || layout.bitsAllocated === 8) return bytes;
  // A sample of up to 8 bits comes in one byte.
  return new Uint8Array(Uint16Array.from(bytes).buffer);
}

function requireSize(width: number, height: number, components: number, layout: Layout): void {
  if (width !== layout.width || height !== layout.height || components !== layout.samples) {
    throw new ImageError(
      `a DICOM file that cannot be decoded (a frame of ${width} x ${height} pixels in ${components} planes, where the tags say otherwise)`,
    );
  }
}
