package edge.cxr.bundle

/** The largest difference of a probability between two runtimes that compute the same int8 file. */
private const val TOLERANCE = 0.05

/** What an artifact answers here to its reference inputs, compared with what was recorded at export. */
class Replay(val images: Int, val largestDifference: Double) {
    val limit = TOLERANCE

    /** Whether this device computes what was validated. */
    val passed = largestDifference <= TOLERANCE
}

/** Bundles have more inputs than the earliest artifacts have answers: what was recorded counts. */
fun replay(reference: Reference, inputs: List<ByteArray>, classify: (ByteArray) -> List<Double>): Replay {
    require(inputs.size >= reference.probabilities.size) { "reference.npz holds too few inputs" }
    val largest =
        reference.probabilities.zip(inputs).maxOf { (recorded, image) ->
            recorded.zip(classify(image)).maxOf { (was, now) -> Math.abs(was - now) }
        }
    return Replay(reference.probabilities.size, largest)
}
