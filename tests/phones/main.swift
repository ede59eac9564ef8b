// Runs the iOS example's own code on a folder of cases, for tests/test_phones.py.

import Foundation

let folder = URL(fileURLWithPath: CommandLine.arguments[1])

func content(of name: String) throws -> Data { try Data(contentsOf: folder.appendingPathComponent(name)) }

func names(in name: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.appendingPathComponent(name).path).sorted()
}

func say(_ topic: String, _ values: Any...) {
    print(([topic] + values.map { "\($0)" }).joined(separator: "\t"))
}

func refused(_ work: () throws -> Any) -> String {
    do {
        _ = try work()
        return "accepted"
    } catch {
        return error.localizedDescription
    }
}

/// The tests' file is stored: who inflates on an iPhone is Foundation, which does not on Linux.
func inflate(_ compressed: Data, _ size: Int) throws -> Data { throw Refusal("deflated") }

for name in try names(in: "pictures") {
    let parts = name.split(separator: "-").dropFirst().map(String.init)
    let grey = Grey(width: Int(parts[0])!, height: Int(parts[1])!, pixels: [UInt8](try content(of: "pictures/\(name)")))
    let pixels = resized(grey, size: Int(parts[2])!, resize: Resize(rawValue: parts[3])!)
    try Data(pixels).write(to: folder.appendingPathComponent("resized/\(name)"))
}
let model = try readManifest(content(of: "manifest.json"), format: "onnx")
say("model", model.file, model.size, model.resize.rawValue, model.isTrainedOnPhantoms)
for line in String(decoding: try content(of: "probabilities"), as: UTF8.self).split(separator: "\n") {
    let probabilities = line.split(separator: " ").map { Double($0)! }
    say("decision", model.operatingPoint!.decide(probabilities, labels: model.labels))
}
let inputs = try readReferences(content(of: "reference.npz"), size: model.size, inflate: inflate)
try Data(inputs.joined()).write(to: folder.appendingPathComponent("references"))
let uniform = [Double](repeating: 1 / Double(model.labels.count), count: model.labels.count)
let replayed = try replay(model.reference!, inputs: inputs) { _ in uniform }
say("replay", replayed.images, replayed.largestDifference, replayed.passed)
say("luma", luma(red: 0x0a, green: 0x80, blue: 0xff))
say("refused", refused { try readReferences(content(of: "reference.npz"), size: model.size + 1, inflate: inflate) })
for name in try names(in: "refused") {
    say("refused", refused { try readManifest(content(of: "refused/\(name)"), format: "onnx") })
}
for orientation in 1...8 {
    let grey = turned(Grey(width: 3, height: 2, pixels: [1, 2, 3, 4, 5, 6]), orientation: orientation)
    say("turned", grey.width, grey.height, grey.pixels)
}
