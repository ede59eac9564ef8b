import Foundation

/// The parts of `manifest.json` that the app uses.
private struct Manifest: Decodable {
    struct Shared: Decodable {
        struct Contract: Decodable {
            struct Input: Decodable { let shape: [Dimension] }
            let input: Input
        }
        struct Imaging: Decodable { let resize, grey, filter: String }
        struct Training: Decodable { let data: String }
        let labels: [String]
        let contract: Contract
        let imaging: Imaging
        let training: Training
        let referenceSha256: String?
    }
    struct Artifact: Decodable {
        struct Outputs: Decodable { let probabilities: [[Double]] }
        let file, sha256, format, quantization: String
        let operatingPoint: OperatingPoint?
        let referenceOutputs: Outputs?
    }
    let schema: Int
    let notice: String
    let shared: Shared
    let artifacts: [Artifact]
}

/// A number, or a name that stands for any number.
private enum Dimension: Decodable {
    case size(Int)
    case any

    init(from decoder: Decoder) throws {
        let container = try decoder.singleValueContainer()
        self = (try? container.decode(Int.self)).map(Dimension.size) ?? .any
    }
}

/// An artifact of a bundle, with all that its answers depend on.
struct Model {
    let notice: String
    let isTrainedOnPhantoms: Bool
    let file: String
    let sha256: String
    let labels: [String]
    /// S: it takes S x S grey values.
    let size: Int
    let resize: Resize
    /// Nil for an artifact without a decision rule.
    let operatingPoint: OperatingPoint?
    /// Nil for an artifact without reference outputs.
    let reference: Reference?
}

/// What the artifact answered at export, to the inputs in the file with this SHA-256.
struct Reference {
    let inputsSha256: String
    let probabilities: [[Double]]
}

private let schema = 2

/// The int8 artifact of a format that `manifest.json` describes.
///
/// Throws `Refusal` for a manifest without one, or with a preprocessing rule that this app does not have;
/// `DecodingError` for a file that is not a manifest.
func readManifest(_ content: Data, format: String) throws -> Model {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let manifest = try decoder.decode(Manifest.self, from: content)
    guard manifest.schema == schema else {
        throw Refusal("manifest.json has schema \(manifest.schema), this app reads \(schema)")
    }
    let shared = manifest.shared
    guard let artifact = manifest.artifacts.first(where: { $0.format == format && $0.quantization == "int8" }) else {
        throw Refusal("the bundle has no int8 artifact of format \(format)")
    }
    let imaging = shared.imaging
    guard imaging.grey == "luma-601", imaging.filter == "bilinear-antialiased" else {
        throw Refusal("pictures are made by another rule: \(imaging.grey), \(imaging.filter)")
    }
    guard let resize = Resize(rawValue: imaging.resize) else { throw Refusal("unknown resize \(imaging.resize)") }
    guard shared.contract.input.shape.count > 1, case .size(let size) = shared.contract.input.shape[1] else {
        throw Refusal("the model takes pictures of no fixed size")
    }
    var reference: Reference?
    if let outputs = artifact.referenceOutputs, let sha256 = shared.referenceSha256 {
        reference = Reference(inputsSha256: sha256, probabilities: outputs.probabilities)
    }
    return Model(
        notice: manifest.notice,
        isTrainedOnPhantoms: shared.training.data == "phantoms",
        file: artifact.file,
        sha256: artifact.sha256,
        labels: shared.labels,
        size: size,
        resize: resize,
        operatingPoint: artifact.operatingPoint,
        reference: reference
    )
}
