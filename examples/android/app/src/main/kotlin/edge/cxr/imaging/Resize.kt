package edge.cxr.imaging

/** How a model wants pictures: stretched to a square, or fitted into one, centred on black. */
enum class Resize { STRETCH, PAD }

/** 8 bits of a pixel and 2 of headroom leave 22 of 32 for the fraction of a weight. */
private const val FRACTION_BITS = 32 - 8 - 2

/** The pixels that a model of [size] px takes: what Pillow makes of [grey] with [resize]. */
fun resized(grey: Grey, size: Int, resize: Resize): ByteArray =
    if (resize == Resize.STRETCH || grey.width == grey.height) {
        resizeBilinear(grey, size, size).pixels
    } else {
        padded(grey, size)
    }

/** As Pillow's `ImageOps.pad`: the longer side fills the square. */
private fun padded(grey: Grey, size: Int): ByteArray {
    val isWide = grey.width > grey.height
    val across = if (isWide) size else Math.rint(grey.width.toDouble() / grey.height * size).toInt()
    val down = if (isWide) Math.rint(grey.height.toDouble() / grey.width * size).toInt() else size
    val inner = resizeBilinear(grey, across, down).pixels
    val left = Math.rint((size - across) * 0.5).toInt()
    val top = Math.rint((size - down) * 0.5).toInt()
    val square = ByteArray(size * size)
    for (row in 0 until down) {
        inner.copyInto(square, (top + row) * size + left, row * across, (row + 1) * across)
    }
    return square
}

/**
 * Pillow's antialiased bilinear resize, bit for bit: an artifact was trained on these pixels.
 *
 * A triangle filter, widened by the scale when it shrinks, with weights in fixed point, along one axis and then along
 * the other, rounded to 8 bits in between. Pillow 13 takes columns first where the image shrinks much more in height
 * than in width; Pillow 12 does not, which makes a difference of about one grey level.
 */
fun resizeBilinear(grey: Grey, width: Int, height: Int): Grey =
    if (grey.height > height && grey.height - height > 2 * (grey.width - width)) {
        resizeRows(resizeColumns(grey, height), width)
    } else {
        resizeColumns(resizeRows(grey, width), height)
    }

private fun resizeRows(grey: Grey, width: Int): Grey {
    if (grey.width == width) return grey
    val pixels = resizeAxis(grey.pixels, grey.height, grey.width, width, Layout(1, grey.width), Layout(1, width))
    return Grey(width, grey.height, pixels)
}

private fun resizeColumns(grey: Grey, height: Int): Grey {
    if (grey.height == height) return grey
    val along = Layout(grey.width, 1)
    return Grey(grey.width, height, resizeAxis(grey.pixels, grey.width, grey.height, height, along, along))
}

/** How far it is to the next pixel along an axis, and to the next line across it. */
private class Layout(val step: Int, val across: Int)

/** For an output position, the first input position and the weights of it and those that follow. */
private class Window(val first: Int, val weights: IntArray)

private fun windowsAlong(inputSize: Int, outputSize: Int): List<Window> {
    val scale = inputSize.toDouble() / outputSize
    val support = maxOf(scale, 1.0)
    return List(outputSize) { position ->
        val center = (position + 0.5) * scale
        val first = maxOf(0, (center - support + 0.5).toInt())
        val end = minOf(inputSize, (center + support + 0.5).toInt())
        val weights =
            DoubleArray(end - first) { maxOf(0.0, 1 - Math.abs((first + it - center + 0.5) * (1 / support))) }
        val sum = weights.sum()
        Window(first, IntArray(weights.size) { (0.5 + weights[it] / sum * (1 shl FRACTION_BITS)).toInt() })
    }
}

private fun resizeAxis(
    pixels: ByteArray,
    lines: Int,
    inputSize: Int,
    outputSize: Int,
    input: Layout,
    output: Layout,
): ByteArray {
    val windows = windowsAlong(inputSize, outputSize)
    val resized = ByteArray(lines * outputSize)
    for (line in 0 until lines) {
        for ((position, window) in windows.withIndex()) {
            var sum = 1 shl (FRACTION_BITS - 1)
            var at = line * input.across + window.first * input.step
            for (weight in window.weights) {
                sum += weight * (pixels[at].toInt() and 0xff)
                at += input.step
            }
            resized[line * output.across + position * output.step] = minOf(255, sum shr FRACTION_BITS).toByte()
        }
    }
    return resized
}
