/** The evidence for a class at each place of a picture: `cxr_edge.prediction.overlay.evidence`. */

import type { Resize } from "./decode.ts";

/** One class of a heat map, row by row. */
export interface HeatMap {
  width: number;
  height: number;
  values: ArrayLike<number>;
}

/** Pillow's bicubic filter. */
function bicubic(distance: number): number {
  const x = Math.abs(distance);
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

interface Taps {
  first: number;
  weights: number[];
}

/** The inputs and weights of each output position, for the range `from`..`to` of one axis. */
function tapsAlong(inputSize: number, from: number, to: number, outputSize: number): Taps[] {
  const scale = (to - from) / outputSize;
  const filterScale = Math.max(scale, 1);
  const support = 2 * filterScale;
  return Array.from({ length: outputSize }, (_, position) => {
    const center = from + (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inputSize, Math.trunc(center + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, index) => bicubic((first + index - center + 0.5) / filterScale));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** Evidence as a share of its maximum, row by row at the given size; evidence against the class is 0. */
export function evidence(map: HeatMap, size: { width: number; height: number }, resize: Resize): Float32Array {
  const values = new Float32Array(size.width * size.height);
  // Bicubic interpolation overshoots: a steep map that is negative everywhere would become positive.
  if (!Array.from(map.values).some((value) => value > 0)) return values;
  const longer = Math.max(size.width, size.height);
  // The share of the square, from the left and from the top, that is black before the picture begins.
  const [left, top] = [size.width, size.height].map((side) => (resize === "pad" ? (1 - side / longer) / 2 : 0));
  const across = tapsAlong(map.width, left * map.width, (1 - left) * map.width, size.width);
  const down = tapsAlong(map.height, top * map.height, (1 - top) * map.height, size.height);
  const rows = Array.from({ length: map.height }, (_, row) =>
    Float32Array.from(across, ({ first, weights }) =>
      weights.reduce((sum, weight, index) => sum + weight * map.values[row * map.width + first + index], 0),
    ),
  );
  let strongest = 0;
  down.forEach(({ first, weights }, y) => {
    for (let x = 0; x < size.width; x++) {
      const value = weights.reduce((sum, weight, index) => sum + weight * rows[first + index][x], 0);
      values[y * size.width + x] = Math.max(0, value);
      strongest = Math.max(strongest, value);
    }
  });
  return strongest > 0 ? values.map((value) => value / strongest) : values;
}

/** 0 up to the average, 1 at the strongest: a map that is strong everywhere would tint all of it. */
export function aboveAverage(values: Float32Array): Float32Array {
  const average = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (average >= 1) return new Float32Array(values.length);
  return values.map((value) => Math.max(0, value - average) / (1 - average));
}
