/** PNG files. Pixels do not come from a canvas: it has 8 bits, applies colour profiles, and some browsers add noise. */

import { decode, type DecodedPng } from "fast-png";
import { Unzlib } from "fflate";
import { pushInPieces } from "./inflate.ts";
import { orientationInTiff, orientationInXmp } from "./orientation.ts";
import { gridOf, ImageError, luma, refuseBombs, stretched, turned, type Picture } from "./picture.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** By the colour type. */
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** Bytes beyond the picture that are still taken for an encoder's carelessness, which decoders ignore. */
const SURPLUS = 1 << 20;

export function isPng(content: Uint8Array): boolean {
  return SIGNATURE.every((byte, index) => content[index] === byte);
}

/** Raises ImageError, or whatever the decoder raises of a damaged file. */
export function readPng(content: Uint8Array): Picture {
  const header = readHeader(content);
  refuseBombs(header.width, header.height);
  if (header.frames > 1) {
    throw new ImageError(`${header.frames} pictures in one file; save the one that is meant as a file of its own`);
  }
  refuseInflated(content, bytesOf(header));
  const image = decode(withoutProfile(content), { checkCrc: true });
  if (image.depth === 16 && image.channels > 1) {
    const way = "save it as 16-bit grey or with 8 bits";
    throw new ImageError(`cannot be decoded (16 bits per channel, of which some would be lost; ${way})`);
  }
  const samples = image.width * image.height * image.channels;
  if (image.depth >= 8 && image.data.length < samples) throw new ImageError("truncated");
  const grey = { width: image.width, height: image.height, pixels: greyOf(image) };
  return { grey: turned(grey, header.orientation), colours: coloursOf(image) };
}

interface Chunk {
  type: string;
  data: Uint8Array;
  /** With its length, type and checksum. */
  whole: Uint8Array;
}

/** Up to the end of the picture; the last one may be cut short. */
function* chunksOf(content: Uint8Array): Generator<Chunk> {
  const view = viewOf(content);
  for (let at = SIGNATURE.length; at + 8 <= content.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...content.subarray(at + 4, at + 8));
    const next = at + 12 + length;
    yield { type, data: content.subarray(at + 8, at + 8 + length), whole: content.subarray(at, next) };
    if (type === "IEND") return;
    at = next;
  }
}

interface Pixels {
  width: number;
  height: number;
  /** Of one pixel. */
  bits: number;
  isInterlaced: boolean;
}

interface Header extends Pixels {
  frames: number;
  orientation: number;
}

/** Size and kind of the pixels, number of frames (APNG), EXIF's orientation. */
function readHeader(content: Uint8Array): Header {
  let pixels: Pixels | undefined;
  let frames = 1;
  let exif: number | undefined;
  let xmp: number | undefined;
  for (const { type, data } of chunksOf(content)) {
    // Of two, the decoder would take the second.
    if ((type === "IHDR") !== (pixels === undefined)) throw new ImageError("a damaged PNG file");
    pixels ??= pixelsIn(viewOf(data));
    if (type === "acTL") frames = viewOf(data).getUint32(0);
    if (type === "eXIf") exif = orientationInTiff(data);
    if (type === "iTXt") xmp ??= orientationInXmp(new TextDecoder().decode(data));
  }
  if (!pixels) throw new ImageError("truncated");
  return { ...pixels, frames, orientation: exif ?? xmp ?? 1 };
}

function pixelsIn(header: DataView): Pixels {
  return {
    width: header.getUint32(0),
    height: header.getUint32(4),
    bits: header.getUint8(8) * (CHANNELS[header.getUint8(9)] ?? 1),
    isInterlaced: header.getUint8(12) !== 0,
  };
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** Maximum of the inflated rows. Each begins with the number of its filter; interlaced, a row is up to eight. */
function bytesOf({ width, height, bits, isInterlaced }: Pixels): number {
  return height * (1 + Math.ceil((width * bits) / 8)) + (isInterlaced ? 7 * height : 0);
}

/** The decoder inflates whatever the file holds, however small the picture is. */
function refuseInflated(content: Uint8Array, expected: number): void {
  let length = 0;
  const stream = new Unzlib((piece) => {
    length += piece.length;
    if (length > expected + SURPLUS) throw new ImageError("refused, inflates to more than its picture");
  });
  for (const { type, data } of chunksOf(content)) if (type === "IDAT") pushInPieces(stream, data, false);
}

/** Without the colour profile, which the decoder would inflate, and nothing here applies. */
function withoutProfile(content: Uint8Array): Uint8Array {
  const copy = new Uint8Array(content.length);
  copy.set(SIGNATURE);
  let length = SIGNATURE.length;
  for (const { type, whole } of chunksOf(content)) {
    if (type === "iCCP") continue;
    copy.set(whole, length);
    length += whole.length;
  }
  return copy.subarray(0, length);
}

function greyOf(image: DecodedPng): Uint8Array {
  const { width, height, channels, depth, palette } = image;
  if (palette) {
    const greys = palette.map(([red, green, blue]) => luma(red, green, blue));
    return unpacked(image).map((index) => greys[index] ?? 0);
  }
  if (channels === 1) return depth === 16 ? stretched(image.data) : scaled(image);
  const samples = image.data;
  const pixels = new Uint8Array(width * height);
  for (let index = 0, at = 0; index < pixels.length; index++, at += channels) {
    pixels[index] = channels === 2 ? samples[at] : luma(samples[at], samples[at + 1], samples[at + 2]);
  }
  return pixels;
}

function coloursOf(image: DecodedPng): Uint8Array | undefined {
  const { width, height, channels, palette } = image;
  if (palette) {
    const indices = unpacked(image);
    return gridOf(width, height, (index) => palette[indices[index]] ?? [0, 0, 0]);
  }
  if (channels < 3) return undefined;
  const samples = image.data as Uint8Array;
  return gridOf(width, height, (index) => samples.subarray(index * channels, index * channels + 3));
}

/** Plain grey of 1, 2, 4 or 8 bits onto 0..255. */
function scaled(image: DecodedPng): Uint8Array {
  const factor = 255 / (2 ** image.depth - 1);
  return factor === 1 ? (image.data as Uint8Array) : unpacked(image).map((value) => value * factor);
}

/** One value a byte, of values of 1, 2, 4 or 8 bits whose rows begin at whole bytes. */
function unpacked(image: DecodedPng): Uint8Array {
  const { width, height, depth } = image;
  const data = image.data as Uint8Array;
  if (depth === 8) return data;
  const values = new Uint8Array(width * height);
  const rowBytes = Math.ceil((width * depth) / 8);
  const mask = 2 ** depth - 1;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const bit = column * depth;
      const byte = data[row * rowBytes + (bit >> 3)];
      values[row * width + column] = (byte >> (8 - depth - (bit & 7))) & mask;
    }
  }
  return values;
}
