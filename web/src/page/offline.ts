/** The service worker: keeps the page for offline use, and isolates it, which threads need. */

/** Session storage belongs to all folders of a server. */
const RELOADED = `reloaded-to-be-isolated ${new URL("./", location.href).pathname}`;
/** Limit on waiting: after a forced reload, no service worker ever controls the page. */
const PATIENCE_MS = 3000;

/** The outcome; a page that is reloading has nothing more to do. */
export type Kept = "kept" | "not kept" | "reloading";

/** If it returns "kept", later fetches go through the service worker of this version of the folder. */
export async function keepForOffline(version: string): Promise<Kept> {
  if (!("serviceWorker" in navigator)) return "not kept";
  const container = navigator.serviceWorker;
  const script = `service-worker.js?version=${version}`;
  const before = container.controller;
  const changed = new Promise((resolve) => container.addEventListener("controllerchange", resolve, { once: true }));
  try {
    const registration = await container.register(script);
    await Promise.race([container.ready, failureOf(registration)]);
  } catch {
    // Browsers have service workers on secure pages only, and some not in private windows.
    return "not kept";
  }
  const isOld = before !== null && !before.scriptURL.endsWith(script);
  if (!container.controller || isOld) await Promise.race([changed, elapsed(PATIENCE_MS)]);
  if (isOld) {
    // This page's own script may be the old folder's.
    location.reload();
    return "reloading";
  }
  return container.controller ? "kept" : "not kept";
}

function failureOf({ installing }: ServiceWorkerRegistration): Promise<never> {
  return new Promise((_, reject) => {
    installing?.addEventListener("statechange", () => {
      if (installing.state === "redundant") reject(new Error("the service worker did not install"));
    });
  });
}

function elapsed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Once: a page is isolated by the headers that it was loaded with, which the service worker sets. */
export function reloadToBeIsolated(): boolean {
  if (globalThis.crossOriginIsolated || sessionStorage.getItem(RELOADED)) return false;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  return true;
}
