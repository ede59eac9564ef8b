import CryptoKit
import Foundation
import OnnxRuntimeBindings

private let threads: Int32 = 2

/// The int8 artifact of the bundle among the app's resources, on ONNX Runtime.
actor Classifier {
    let model: Model
    private let session: ORTSession
    /// It has to live as long as the session.
    private let environment: ORTEnv

    /// Throws `Refusal` for a model that is not the one that the manifest describes.
    init() throws {
        model = try readManifest(Self.content(of: "manifest.json"), format: "onnx")
        try Self.requireHash(Self.content(of: model.file), model.sha256, file: model.file)
        // As everywhere in cxr-edge; it has to be there before the environment is.
        setenv("ORT_DISABLE_TELEMETRY", "1", 1)
        environment = try ORTEnv(loggingLevel: .warning)
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(threads)
        // Read-only and signed, as all of an app's resources: it is still the file that was hashed.
        session = try ORTSession(env: environment, modelPath: Self.url(of: model.file).path, sessionOptions: options)
    }

    /// The probabilities of the labels, for size x size grey values.
    func classify(_ pixels: [UInt8]) throws -> [Double] {
        let size = NSNumber(value: model.size)
        let image = try ORTValue(
            tensorData: NSMutableData(data: Data(pixels)), elementType: .uInt8, shape: [1, size, size, 1])
        let outputs = try session.run(withInputs: ["image": image], outputNames: ["probabilities"], runOptions: nil)
        guard let probabilities = outputs["probabilities"] else { throw Refusal("the model has no probabilities") }
        let data = try probabilities.tensorData() as Data
        return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)).map(Double.init) }
    }

    /// Nil for an artifact without reference outputs.
    func replayReferences() throws -> Replay? {
        guard let reference = model.reference else { return nil }
        let content = try Self.content(of: "reference.npz")
        try Self.requireHash(content, reference.inputsSha256, file: "reference.npz")
        let inputs = try readReferences(content, size: model.size) { compressed, size in
            // A raw deflate stream is what Foundation calls zlib.
            let inflated = try (compressed as NSData).decompressed(using: .zlib) as Data
            guard inflated.count == size else { throw Refusal("reference.npz is damaged") }
            return inflated
        }
        return try replay(reference, inputs: inputs) { try classify($0) }
    }

    private static func url(of file: String) throws -> URL {
        let url = Bundle.main.bundleURL.appending(path: "Bundle").appending(path: file)
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw Refusal("\(file) is not in the app: copy a bundle into the folder Bundle and build it again")
        }
        return url
    }

    private static func content(of file: String) throws -> Data {
        try Data(contentsOf: url(of: file))
    }

    private static func requireHash(_ content: Data, _ sha256: String, file: String) throws {
        let own = SHA256.hash(data: content).map { String(format: "%02x", $0) }.joined()
        guard own == sha256 else {
            throw Refusal("\(file) is not the file that manifest.json describes: copy the bundle again")
        }
    }
}
