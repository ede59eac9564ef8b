package edge.cxr

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import edge.cxr.imaging.Grey
import edge.cxr.imaging.luma

/** More than twice the largest detector there is; past it, memory runs out. */
private const val MAX_PIXELS = 40_000_000L
/** Nothing can be recognized in a smaller X-ray. */
private const val MIN_SIDE = 32

/** As it is shown, and its grey values at its own size. */
class Picture(val bitmap: Bitmap, val grey: Grey)

/**
 * Decode a picture, turned as EXIF says.
 *
 * Throws [IllegalArgumentException] for pixels that Android would not hand over as they are in the file: more than 8
 * bits, or a colour profile; [java.io.IOException] for a file that is not a picture.
 */
fun readPicture(resolver: ContentResolver, uri: Uri): Picture {
    val sRgb = ColorSpace.get(ColorSpace.Named.SRGB)
    val bitmap =
        ImageDecoder.decodeBitmap(ImageDecoder.createSource(resolver, uri)) { decoder, info, _ ->
            val (width, height) = info.size.width to info.size.height
            require(!info.isAnimated) { "an animation; a chest X-ray is one picture" }
            require(minOf(width, height) >= MIN_SIDE) { "$width x $height pixels are too few for an X-ray" }
            require(width.toLong() * height <= MAX_PIXELS) { "$width x $height pixels are too many for this app" }
            require(info.colorSpace == null || info.colorSpace == sRgb) { "colours of ${info.colorSpace}: convert it" }
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.isUnpremultipliedRequired = true
        }
    require(bitmap.config == Bitmap.Config.ARGB_8888) { "pixels of ${bitmap.config}: save it with 8 bits" }
    return Picture(bitmap, greyOf(bitmap))
}

private fun greyOf(bitmap: Bitmap): Grey {
    val grey = Grey(bitmap.width, bitmap.height, ByteArray(bitmap.width * bitmap.height))
    val row = IntArray(bitmap.width)
    for (y in 0 until bitmap.height) {
        bitmap.getPixels(row, 0, bitmap.width, 0, y, bitmap.width, 1)
        for (x in row.indices) grey.pixels[y * bitmap.width + x] = luma(row[x])
    }
    return grey
}
