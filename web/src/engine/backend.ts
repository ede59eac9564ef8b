/** What computes in a browser: WebAssembly, on one thread or several, or WebGPU. */

export type BackendKind = "wasm" | "webgpu";

export interface Backend {
  kind: BackendKind;
  /** Threads of WebAssembly; 1 for WebGPU. */
  threads: number;
}

/** More threads than this do not help one picture. */
const MAX_THREADS = 4;

export function titleOf({ kind, threads }: Backend): string {
  if (kind === "webgpu") return "WebGPU";
  return threads === 1 ? "WebAssembly, 1 thread" : `WebAssembly, ${threads} threads`;
}

/** The name in the record of a benchmark, in the form of `--runtime`. */
export function optionOf({ kind }: Backend): string {
  return `onnx-web:${kind}`;
}

/** The back ends of this browser, the default first; threads need a page that is isolated from other origins. */
export async function backendsHere(): Promise<Backend[]> {
  const backends: Backend[] = [{ kind: "wasm", threads: 1 }];
  const threads = Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS);
  if (globalThis.crossOriginIsolated && threads > 1) backends.unshift({ kind: "wasm", threads });
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu;
  if (gpu && (await gpu.requestAdapter())) backends.push({ kind: "webgpu", threads: 1 });
  return backends;
}
