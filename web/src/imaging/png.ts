/** PNG files. Pixels do not come from a canvas: it has 8 bits, applies colour profiles, and some browsers add noise. */

import { decode, type DecodedPng } from "fast-png";
import { orientationInTiff, orientationInXmp } from "./orientation.ts";
import { gridOf, ImageError, luma, refuseBombs, stretched, turned, type Picture } from "./picture.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

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
  const image = decode(content, { checkCrc: true });
  const samples = image.width * image.height * image.channels;
  if (image.depth >= 8 && image.data.length < samples) throw new ImageError("truncated");
  const grey = { width: image.width, height: image.height, pixels: greyOf(image) };
  return { grey: turned(grey, header.orientation), colours: coloursOf(image) };
}

interface Header {
  width: number;
  height: number;
  frames: number;
  orientation: number;
}

/** From the chunks: size, number of frames (APNG), EXIF's orientation. */
function readHeader(content: Uint8Array): Header {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const header: Header = { width: view.getUint32(16), height: view.getUint32(20), frames: 1, orientation: 1 };
  let exif: number | undefined;
  let xmp: number | undefined;
  for (let at = 8; at + 8 <= content.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...content.subarray(at + 4, at + 8));
    const data = content.subarray(at + 8, at + 8 + length);
    if (type === "acTL") header.frames = view.getUint32(at + 8);
    if (type === "eXIf") exif = orientationInTiff(data);
    if (type === "iTXt") xmp ??= orientationInXmp(new TextDecoder().decode(data));
    at += 12 + length;
  }
  header.orientation = exif ?? xmp ?? 1;
  return header;
}

function greyOf(image: DecodedPng): Uint8Array {
  const { width, height, channels, depth, palette } = image;
  if (palette) {
    const greys = palette.map(([red, green, blue]) => luma(red, green, blue));
    return unpacked(image).map((index) => greys[index] ?? 0);
  }
  if (channels === 1) return depth === 16 ? stretched(image.data) : scaled(image);
  const samples = eightBits(image);
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
  const samples = eightBits(image);
  return gridOf(width, height, (index) => samples.subarray(index * channels, index * channels + 3));
}

/** Samples of 8 bits; of 16, the higher byte, as Pillow takes them in all but plain grey. */
function eightBits(image: DecodedPng): Uint8Array {
  if (image.depth === 8) return image.data as Uint8Array;
  return Uint8Array.from(image.data, (value) => value >> 8);
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
