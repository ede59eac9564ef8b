/**
 * Pillow's antialiased bilinear resize of 8-bit grey pixels, bit for bit: an artifact was trained on these pixels.
 *
 * A triangle filter, widened by the scale when it shrinks, with weights in fixed point, along one axis and then along
 * the other, rounded to 8 bits in between. Pillow 13 takes columns first where the image shrinks much more in height
 * than in width; Pillow 12 does not, which makes a difference of about one grey level.
 */

/** 8 bits of a pixel and 2 of headroom leave 22 of 32 for the fraction of a weight. */
const FRACTION_BITS = 32 - 8 - 2;

/** For each output position the first input position and the weights, integers, of it and those that follow. */
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

function resizeRows(pixels, width, height, size) {
  return width === size
    ? pixels
    : resizeAxis(pixels, height, width, size, { step: 1, across: width }, { step: 1, across: size });
}

function resizeColumns(pixels, width, height, size) {
  const along = { step: width, across: 1 };
  return height === size ? pixels : resizeAxis(pixels, width, height, size, along, along);
}

/**
 * Resize grey pixels to `size` x `size` as Pillow's `resize((size, size), BILINEAR)` does.
 *
 * @param {Uint8Array} pixels row by row
 * @param {number} width
 * @param {number} height
 * @param {number} size
 * @returns {Uint8Array}
 */
export function resizeBilinear(pixels, width, height, size) {
  if (height > size && height - size > 2 * (width - size)) {
    return resizeRows(resizeColumns(pixels, width, height, size), width, size, size);
  }
  return resizeColumns(resizeRows(pixels, width, height, size), size, height, size);
}
