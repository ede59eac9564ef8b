/** EXIF's orientation, as Pillow finds it: in EXIF, else in XMP. */

const ORIENTATION = 0x0112;
const XMP = /tiff:Orientation(?:="|>)([0-9])/;

/** From a TIFF header with its first directory; undefined where it has none, or is damaged. */
export function orientationInTiff(content: Uint8Array): number | undefined {
  if (content.length < 8) return undefined;
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const little = view.getUint16(0) === 0x4949;
  if (!little && view.getUint16(0) !== 0x4d4d) return undefined;
  const directory = view.getUint32(4, little);
  if (directory + 2 > content.length) return undefined;
  const entries = view.getUint16(directory, little);
  for (let entry = 0; entry < entries; entry++) {
    const at = directory + 2 + 12 * entry;
    if (at + 12 > content.length) return undefined;
    if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
  }
  return undefined;
}

/** From an XMP packet. */
export function orientationInXmp(packet: string): number | undefined {
  const match = XMP.exec(packet);
  return match ? Number(match[1]) : undefined;
}
