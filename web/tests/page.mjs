/**
 * Uses the page as a person would, in Chromium: node page.mjs TASK.json.
 *
 * TASK.json is { url, steps, files, downloads, screenshots, chromium }, and for an update { current, next, model }, and
 * for a second page { neighbour, caches }; what was seen is printed as JSON.
 */

import axe from "axe-core";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const task = JSON.parse(await readFile(process.argv[2], "utf8"));
const PATIENCE = 300_000;
const FLAGS = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"];
const seen = { console: [], hosts: [] };

const browser = await chromium.launch({ executablePath: task.chromium, args: FLAGS });
try {
  seen.browser = `Chromium ${browser.version()}`;
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, acceptDownloads: true });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  watch(page);
  await page.goto(task.url);
  for (const step of task.steps) await STEPS()[step](page, context);
} finally {
  await browser.close();
}
seen.hosts = [...new Set(seen.hosts)];
console.log(JSON.stringify(seen));

function watch(page) {
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.console.push(message.text());
  });
  page.on("pageerror", (error) => seen.console.push(error.message));
  page.context().on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (!["blob:", "data:"].includes(protocol)) seen.hosts.push(host);
  });
}

async function ready(page) {
  await page.waitForFunction(() => /^(Ready|No model)/.test(document.getElementById("status").textContent));
}

async function listed(page, count) {
  await page.waitForFunction((wanted) => document.querySelectorAll("#list li").length === wanted, count);
  return page.locator("#list li").evaluateAll((items) => items.map((item) => item.innerText));
}

async function download(page, button) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
  await file.saveAs(join(task.downloads, file.suggestedFilename()));
}

/** What axe calls serious or worse. */
async function faults(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}

/** Run in the page. The luminance is Pillow's. */
async function comparedPixels(content) {
  const grey = ({ data }) =>
    Uint8Array.from({ length: data.length / 4 }, (_, at) => (data[4 * at] * 19595 + data[4 * at + 1] * 38470 + data[4 * at + 2] * 7471 + 32768) >> 16);
  const all = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const own = grey(all(document.getElementById("picture")));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", own));
  const sha256 = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes]));
  const { width, height } = document.getElementById("picture");
  if (bitmap.width !== width || bitmap.height !== height) return { sha256, largest: null, mean: null };
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  const others = grey(all(canvas));
  const differences = own.map((value, at) => Math.abs(value - others[at]));
  const largest = differences.reduce((most, value) => Math.max(most, value), 0);
  return { sha256, largest, mean: differences.reduce((sum, value) => sum + value, 0) / differences.length };
}

function STEPS() {
  return {
    async load(page) {
      await ready(page);
      seen.status = await page.textContent("#status");
      seen.isolated = await page.evaluate(() => crossOriginIsolated);
      seen.checks = await page.innerText("#checks");
      seen.warnings = await page.locator("#model-warnings li").allInnerTexts();
      seen.backends = await page.locator("#backend option").allInnerTexts();
    },

    async pick(page) {
      await page.setInputFiles("#files", task.files);
      seen.list = await listed(page, task.files.length);
      await download(page, "#save-json");
      await download(page, "#save-csv");
    },

    async look(page) {
      await page.locator("#list button").first().focus();
      await page.keyboard.press("Enter");
      seen.viewer = await page.innerText("#viewer");
      await page.locator("#strength").focus();
      await page.keyboard.press("End");
      seen.full = await page.locator("#overlay").evaluate((canvas) => canvas.style.opacity);
      await page.keyboard.press("Home");
      seen.none = await page.locator("#overlay").evaluate((canvas) => canvas.style.opacity);
      seen.painted = await page.locator("#overlay").evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value, index) => index % 4 === 3 && value > 0);
      });
    },

    /** The decoded pixels that the page shows of each file, beside those of the browser's own decoder. */
    async pixels(page) {
      seen.pixels = [];
      for (const [index, item] of (await page.locator("#list li").all()).entries()) {
        const button = item.locator("button");
        if ((await button.count()) === 0) {
          seen.pixels.push(null);
          continue;
        }
        await button.click();
        const content = (await readFile(task.files[index])).toString("base64");
        seen.pixels.push(await page.evaluate(comparedPixels, content));
      }
    },

    async accessibility(page) {
      seen.faults = [];
      for (const width of [1200, 360]) {
        for (const colorScheme of ["light", "dark"]) {
          await page.setViewportSize({ width, height: 800 });
          await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
          seen.faults.push(...(await faults(page)).map((fault) => `${width} px, ${colorScheme}: ${fault}`));
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          if (overflow > 0) seen.faults.push(`${width} px: ${overflow} px too wide`);
          if (task.screenshots) {
            const path = join(task.screenshots, `${width}-${colorScheme}.png`);
            await page.screenshot({ path, fullPage: true });
          }
        }
      }
    },

    async dropAndPaste(page) {
      await page.click("#clear");
      const content = (await readFile(task.files[0])).toString("base64");
      for (const type of ["drop", "paste"]) {
        await page.evaluate(
          async ([type, content]) => {
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], `${type}.png`));
            const init = { bubbles: true, cancelable: true };
            document.dispatchEvent(
              type === "drop"
                ? new DragEvent("drop", { ...init, dataTransfer: transfer })
                : new ClipboardEvent("paste", { ...init, clipboardData: transfer }),
            );
          },
          [type, content],
        );
      }
      seen.dropped = await listed(page, 2);
    },

    async webgpu(page) {
      await page.selectOption("#backend", { label: "WebGPU" });
      await page.waitForFunction(() => document.getElementById("checks").innerText.includes("WebGPU on"));
      seen.webgpu = await page.innerText("#checks");
      // The other back end answers for the same files.
      await listed(page, task.files.length);
      await download(page, "#save-json");
    },

    async benchmark(page) {
      await page.click("#bench-start");
      await page.waitForSelector("#bench-result:not([hidden])");
      seen.bench = await page.innerText("#bench-result table");
      await download(page, "#bench-save");
    },

    async update(page) {
      await cp(task.next, task.current, { recursive: true, force: true });
      await page.reload();
      await page.waitForFunction((model) => document.getElementById("checks").innerText.includes(model), task.model);
      seen.updated = await page.innerText("#checks");
    },

    /** The page of another folder of the server, then this one again, offline. */
    async neighbour(page, context) {
      await page.evaluate((names) => Promise.all(names.map((name) => caches.open(name))), task.caches);
      await page.goto(task.neighbour);
      await ready(page);
      seen.neighbour = await page.innerText("#checks");
      seen.neighbourIsolated = await page.evaluate(() => crossOriginIsolated);
      seen.caches = await page.evaluate(() => caches.keys());
      await context.setOffline(true);
      await page.goto(task.url);
      await ready(page);
    },

    async offline(page, context) {
      await context.setOffline(true);
      await page.reload();
      await ready(page);
      await page.click("#examples");
      seen.offline = await listed(page, 3);
    },
  };
}
