/** Whether a picture can be a chest X-ray at all: the rule of `cxr_edge.imaging.plausibility`. */

import { otherModality, warningsAbout, type Facts } from "./dicom_tags.ts";
import { ImageError, type Picture } from "./picture.ts";

const MIN_RANGE = 32;
const DOUBTED_ASPECT = 1.75;
const MAX_ASPECT = 3;
const MAX_SATURATED = 0.6;
const BLACK = 2;
const WHITE = 253;
const COLOURED = 32;
const COLOURED_SHARE = 0.1;
const OFF_COLOUR = 24;
const OFF_COLOUR_SHARE = 0.08;
/** Number of groups of pixels of similar brightness. */
const BRIGHTNESSES = 16;

/** Doubts about a picture, a line each. Throws ImageError for what cannot be a chest X-ray. */
export function examine(picture: Picture): string[] {
  const fromPixels = [...fromShape(picture), ...fromGreys(picture), ...fromColours(picture)];
  if (!picture.facts) return fromPixels;
  const facts = picture.facts as Facts;
  const other = otherModality(facts);
  if (other) throw new ImageError(`refused, ${other}`);
  return [...warningsAbout(facts), ...fromPixels];
}

function fromShape({ grey: { width, height } }: Picture): string[] {
  const aspect = Math.max(width, height) / Math.min(width, height);
  if (aspect > MAX_ASPECT) throw new ImageError(`refused, ${width} x ${height} pixels are not the shape of a chest X-ray`);
  if (aspect <= DOUBTED_ASPECT) return [];
  return [`an unusual shape for a chest X-ray (one side is ${aspect.toFixed(1)} times the other)`];
}

function fromGreys({ grey: { pixels } }: Picture): string[] {
  const counts = new Array<number>(256).fill(0);
  for (const value of pixels) counts[value]++;
  const shares = counts.map((count) => count / pixels.length);
  const [low, high] = [0.01, 0.99].map((share) => {
    let sum = 0;
    return shares.findIndex((count) => (sum += count) >= share);
  });
  if (high - low < MIN_RANGE) {
    throw new ImageError(`refused, all of it is about one grey (from ${low} to ${high} of 255)`);
  }
  const saturated = shares.reduce((sum, share, value) => (value <= BLACK || value >= WHITE ? sum + share : sum), 0);
  if (saturated <= MAX_SATURATED) return [];
  return [`mostly black and white (${(100 * saturated).toFixed(0)} % of the pixels): over- or underexposed`];
}

function fromColours({ colours }: Picture): string[] {
  if (!colours || !isColoured(colours)) return [];
  if (hasManyColours(colours)) throw new ImageError("refused, a picture of many colours; an X-ray is grey");
  return ["in colour, though an X-ray is grey: a photograph of a film?"];
}

function isColoured(colours: Uint8Array): boolean {
  let coloured = 0;
  for (let at = 0; at < colours.length; at += 3) {
    const rgb = colours.subarray(at, at + 3);
    coloured += Math.max(...rgb) - Math.min(...rgb) > COLOURED ? 1 : 0;
  }
  return coloured / (colours.length / 3) > COLOURED_SHARE;
}

/** Whether pixels that are about as bright as each other differ in colour. */
function hasManyColours(colours: Uint8Array): boolean {
  const pixels = Array.from({ length: colours.length / 3 }, (_, index) => {
    const [red, green, blue] = colours.subarray(3 * index, 3 * index + 3);
    return { brightness: 0.299 * red + 0.587 * green + 0.114 * blue, tint: [red - green, blue - green] };
  });
  pixels.sort((one, other) => one.brightness - other.brightness);
  let off = 0;
  const size = pixels.length / BRIGHTNESSES;
  for (let start = 0; start < pixels.length; start += size) {
    const tints = pixels.slice(start, start + size).map(({ tint }) => tint);
    const usual = [0, 1].map((channel) => median(tints.map((tint) => tint[channel])));
    off += tints.filter((tint) => tint.some((value, channel) => Math.abs(value - usual[channel]) > OFF_COLOUR)).length;
  }
  return off / pixels.length > OFF_COLOUR_SHARE;
}

function median(values: number[]): number {
  const sorted = values.sort((one, other) => one - other);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
