/** Inflating files of unknown origin, in which 1 byte can stand for 1,000. */

import type { Inflate, Unzlib } from "fflate";

/** Maximum that is inflated at once, in bytes of the file: fflate calls back only after the whole of it. */
const PIECE = 1 << 14;

/** Pushes bytes piece by piece, so that a callback that throws ends the inflating early. `isLast`: nothing follows. */
export function pushInPieces(stream: Inflate | Unzlib, content: Uint8Array, isLast: boolean): void {
  for (let at = 0; at < content.length; at += PIECE) {
    stream.push(content.subarray(at, at + PIECE), isLast && at + PIECE >= content.length);
  }
}
