/** JPEG, decoded by libjpeg-turbo as in Pillow: browsers' decoders differ, and a canvas may add noise. */

import createDecoders from "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs";
import { orientationInTiff, orientationInXmp } from "./orientation.ts";
import { gridOf, ImageError, luma, refuseBombs, turned, type Picture } from "./picture.ts";

/** Maximum scans of a progressive JPEG: encoders write about ten, and each costs a pass over all pixels. */
const MAX_SCANS = 100;
/** Frame headers: all markers from 0xC0 to 0xCF but three that are tables; 0xF7 is JPEG-LS's. */
const FRAMES = new Set([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf, 0xf7]);
/** Those that libjpeg-turbo decodes at 8 bits: baseline, extended and progressive, Huffman or arithmetic. */
const DECODED = new Set([0xc0, 0xc1, 0xc2, 0xc9, 0xca]);

/** What a stream's header says. */
export interface JpegHeader {
  frame: number;
  precision: number;
  width: number;
  height: number;
  components: number;
  orientation: number;
}

/** Samples of 8 bits, grey or RGB. */
export interface JpegSamples {
  width: number;
  height: number;
  components: number;
  samples: Uint8Array;
}

export function isJpeg(content: Uint8Array): boolean {
  return content[0] === 0xff && content[1] === 0xd8 && content[2] === 0xff;
}

/** Raises ImageError, or whatever the decoder raises of a damaged file. */
export async function readJpeg(content: Uint8Array, decoder: Promise<JpegDecoder>): Promise<Picture> {
  const header = readJpegHeader(content);
  refuseBombs(header.width, header.height);
  const { width, height, components, samples } = (await decoder)(content, header);
  const orientation = header.orientation;
  if (components === 1) return { grey: turned({ width, height, pixels: samples }, orientation) };
  const pixels = new Uint8Array(width * height);
  for (let index = 0, at = 0; index < pixels.length; index++, at += 3) {
    pixels[index] = luma(samples[at], samples[at + 1], samples[at + 2]);
  }
  const colours = gridOf(width, height, (index) => samples.subarray(3 * index, 3 * index + 3));
  return { grey: turned({ width, height, pixels }, orientation), colours };
}

/** Decodes a stream whose header was read. */
export type JpegDecoder = (content: Uint8Array, header: JpegHeader) => JpegSamples;

/** Loads libjpeg-turbo from the URL or the content of its WebAssembly. */
export async function loadJpegDecoder(wasm: string | Uint8Array): Promise<JpegDecoder> {
  const source = typeof wasm === "string" ? { locateFile: () => wasm } : { wasmBinary: wasm };
  const library = await createDecoders({ ...source, print: () => undefined, printErr: () => undefined });
  return (content, header) => {
    if (!DECODED.has(header.frame)) throw new ImageError("a lossless or hierarchical JPEG; save it as another format");
    if (header.precision !== 8) throw new ImageError(`a JPEG of ${header.precision} bits; save it with 8, or as PNG`);
    if (header.components === 4) throw new ImageError("a CMYK JPEG; save it as grey or RGB");
    const decoder = new library.JPEGDecoder();
    try {
      decoder.getEncodedBuffer(content.length).set(content);
      decoder.decode();
      const { width, height, componentCount } = decoder.getFrameInfo();
      // The buffer is the library's own memory.
      return { width, height, components: componentCount, samples: decoder.getDecodedBuffer().slice() };
    } catch {
      throw new ImageError("a damaged JPEG");
    } finally {
      decoder.delete();
    }
  };
}

/** Raises ImageError for a stream without a frame, or of too many scans. */
export function readJpegHeader(content: Uint8Array): JpegHeader {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  let exif: number | undefined;
  let xmp: number | undefined;
  for (let at = 2; at + 10 <= content.length && content[at] === 0xff; ) {
    const marker = content[at + 1];
    if (marker === 0xff) {
      // Fill bytes stand alone.
      at += 1;
      continue;
    }
    const length = view.getUint16(at + 2);
    const data = content.subarray(at + 4, at + 2 + length);
    if (FRAMES.has(marker)) {
      refuseScans(content);
      return {
        frame: marker,
        precision: content[at + 4],
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        components: content[at + 9],
        orientation: exif ?? xmp ?? 1,
      };
    }
    if (marker === 0xe1 && beginsWith(data, "Exif\0\0")) exif ??= orientationInTiff(data.subarray(6));
    if (marker === 0xe1 && beginsWith(data, "http://ns.adobe.com/xap/1.0/\0")) {
      xmp ??= orientationInXmp(new TextDecoder("latin1").decode(data));
    }
    at += 2 + length;
  }
  throw new ImageError("a damaged JPEG: it has no frame");
}

function beginsWith(data: Uint8Array, text: string): boolean {
  return [...text].every((character, index) => data[index] === character.charCodeAt(0));
}

function refuseScans(content: Uint8Array): void {
  let scans = 0;
  // 0xFF is always a marker there, and 0xDA begins a scan.
  for (let at = content.indexOf(0xff); at >= 0; at = content.indexOf(0xff, at + 1)) {
    scans += content[at + 1] === 0xda ? 1 : 0;
  }
  if (scans > MAX_SCANS) {
    throw new ImageError(`refused, a JPEG of more than ${MAX_SCANS} scans looks like a decompression bomb`);
  }
}
