/**
 * Pillow's antialiased bilinear resize of 8-bit grey pixels, bit for bit: an artifact was trained on these pixels.
 *
 * A triangle filter, widened by the scale when it shrinks, with weights in fixed point, along one axis and then along
 * the other, rounded to 8 bits in between. Pillow 13 takes columns first where the image shrinks much more in height
 * than in width; Pillow 12 does not, which makes a difference of about one grey level.
 */

/** 8 bits of a pixel and 2 of headroom leave 22 of 32 for the fraction of a weight. */
const FRACTION_BITS = 32 - 8 - 2;

/**
 * For each output position the first input position and the weights, integers, of it and those that follow.
 *
 * @param {number} inputSize
 * @param {number} outputSize
 */
function weightsAlong(inputSize, outputSize) {
  const scale = inputSize / outputSize;
  const support = Math.max(scale, 1);
  return Array.from({ length: outputSize }, (_, position) => {
    const center = (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inputSize, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let at = first; at < end; at++) {
      weights.push(Math.max(0, 1 - Math.abs((at - center + 0.5) * (1 / support))));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / sum) * 2 ** FRACTION_BITS)) };
  });
}

/**
 * Resize one axis. In `input` and `output`, `step` leads from a pixel to the next along the axis, `across` from a line
 * of pixels to the next line.
 *
 * @param {Uint8Array} pixels
 * @param {number} lines
 * @param {number} inputSize
 * @param {number} outputSize
 * @param {{step: number, across: number}} input
 * @param {{step: number, across: number}} output
 */
function resizeAxis(pixels, lines, inputSize, outputSize, input, output) {
  const plan = weightsAlong(inputSize, outputSize);
  const resized = new Uint8Array(lines * outputSize);
  for (let line = 0; line < lines; line++) {
    for (let position = 0; position < outputSize; position++) {
      const { first, weights } = plan[position];
      let sum = 1 << (FRACTION_BITS - 1);
      for (let index = 0; index < weights.length; index++) {
        sum += weights[index] * pixels[line * input.across + (first + index) * input.step];
      }
      resized[line * output.across + position * output.step] = Math.min(255, sum >> FRACTION_BITS);
    }
  }
  return resized;
}

/** @type {(pixels: Uint8Array, width: number, height: number, outWidth: number) => Uint8Array} */
function resizeRows(pixels, width, height, outWidth) {
  return width === outWidth
    ? pixels
    : resizeAxis(pixels, height, width, outWidth, { step: 1, across: width }, { step: 1, across: outWidth });
}

/** @type {(pixels: Uint8Array, width: number, height: number, outHeight: number) => Uint8Array} */
function resizeColumns(pixels, width, height, outHeight) {
  const along = { step: width, across: 1 };
  return height === outHeight ? pixels : resizeAxis(pixels, width, height, outHeight, along, along);
}

/**
 * Resize grey pixels as Pillow's `resize((outWidth, outHeight), BILINEAR)` does; to a square where one side is named.
 *
 * @param {Uint8Array} pixels row by row
 * @param {number} width
 * @param {number} height
 * @param {number} outWidth
 * @param {number} [outHeight]
 * @returns {Uint8Array}
 */
export function resizeBilinear(pixels, width, height, outWidth, outHeight = outWidth) {
  if (height > outHeight && height - outHeight > 2 * (width - outWidth)) {
    return resizeRows(resizeColumns(pixels, width, height, outHeight), width, outHeight, outWidth);
  }
  return resizeColumns(resizeRows(pixels, width, height, outWidth), outWidth, height, outHeight);
}
