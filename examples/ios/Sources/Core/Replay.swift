/// The largest difference of a probability between two runtimes that compute the same int8 file.
private let tolerance = 0.05

/// What an artifact answers here to its reference inputs, compared with what was recorded at export.
struct Replay {
    let images: Int
    let largestDifference: Double
    let limit = tolerance

    /// Whether this device computes what was validated.
    var passed: Bool { largestDifference <= limit }
}

/// Bundles have more inputs than the earliest artifacts have answers: what was recorded counts.
func replay(_ reference: Reference, inputs: [[UInt8]], classify: ([UInt8]) throws -> [Double]) throws -> Replay {
    guard inputs.count >= reference.probabilities.count else { throw Refusal("reference.npz holds too few inputs") }
    var largest = 0.0
    for (recorded, image) in zip(reference.probabilities, inputs) {
        for (was, now) in zip(recorded, try classify(image)) {
            let difference = abs(was - now)
            // NaN must not pass.
            if difference > largest || difference.isNaN { largest = difference }
        }
        if largest.isNaN { break }
    }
    return Replay(images: reference.probabilities.count, largestDifference: largest)
}
