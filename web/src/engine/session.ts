/** A model on a back end, with ONNX Runtime Web. For a worker, which initializes one back end, once. */

import type { InferenceSession, Tensor } from "onnxruntime-common";
import type { Model } from "../bundle/manifest.ts";
import { titleOf, type Backend } from "./backend.ts";

/** The exports of ONNX Runtime Web; `ort/` has a build for each kind of back end. */
interface Runtime {
  InferenceSession: typeof InferenceSession;
  Tensor: typeof Tensor;
  env: {
    versions: { web?: string };
    wasm: { numThreads?: number; wasmPaths?: string; proxy?: boolean };
    logLevel?: string;
  };
}

const BUILDS = { wasm: "ort/ort.wasm.min.mjs", webgpu: "ort/ort.webgpu.min.mjs" };

export interface Outputs {
  probabilities: number[];
  /** `[H, W, K]`, if the model has one and it was requested. */
  heatmap: Float32Array | null;
  /** Duration of the inference. */
  ms: number;
}

export class Session {
  private constructor(
    private readonly runtime: Runtime,
    private readonly session: InferenceSession,
    private readonly model: Model,
    /** The hardware or back end, as the browser reports it. */
    readonly ranOn: string,
    /** Version of ONNX Runtime Web. */
    readonly version: string,
  ) {}

  /** Throws Error if the back end cannot be initialized, or would leave a part of the model to another one. */
  static async open(model: Model, content: Uint8Array, backend: Backend): Promise<Session> {
    const runtime = (await import(new URL(BUILDS[backend.kind], self.location.href).href)) as Runtime;
    runtime.env.wasm.numThreads = backend.threads;
    runtime.env.wasm.wasmPaths = new URL("ort/", self.location.href).href;
    runtime.env.logLevel = "error";
    const ranOn = backend.kind === "webgpu" ? await adapterName() : titleOf(backend);
    const session = await runtime.InferenceSession.create(content, {
      executionProviders: [backend.kind],
      graphOptimizationLevel: "all",
      // Otherwise ONNX Runtime would silently give the CPU what WebGPU cannot compute.
      extra: { session: { disable_cpu_ep_fallback: backend.kind === "wasm" ? "0" : "1" } },
    });
    return new Session(runtime, session, model, ranOn, runtime.env.versions.web ?? "unknown");
  }

  /** One picture, `size` x `size` grey values. */
  async run(pixels: Uint8Array, withHeatmap: boolean): Promise<Outputs> {
    const { size, heatmap } = this.model;
    const image = new this.runtime.Tensor("uint8", pixels, [1, size, size, 1]);
    const names = withHeatmap && heatmap ? ["probabilities", "heatmap"] : ["probabilities"];
    const start = performance.now();
    const outputs = await this.session.run({ image }, names);
    const ms = performance.now() - start;
    const probabilities = Array.from(outputs.probabilities.data as Float32Array);
    if (!probabilities.every((value) => value >= 0 && value <= 1)) throw new Error("the model's answers are not probabilities");
    return { probabilities, heatmap: (outputs.heatmap?.data as Float32Array | undefined)?.slice() ?? null, ms };
  }
}

interface AdapterInfo {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
}

/** The name of WebGPU's adapter; a software adapter is marked as such. */
async function adapterName(): Promise<string> {
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<{ info: AdapterInfo } | null> } }).gpu;
  const adapter = await gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser has no WebGPU adapter");
  const { vendor, architecture, device, description } = adapter.info;
  const name = [description || vendor, architecture, device].filter(Boolean).join(" ") || "unnamed adapter";
  return `WebGPU on ${name}${/swiftshader|llvmpipe|basic render/i.test(name) ? " (software, no GPU)" : ""}`;
}
