/** The page's side of a worker: one model on one back end, one request at a time. */

import type { Model } from "../bundle/manifest.ts";
import type { Backend } from "./backend.ts";
import type { Answers, Opened, Progress, Reply, Request } from "./messages.ts";

const NOT_VALIDATED = "this browser does not compute what was validated: do not use its answers";

type OnProgress = (progress: Progress) => void;

export class Engine {
  private readonly worker = new Worker("worker.js", { type: "module" });
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    /** Includes a warning if this browser failed the replay. */
    public model: Model,
    readonly backend: Backend,
  ) {}

  /** Throws Error if the model is refused, or its back end cannot be initialized. */
  static async open(
    model: Model,
    backend: Backend,
    options: { withReplay: boolean; onProgress: OnProgress },
  ): Promise<{ engine: Engine; opened: Opened }> {
    const engine = new Engine(model, backend);
    try {
      const request: Request = { kind: "open", model, backend, withReplay: options.withReplay };
      const opened = await engine.ask(request, options.onProgress);
      if (opened.replay?.passed === false) engine.model = { ...model, warnings: [NOT_VALIDATED, ...model.warnings] };
      return { engine, opened };
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  classify(content: Uint8Array): Promise<Answers["classify"]> {
    return this.ask({ kind: "classify", content });
  }

  time(queries: number, warmUpMs: number): Promise<Answers["time"]> {
    return this.ask({ kind: "time", queries, warmUpMs });
  }

  close(): void {
    this.worker.terminate();
  }

  /** Queues requests: while awaiting one, a worker would already begin the next. */
  private ask<K extends Request["kind"]>(request: Request & { kind: K }, onProgress?: OnProgress): Promise<Answers[K]> {
    const asked = this.last.then(() => this.answer<K>(request, onProgress));
    this.last = asked.catch(() => undefined);
    return asked;
  }

  private answer<K extends Request["kind"]>(request: Request, onProgress?: OnProgress): Promise<Answers[K]> {
    return new Promise((resolve, reject) => {
      this.worker.onerror = (event) => reject(new Error(event.message || "the worker did not start"));
      this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if ("progress" in data) onProgress?.(data.progress);
        else if ("error" in data) reject(new Error(data.error));
        else resolve(data.answer as Answers[K]);
      };
      this.worker.postMessage(request);
    });
  }
}
