/** The service worker: keeps the page for offline use, and isolates it, which threads need. */

const RELOADED = "reloaded-to-be-isolated";

/** Resolves when what follows is fetched through it; false where the browser or the server does not allow one. */
export async function keepForOffline(version: string): Promise<boolean> {
  if (!("serviceWorker" in navigator)) return false;
  try {
    await navigator.serviceWorker.register(`service-worker.js?version=${version}`);
    await navigator.serviceWorker.ready;
  } catch {
    return false;
  }
  if (!navigator.serviceWorker.controller) {
    await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  }
  return true;
}

/** Once: a page is isolated by the headers that it was loaded with, which the service worker sets. */
export function reloadToBeIsolated(): boolean {
  if (globalThis.crossOriginIsolated || sessionStorage.getItem(RELOADED)) return false;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  return true;
}
