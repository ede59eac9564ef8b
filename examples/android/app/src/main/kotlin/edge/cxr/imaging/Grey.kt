package edge.cxr.imaging

/** 8-bit grey values, row by row. */
class Grey(val width: Int, val height: Int, val pixels: ByteArray)

/** ITU-R 601-2 luma of an ARGB value, in Pillow's fixed point; alpha is ignored. */
fun luma(argb: Int): Byte {
    val red = (argb shr 16) and 0xff
    val green = (argb shr 8) and 0xff
    val blue = argb and 0xff
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) shr 16).toByte()
}
