/** The output of every decoder, and how values become grey: exactly the rule of `cxr_edge.imaging`. */

/** 8-bit grey, row by row, at the file's own size. */
export interface Grey {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/** A decoded file. */
export interface Picture {
  grey: Grey;
  /** RGB of a grid of pixels, for a colour file that is not a DICOM file. */
  colours?: Uint8Array;
  /** Tags of a DICOM file about the picture; none of them identifies the patient. */
  facts?: Record<string, string | null>;
}

/** A file that cannot be decoded, or cannot be a chest X-ray. The message does not name the file. */
export class ImageError extends Error {}

/** More than four times the pixels of the largest detector; a larger file is taken for a decompression bomb. */
export const MAX_PIXELS = 80_000_000;
/** Minimum side: a smaller X-ray shows nothing. */
export const MIN_SIDE = 32;
/** Side of the grid of pixels whose colour is looked at. */
const GRID = 64;

/** Raises ImageError for a picture that would take too much memory to decode. */
export function refuseBombs(width: number, height: number): void {
  if (width * height > MAX_PIXELS) {
    throw new ImageError(`refused, ${width} x ${height} pixels look like a decompression bomb`);
  }
}

/** ITU-R 601-2 luma in Pillow's fixed point. */
export function luma(red: number, green: number, blue: number): number {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

/** To the nearest integer, halves to the even one, as NumPy rounds. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Deep grey from its own minimum..maximum to 0..255. */
export function stretched(values: ArrayLike<number>): Uint8Array {
  let low = Infinity;
  let high = -Infinity;
  for (let index = 0; index < values.length; index++) {
    low = Math.min(low, values[index]);
    high = Math.max(high, values[index]);
  }
  const scale = high > low ? 255 / (high - low) : 0;
  return Uint8Array.from(values, (value) => roundHalfEven((value - low) * scale));
}

/** RGB of the pixels that Pillow's nearest-neighbour resize to a small grid takes. */
export function gridOf(width: number, height: number, rgbAt: (index: number) => ArrayLike<number>): Uint8Array {
  const colours = new Uint8Array(3 * GRID * GRID);
  for (let row = 0; row < GRID; row++) {
    const y = Math.floor(((row + 0.5) * height) / GRID);
    for (let column = 0; column < GRID; column++) {
      const x = Math.floor(((column + 0.5) * width) / GRID);
      const rgb = rgbAt(y * width + x);
      colours.set([rgb[0], rgb[1], rgb[2]], 3 * (row * GRID + column));
    }
  }
  return colours;
}

/** Turned as EXIF's orientation, 1 to 8, says. */
export function turned(grey: Grey, orientation: number): Grey {
  if (orientation < 2 || orientation > 8) return grey;
  const { width, height, pixels } = grey;
  const swapped = orientation >= 5;
  const [outWidth, outHeight] = swapped ? [height, width] : [width, height];
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const out = new Uint8Array(pixels.length);
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      const [column, row] = swapped ? [y, x] : [x, y];
      const from = (fromBottom ? height - 1 - row : row) * width + (fromRight ? width - 1 - column : column);
      out[y * outWidth + x] = pixels[from];
    }
  }
  return { width: outWidth, height: outHeight, pixels: out };
}
