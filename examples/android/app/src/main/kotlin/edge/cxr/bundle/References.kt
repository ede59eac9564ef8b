package edge.cxr.bundle

import java.io.ByteArrayInputStream
import java.io.DataInputStream
import java.util.zip.ZipInputStream

/** Rows hold differences between neighbours, which wrap around; in the earliest files grey values. */
private const val DIFFERENCES = "differences.npy"
private const val PLAIN = "images.npy"
private const val MAX_IMAGES = 1000
private val HEADER =
    Regex("""\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d{1,4}), (\d{1,4}), (\d{1,4}), 1\).*""")

/**
 * The images of `reference.npz`, a zip of one array in NumPy's format: [size] x [size] grey values each, row by row.
 *
 * Throws [IllegalArgumentException] for a file that holds something else; [java.io.IOException] for a damaged one.
 */
fun readReferences(content: ByteArray, size: Int): List<ByteArray> {
    ZipInputStream(ByteArrayInputStream(content)).use { zip ->
        for (entry in generateSequence(zip::getNextEntry)) {
            if (entry.name != DIFFERENCES && entry.name != PLAIN) continue
            val images = imagesIn(zip, size)
            if (entry.name == DIFFERENCES) images.forEach { addUp(it, size) }
            return images
        }
    }
    throw IllegalArgumentException("reference.npz holds no reference inputs")
}

/** Of uint8 `[M, size, size, 1]`, by its header; no more is read than it says. */
private fun imagesIn(zip: ZipInputStream, size: Int): List<ByteArray> {
    val file = DataInputStream(zip)
    val magic = ByteArray(8).also(file::readFully)
    val wanted = byteArrayOf(0x93.toByte()) + "NUMPY".toByteArray() + byteArrayOf(1, 0)
    require(magic.contentEquals(wanted)) { "reference.npz holds no array" }
    val length = file.readUnsignedByte() or (file.readUnsignedByte() shl 8)
    val header = ByteArray(length).also(file::readFully).decodeToString().trim()
    val shape = requireNotNull(HEADER.matchEntire(header)) { "reference.npz holds $header" }.destructured.toList()
    val (count, height, width) = shape.map(String::toInt)
    require(height == size && width == size && count in 1..MAX_IMAGES) { "reference.npz holds no images of $size px" }
    return List(count) { ByteArray(size * size).also(file::readFully) }
}

private fun addUp(image: ByteArray, size: Int) {
    for (at in image.indices) {
        if (at % size != 0) image[at] = (image[at] + image[at - 1]).toByte()
    }
}
