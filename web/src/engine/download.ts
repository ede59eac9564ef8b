/** Downloads a file of this folder and checks its size and hash. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

/** Called with the number of bytes received so far. */
export type OnBytes = (loaded: number) => void;

/**
 * Throws Error for a file with another SHA-256 or size.
 *
 * It does not use crypto.subtle, which needs a secure page: a hospital's own server may not use HTTPS.
 */
export async function download(path: string, hash: string, bytes?: number, onBytes?: OnBytes): Promise<Uint8Array> {
  const response = await fetch(path);
  if (!response.ok || !response.body) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  const chunks: Uint8Array[] = [];
  const digest = sha256.create();
  let loaded = 0;
  const reader = response.body.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    loaded += read.value.length;
    if (bytes !== undefined && loaded > bytes) break;
    digest.update(read.value);
    chunks.push(read.value);
    onBytes?.(loaded);
  }
  if (bytesToHex(digest.digest()) !== hash || (bytes !== undefined && loaded !== bytes)) {
    throw new Error(`${path}: refused, not the file that manifest.json describes (its SHA-256 differs); copy the folder again`);
  }
  const whole = new Uint8Array(loaded);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
