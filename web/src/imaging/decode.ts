/** From a file to the pixels that a model takes: `cxr_edge.imaging.decode` in the browser. */

import { resizeBilinear } from "../../../examples/nodejs/resize.mjs";
import { readDicom } from "./dicom.ts";
import { isDicom } from "./dicom_tags.ts";
import { isJpeg, readJpeg, type JpegDecoder } from "./jpeg.ts";
import { ImageError, MIN_SIDE, roundHalfEven, type Grey, type Picture } from "./picture.ts";
import { isPng, readPng } from "./png.ts";

/** How a model wants pictures: stretched to a square, or fitted into one, centred on black. */
export type Resize = "stretch" | "pad";

const MAX_BYTES = 256 * 2 ** 20;
/** Formats that this page does not read, by their first bytes. */
const OTHERS: [string, string][] = [
  ["BM", "a BMP file"],
  ["II*\0", "a TIFF file"],
  ["MM\0*", "a TIFF file"],
  ["GIF8", "a GIF file"],
  ["%PDF", "a PDF file"],
  ["\0\0\0\x0cjP  ", "a JPEG 2000 file"],
];

/** Raises ImageError for what cannot be decoded here. */
export async function decodePicture(content: Uint8Array, jpeg: Promise<JpegDecoder>): Promise<Picture> {
  if (content.length === 0) throw new ImageError("empty");
  if (content.length > MAX_BYTES) throw new ImageError(`refused, ${content.length >> 20} MiB are too much for an X-ray`);
  let picture: Picture;
  try {
    picture = await readerOf(content)(content, jpeg);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(`cannot be decoded (${error instanceof Error ? error.message : String(error)})`);
  }
  const { width, height } = picture.grey;
  if (Math.min(width, height) < MIN_SIDE) {
    throw new ImageError(`refused, ${width} x ${height} pixels are too few for an X-ray`);
  }
  return picture;
}

type Reader = (content: Uint8Array, jpeg: Promise<JpegDecoder>) => Picture | Promise<Picture>;

function readerOf(content: Uint8Array): Reader {
  if (isDicom(content)) return readDicom;
  if (isPng(content)) return readPng;
  if (isJpeg(content)) return readJpeg;
  const head = String.fromCharCode(...content.subarray(0, 12));
  const kind = head.startsWith("RIFF") && head.endsWith("WEBP") ? "a WebP file" : OTHERS.find(([start]) => head.startsWith(start))?.[1];
  if (kind) throw new ImageError(`${kind}; this page reads PNG, JPEG and DICOM`);
  throw new ImageError("not an image that this page reads: PNG, JPEG or DICOM");
}

/** Brought to `size` x `size` as Pillow does. */
export function resized(grey: Grey, size: number, resize: Resize): Uint8Array {
  const { width, height, pixels } = grey;
  if (resize === "stretch" || width === height) return resizeBilinear(pixels, width, height, size);
  // As ImageOps.pad: the longer side fills the square.
  const [across, down] =
    width > height
      ? [size, roundHalfEven((height / width) * size)]
      : [roundHalfEven((width / height) * size), size];
  const inner = resizeBilinear(pixels, width, height, across, down);
  const left = roundHalfEven((size - across) * 0.5);
  const top = roundHalfEven((size - down) * 0.5);
  const square = new Uint8Array(size * size);
  for (let row = 0; row < down; row++) {
    square.set(inner.subarray(row * across, (row + 1) * across), (top + row) * size + left);
  }
  return square;
}
