/** What the page reads from a bundle: `manifest.json`, and `page.json`, which `cxr-edge web` writes beside it. */

import type { Resize } from "../imaging/decode.ts";
import type { OperatingPoint } from "./operating.ts";

/** The parts of `manifest.json` that the page uses; docs/schemas describes all of it. */
interface Manifest {
  notice: string;
  shared: {
    labels: string[];
    contract: { input: { shape: (number | string)[] }; heatmap: { shape: (number | string)[] } | null };
    imaging: { resize: string };
    training: { data: "phantoms" | "images" };
    reference_sha256: string | null;
  };
  artifacts: ManifestEntry[];
}

interface ManifestEntry {
  file: string;
  sha256: string;
  bytes: number;
  quantization: string;
  operating_point: OperatingPoint | null;
  parity: { accuracy: number; agreement: number; verdict: string } | null;
  reference_outputs: { runtime: string; probabilities: number[][] } | null;
}

/** What `cxr-edge web` knows and the manifest does not say. */
interface Page {
  schema: number;
  cxr_edge: string;
  /** Identifies the content of the folder. */
  version: string;
  models: { file: string; is_integer: boolean; tolerance: number; warnings: string[] }[];
  /** Phantoms to try the page with. */
  examples: string[];
}

/** A model of the bundle, with all that its answers depend on. */
export interface Model {
  file: string;
  sha256: string;
  bytes: number;
  quantization: string;
  /** Whether it computes in integers. */
  isInteger: boolean;
  labels: string[];
  /** S: it takes S x S grey values. */
  size: number;
  resize: Resize;
  /** Height and width of its heat map. */
  heatmap: [number, number] | null;
  operatingPoint: OperatingPoint | null;
  accuracy: number | null;
  agreement: number | null;
  verdict: string | null;
  /** Largest difference of a probability between two runtimes that compute the same file. */
  tolerance: number;
  /** Warnings about every answer, a line each. */
  warnings: string[];
  reference: { sha256: string; runtime: string; probabilities: number[][] } | null;
}

/** What the page shows and computes with. */
export interface Bundle {
  cxrEdge: string;
  notice: string;
  trainedOn: "phantoms" | "images";
  /** The first is the one to answer with. */
  models: Model[];
  examples: string[];
}

const SCHEMA = 1;

/** Every schema of `page.json` has a version, so that a page can tell that it is outdated. */
export async function versionOfFolder(): Promise<string> {
  return (await json<Pick<Page, "version">>("page.json")).version;
}

/** Raises Error for a folder that `cxr-edge web` did not write, or one of a later version. */
export async function readBundle(): Promise<Bundle> {
  const [page, manifest] = await Promise.all([json<Page>("page.json"), json<Manifest>("model/manifest.json")]);
  if (page.schema !== SCHEMA) throw new Error(`page.json has schema ${page.schema}: write the folder again with cxr-edge web`);
  return {
    cxrEdge: page.cxr_edge,
    notice: manifest.notice,
    trainedOn: manifest.shared.training.data,
    models: page.models.map((model) => modelOf(model, manifest)),
    examples: page.examples,
  };
}

async function json<T>(path: string): Promise<T> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return (await response.json()) as T;
}

function modelOf(model: Page["models"][number], { shared, artifacts }: Manifest): Model {
  const entry = artifacts.find(({ file }) => file === model.file);
  if (!entry) throw new Error(`${model.file}: not in manifest.json; write the folder again with cxr-edge web`);
  const { contract, reference_sha256: sha256 } = shared;
  const outputs = entry.reference_outputs;
  return {
    file: entry.file,
    sha256: entry.sha256,
    bytes: entry.bytes,
    quantization: entry.quantization,
    isInteger: model.is_integer,
    labels: shared.labels,
    size: Number(contract.input.shape[1]),
    resize: shared.imaging.resize === "pad" ? "pad" : "stretch",
    heatmap: contract.heatmap ? [Number(contract.heatmap.shape[1]), Number(contract.heatmap.shape[2])] : null,
    operatingPoint: entry.operating_point,
    accuracy: entry.parity?.accuracy ?? null,
    agreement: entry.parity?.agreement ?? null,
    verdict: entry.parity?.verdict ?? null,
    tolerance: model.tolerance,
    warnings: model.warnings,
    reference: outputs && sha256 ? { sha256, runtime: outputs.runtime, probabilities: outputs.probabilities } : null,
  };
}
