/** One result: the X-ray with its heat map, the decision, the probabilities. */

import type { Model } from "../bundle/manifest.ts";
import { aboveAverage, evidence } from "../imaging/evidence.ts";
import type { Grey } from "../imaging/picture.ts";
import { byId, element, percent } from "./dom.ts";
import { headline, type Answered } from "./results.ts";

/** Colour of the evidence for the class; its opacity is the amount. Colour-blind readers can tell the hue from grey. */
const COLOUR = [255, 96, 0];
const CONTOUR = [255, 225, 170];
/** Longest side of a drawn heat map: the map is coarse, and drawing it at a detector's resolution takes seconds. */
const MAX_OVERLAY = 512;

export class Viewer {
  private readonly picture = byId<HTMLCanvasElement>("picture");
  private readonly overlay = byId<HTMLCanvasElement>("overlay");
  private readonly strength = byId<HTMLInputElement>("strength");
  private readonly heatmapClass = byId<HTMLSelectElement>("heatmap-class");
  private shown: { result: Answered; model: Model } | undefined;

  constructor() {
    this.strength.addEventListener("input", () => this.fade());
    this.heatmapClass.addEventListener("change", () => this.drawHeatmap());
  }

  show(result: Answered, model: Model): void {
    this.shown = { result, model };
    byId("viewer").hidden = false;
    byId("viewer-file").textContent = result.file;
    byId("decision").textContent = headline(result);
    byId("rule").textContent = model.operatingPoint
      ? `${model.operatingPoint.description}.`
      : "The model has no decision rule: this is the most probable class.";
    byId("bars").replaceChildren(...bars(result, model));
    // Warnings about every answer are shown at the top of the page.
    const { warnings } = result.answer;
    byId("warnings").replaceChildren(...warnings.map((warning) => element("li", {}, warning)));
    byId("warnings-box").hidden = warnings.length === 0;
    byId("timing").textContent = timing(result);
    draw(this.picture, result.answer.grey);
    this.picture.setAttribute("aria-label", `X-ray ${result.file}`);
    this.offerHeatmap(result, model);
  }

  hide(): void {
    this.shown = undefined;
    byId("viewer").hidden = true;
  }

  private offerHeatmap(result: Answered, model: Model): void {
    byId("heatmap-controls").hidden = result.answer.heatmap === null;
    this.overlay.hidden = result.answer.heatmap === null;
    if (!result.answer.heatmap) return;
    this.heatmapClass.replaceChildren(...model.labels.map((label) => element("option", { value: label }, label)));
    this.heatmapClass.value = result.label;
    this.drawHeatmap();
  }

  private drawHeatmap(): void {
    if (!this.shown?.result.answer.heatmap || !this.shown.model.heatmap) return;
    const { result, model } = this.shown;
    const { grey, heatmap } = result.answer;
    const [height, width] = this.shown.model.heatmap;
    const index = model.labels.indexOf(this.heatmapClass.value);
    const values = Float32Array.from({ length: width * height }, (_, place) => heatmap![place * model.labels.length + index]);
    const scale = Math.min(1, MAX_OVERLAY / Math.max(grey.width, grey.height));
    const size = { width: Math.round(grey.width * scale), height: Math.round(grey.height * scale) };
    const shown = aboveAverage(evidence({ width, height, values }, size, model.resize));
    drawEvidence(this.overlay, shown, size);
    byId("heatmap-note").textContent = shown.some((value) => value > 0)
      ? `Colour: evidence for ${this.heatmapClass.value}, from the image's average to its maximum; the line is halfway.`
      : `No evidence for ${this.heatmapClass.value} at any place.`;
    this.fade();
  }

  private fade(): void {
    this.overlay.style.opacity = String(Number(this.strength.value) / 100);
    this.strength.setAttribute("aria-valuetext", `${this.strength.value} %`);
  }
}

function bars({ answer, label }: Answered, model: Model): HTMLElement[] {
  return model.labels.map((name, index) => {
    const share = answer.probabilities[index];
    const fill = element("span", { class: "fill" });
    fill.style.width = `${100 * share}%`;
    const bar = element("span", { class: "bar", "aria-hidden": "true" }, fill);
    const text = element("span", { class: "share" }, percent(share));
    return element("li", name === label ? { class: "top" } : {}, element("span", { class: "name" }, name), bar, text);
  });
}

function timing({ answer }: Answered): string {
  const { decodeMs, resizeMs, inferenceMs } = answer;
  const [decode, resize, inference] = [decodeMs, resizeMs, inferenceMs].map((ms) => ms.toFixed(ms < 10 ? 1 : 0));
  return `Decoded in ${decode} ms, resized in ${resize} ms, inference ${inference} ms`;
}

function draw(canvas: HTMLCanvasElement, { width, height, pixels }: Grey): void {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let index = 0; index < pixels.length; index++) {
    image.data.fill(pixels[index], 4 * index, 4 * index + 3);
    image.data[4 * index + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** Opacity by strength, and a line along its half. */
function drawEvidence(canvas: HTMLCanvasElement, shown: Float32Array, size: { width: number; height: number }): void {
  const { width, height } = size;
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const inside = (x: number, y: number): boolean =>
    shown[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))] >= 0.5;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const surrounded = inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1);
      const onLine = inside(x, y) && !surrounded;
      image.data.set([...(onLine ? CONTOUR : COLOUR), onLine ? 255 : Math.round(255 * shown[at])], 4 * at);
    }
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}
