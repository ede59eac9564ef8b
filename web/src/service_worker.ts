/** Keeps what the page fetches, so that it works offline, and adds the headers that a plain static server does not. */

declare const self: ServiceWorkerGlobalScope;
export {};

/** The types of service workers are not among those of the other files. */
interface ServiceWorkerGlobalScope {
  location: Location;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  addEventListener(type: string, listener: (event: LifeEvent & FetchingEvent) => void): void;
}

interface LifeEvent {
  waitUntil(work: Promise<unknown>): void;
}

interface FetchingEvent {
  request: Request;
  respondWith(response: Promise<Response>): void;
}

/** Caches belong to all folders of a server. A path has no space, so that no prefix begins another folder's. */
const PREFIX = `cxr-edge ${new URL("./", self.location.href).pathname} `;
/** Earlier workers named their caches by the version alone. */
const UNSCOPED = /^cxr-edge-[0-9a-f]{16}$/;
/** A folder with other content has another version, and so another cache. */
const CACHE = PREFIX + (new URL(self.location.href).searchParams.get("version") ?? "");
/** Files that name others or the folder's version: fetched each time, and kept for when there is no network. */
const FRESH = ["", "index.html", "page.json", "model/manifest.json"];
/** Files that may be fetched before this worker controls the first page. */
const SHELL = ["./", "page.js", "page.css", "worker.js", "icon.svg", "page.json", "model/manifest.json", "libjpeg-turbo.wasm"];
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Content-Security-Policy": __POLICY__,
};
declare const __POLICY__: string;

self.addEventListener("install", (event) => {
  event.waitUntil(keepShell().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter(isOutdated))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const scope = new URL("./", self.location.href).href;
  if (request.method !== "GET" || !url.href.startsWith(scope)) return;
  const name = url.href.slice(scope.length);
  event.respondWith(FRESH.includes(name) ? fresh(request) : kept(request));
});

function isOutdated(name: string): boolean {
  return (name.startsWith(PREFIX) && name !== CACHE) || UNSCOPED.test(name);
}

/** Asks the server whether the browser's own cache is up to date: it may hold files of the folder's last version. */
function checked(request: Request | string): Request {
  return new Request(request, { cache: "no-cache" });
}

async function keepShell(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL.map(checked));
  const page = (await (await cache.match("page.json"))?.json()) as { examples: string[] };
  await cache.addAll(page.examples.map((name) => checked(`examples/${name}`)));
}

async function fresh(request: Request): Promise<Response> {
  try {
    const response = await fetch(checked(request));
    return isolated(await keep(request, response));
  } catch (error) {
    const known = await (await caches.open(CACHE)).match(request, { ignoreSearch: true });
    if (!known) throw error;
    return isolated(known);
  }
}

async function kept(request: Request): Promise<Response> {
  const known = await (await caches.open(CACHE)).match(request, { ignoreSearch: true });
  return isolated(known ?? (await keep(request, await fetch(checked(request)))));
}

async function keep(request: Request, response: Response): Promise<Response> {
  if (response.ok && response.status === 200) {
    const cache = await caches.open(CACHE);
    // If the disk is full, still show the page.
    await cache.put(request, response.clone()).catch(() => undefined);
  }
  return response;
}

function isolated(response: Response): Response {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
