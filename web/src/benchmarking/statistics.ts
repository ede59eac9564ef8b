/** Percentiles, ratios and their intervals, as in `cxr-edge bench`. */

/** By linear interpolation, as NumPy does. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

const RESAMPLES = 1000;
/** With fewer rounds, an interval would be too narrow. */
const MIN_ROUNDS = 5;

/** Numbers in 0..1 that are the same each time (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** 95 % bootstrap interval of the median of the rounds' ratios; null for too few rounds. */
export function ratioInterval(ours: readonly number[], theirs: readonly number[]): [number, number] | null {
  if (ours.length < MIN_ROUNDS) return null;
  const ratios = ours.map((value, index) => value / theirs[index]);
  const random = seeded(0);
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(ratios.map(() => ratios[Math.floor(random() * ratios.length)])),
  );
  return [percentile(medians, 0.025), percentile(medians, 0.975)];
}
