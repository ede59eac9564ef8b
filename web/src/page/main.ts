/** The page as a whole: what happens when it loads, and when files come in. */

import type { FileTime, Files } from "../benchmarking/record.ts";
import { modelFor } from "../benchmarking/measure.ts";
import { readBundle, versionOfFolder, type Bundle } from "../bundle/manifest.ts";
import { backendsHere, titleOf, type Backend } from "../engine/backend.ts";
import { Engine } from "../engine/engine.ts";
import type { Opened } from "../engine/messages.ts";
import { offerBenchmark } from "./benchmark.ts";
import { byId, element, percent } from "./dom.ts";
import { resultsCsv, resultsJson, save, type Answering } from "./exports.ts";
import { takeFiles } from "./intake.ts";
import { keepForOffline, reloadToBeIsolated } from "./offline.ts";
import { answered, headline, isAnswered, type Result } from "./results.ts";
import { say, showBundle, showProgress, showReady, showRefused } from "./state.ts";
import { Viewer } from "./viewer.ts";

class Page {
  private readonly viewer = new Viewer();
  private results: Result[] = [];
  /** The files behind the results, to be classified again when the back end changes. */
  private files: File[] = [];
  private current: { engine: Engine; opened: Opened } | undefined;
  /** A queue: files wait for the model, and for earlier files. */
  private work: Promise<void> = Promise.resolve();

  constructor(private readonly bundle: Bundle) {
    takeFiles((files) => this.classify(files));
    byId("save-json").onclick = () => this.save("results.json", "application/json", resultsJson);
    byId("save-csv").onclick = () => this.save("results.csv", "text/csv", resultsCsv);
    byId("clear").onclick = () => {
      this.clear();
      say("Ready");
    };
    const examples = byId<HTMLButtonElement>("examples");
    examples.hidden = bundle.examples.length === 0;
    examples.onclick = async () => this.classify(await this.exampleFiles());
  }

  async start(): Promise<void> {
    const backends = await backendsHere();
    const choice = byId<HTMLSelectElement>("backend");
    const able = backends.filter((backend) => modelFor(this.bundle.models, backend));
    choice.replaceChildren(...able.map((backend, index) => element("option", { value: String(index) }, titleOf(backend))));
    choice.onchange = () => void this.open(able[Number(choice.value)]);
    await this.open(able[0]);
    offerBenchmark(this.bundle, () => this.fileTimes());
  }

  private open(backend: Backend): Promise<void> {
    const files = this.files;
    const loaded = this.enqueue(async () => {
      this.clear();
      await this.load(backend);
    });
    this.classify(files);
    return loaded;
  }

  private enqueue(task: () => Promise<void>): Promise<void> {
    this.work = this.work.then(task).catch((error) => say(error instanceof Error ? error.message : String(error)));
    return this.work;
  }

  private async load(backend: Backend): Promise<void> {
    this.current?.engine.close();
    this.current = undefined;
    const model = modelFor(this.bundle.models, backend) ?? this.bundle.models[0];
    byId("status").classList.remove("bad");
    try {
      const onProgress = (progress: Parameters<typeof showProgress>[0]): void => showProgress(progress, model);
      this.current = await Engine.open(model, backend, { withReplay: true, onProgress });
      showReady(this.current.engine.model, this.current.opened);
    } catch (error) {
      showRefused(error instanceof Error ? error.message : String(error));
    }
    byId<HTMLInputElement>("files").disabled = !this.current;
    byId<HTMLButtonElement>("examples").disabled = !this.current;
  }

  private classify(files: File[]): void {
    for (const [index, file] of files.entries()) {
      void this.enqueue(async () => {
        if (!this.current) return;
        this.files.push(file);
        say(files.length > 1 ? `Classifying ${file.name}, ${index + 1} of ${files.length}` : `Classifying ${file.name}`);
        this.add(await this.resultOf(file, this.current.engine));
      });
    }
  }

  private async resultOf(file: File, engine: Engine): Promise<Result> {
    try {
      const answer = await engine.classify(new Uint8Array(await file.arrayBuffer()));
      return answered(file.name, file.size, answer, engine.model);
    } catch (error) {
      return { file: file.name, reason: error instanceof Error ? error.message : String(error) };
    }
  }

  private add(result: Result): void {
    this.results.push(result);
    byId("results").hidden = false;
    const item = element("li");
    if (isAnswered(result)) {
      const share = Math.max(...result.answer.probabilities);
      const button = element("button", { type: "button" }, element("span", { class: "file" }, result.file));
      button.append(element("span", { class: "said" }, headline(result)), element("span", { class: "share" }, percent(share)));
      button.onclick = () => this.select(button, result);
      item.append(button);
      byId("list").append(item);
      const said = headline(result);
      say(`${result.file}: ${said}${said === result.label ? "" : `, ${result.label}`} ${percent(share)}`);
      this.select(button, result);
    } else {
      item.append(element("span", { class: "file" }, result.file), element("span", { class: "reason" }, result.reason));
      byId("list").append(item);
      say(`${result.file}: no answer, ${result.reason}`);
    }
  }

  private select(button: HTMLButtonElement, result: Result): void {
    for (const other of byId("list").querySelectorAll("button")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    if (isAnswered(result) && this.current) this.viewer.show(result, this.current.engine.model);
  }

  private clear(): void {
    this.results = [];
    this.files = [];
    byId("list").replaceChildren();
    byId("results").hidden = true;
    this.viewer.hide();
  }

  private save(name: string, type: string, write: (answering: Answering, results: Result[]) => string): void {
    if (!this.current) return;
    const { engine, opened } = this.current;
    const answering = { bundle: this.bundle, model: engine.model, backend: engine.backend, opened };
    save(name, write(answering, this.results), type);
  }

  private async exampleFiles(): Promise<File[]> {
    return Promise.all(
      this.bundle.examples.map(async (name) => new File([await (await fetch(`examples/${name}`)).blob()], name)),
    );
  }

  /** Times of this session's files, or of the phantoms if it has none. */
  private async fileTimes(): Promise<Files> {
    await this.work;
    if (this.results.some(isAnswered)) return { source: "files", times: this.results.filter(isAnswered).map(timeOf) };
    const engine = this.current?.engine;
    if (!engine) throw new Error("no model is loaded");
    const results: Result[] = [];
    for (const file of await this.exampleFiles()) results.push(await this.resultOf(file, engine));
    return { source: "phantoms", times: results.filter(isAnswered).map(timeOf) };
  }
}

function timeOf({ file, bytes, answer }: Result & { answer: object; bytes: number }): FileTime {
  const { decodeMs, resizeMs, inferenceMs } = answer as FileTime;
  return { file, bytes, decodeMs, resizeMs, inferenceMs };
}

async function main(): Promise<void> {
  try {
    say("Preparing for offline use");
    // Before anything that could fail: this script may be an older version's, which cannot read the folder.
    const kept = await keepForOffline(await versionOfFolder());
    if (kept === "reloading" || (kept === "kept" && reloadToBeIsolated())) return;
    const bundle = await readBundle();
    showBundle(bundle);
    await new Page(bundle).start();
  } catch (error) {
    showRefused(error instanceof Error ? error.message : String(error));
  }
}

void main();
