/** Files come in by picking, dropping, or pasting. */

import { byId } from "./dom.ts";

type OnFiles = (files: File[]) => void;

export function takeFiles(onFiles: OnFiles): void {
  const input = byId<HTMLInputElement>("files");
  input.addEventListener("change", () => {
    onFiles([...(input.files ?? [])]);
    // The same file may be picked again.
    input.value = "";
  });
  const zone = byId("intake");
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const type of ["dragleave", "drop"]) document.addEventListener(type, () => zone.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    onFiles([...(event.dataTransfer?.files ?? [])]);
  });
  document.addEventListener("paste", (event) => onFiles([...(event.clipboardData?.files ?? [])]));
}
