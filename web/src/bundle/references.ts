/** The reference inputs of a bundle: `reference.npz`, a zip of one array in NumPy's format. */

import { unzipSync } from "fflate";

const DIFFERENCES = "differences.npy";
const PLAIN = "images.npy";
const MAX_IMAGES = 1000;

/** The images in order, `size` x `size` grey values each. Throws Error for a file that holds something else. */
export function readReferences(content: Uint8Array, size: number): Uint8Array[] {
  const files = unzipSync(content, { filter: ({ name }) => name === DIFFERENCES || name === PLAIN });
  const differences = files[DIFFERENCES];
  const values = arrayIn(differences ?? files[PLAIN], size);
  const pixels = size * size;
  return Array.from({ length: values.length / pixels }, (_, index) => {
    const image = values.slice(index * pixels, (index + 1) * pixels);
    // A row is stored as differences between neighbours, which wrap around.
    for (let at = 1; differences && at < pixels; at++) {
      if (at % size !== 0) image[at] += image[at - 1];
    }
    return image;
  });
}

/** The values of a .npy file with uint8 `[M, size, size, 1]`, row by row. */
function arrayIn(file: Uint8Array | undefined, size: number): Uint8Array {
  const magic = file && String.fromCharCode(...file.subarray(1, 6));
  if (!file || magic !== "NUMPY" || file[6] !== 1) throw new Error("reference.npz holds no reference inputs");
  const headerLength = file[8] | (file[9] << 8);
  const header = new TextDecoder("latin1").decode(file.subarray(10, 10 + headerLength));
  const match = /^\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d+), (\d+), (\d+), 1\)/.exec(header);
  const [images, height, width] = match ? match.slice(1).map(Number) : [0, 0, 0];
  const data = file.subarray(10 + headerLength);
  if (height !== size || width !== size || images > MAX_IMAGES || data.length !== images * size * size) {
    throw new Error(`reference.npz holds ${header.trim()}, not images of ${size} px`);
  }
  return data;
}
