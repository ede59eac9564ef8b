import Foundation

/// Rows hold differences between neighbours, which wrap around; in the earliest files grey values.
private let differences = "differences.npy"
private let plain = "images.npy"
private let maxImages = 1000

/// What a raw deflate stream holds, of a known size.
typealias Inflate = (_ compressed: Data, _ size: Int) throws -> Data

/// The images of `reference.npz`, a zip of one array in NumPy's format: `size` x `size` grey values each, row by row.
///
/// Throws `Refusal` for a file that holds something else.
func readReferences(_ content: Data, size: Int, inflate: Inflate) throws -> [[UInt8]] {
    let bytes = [UInt8](content)
    for entry in try entries(of: bytes) where entry.name == differences || entry.name == plain {
        let stored = Data(bytes[entry.content])
        let file = [UInt8](entry.isDeflated ? try inflate(stored, entry.size) : stored)
        let images = try imagesIn(file, size: size)
        return entry.name == differences ? images.map { addedUp($0, size: size) } : images
    }
    throw Refusal("reference.npz holds no reference inputs")
}

private struct Entry {
    let name: String
    let isDeflated: Bool
    let size: Int
    let content: Range<Int>
}

/// By the central directory at the end: the headers before the files need not say how long they are.
private func entries(of zip: [UInt8]) throws -> [Entry] {
    func number(at offset: Int, bytes: Int) throws -> Int {
        guard offset >= 0, offset + bytes <= zip.count else { throw Refusal("reference.npz is cut short") }
        return (0..<bytes).reversed().reduce(0) { $0 << 8 | Int(zip[offset + $1]) }
    }
    guard let end = stride(from: zip.count - 22, through: 0, by: -1).first(where: {
        zip[$0] == 0x50 && zip[$0 + 1] == 0x4b && zip[$0 + 2] == 5 && zip[$0 + 3] == 6
    }) else { throw Refusal("reference.npz is no zip") }
    var at = try number(at: end + 16, bytes: 4)
    return try (0..<number(at: end + 10, bytes: 2)).map { _ in
        let nameLength = try number(at: at + 28, bytes: 2)
        let extra = try number(at: at + 30, bytes: 2) + number(at: at + 32, bytes: 2)
        let header = try number(at: at + 42, bytes: 4)
        let start = try header + 30 + number(at: header + 26, bytes: 2) + number(at: header + 28, bytes: 2)
        let stop = try start + number(at: at + 20, bytes: 4)
        guard at + 46 + nameLength <= zip.count, stop <= zip.count else { throw Refusal("reference.npz is cut short") }
        defer { at += 46 + nameLength + extra }
        return Entry(
            name: String(decoding: zip[(at + 46)..<(at + 46 + nameLength)], as: UTF8.self),
            isDeflated: try number(at: at + 10, bytes: 2) == 8,
            size: try number(at: at + 24, bytes: 4),
            content: start..<stop
        )
    }
}

/// Of uint8 `[M, size, size, 1]`, by its header.
private func imagesIn(_ file: [UInt8], size: Int) throws -> [[UInt8]] {
    guard file.count > 10, file.starts(with: [0x93] + Array("NUMPY".utf8) + [1, 0]) else {
        throw Refusal("reference.npz holds no array")
    }
    let start = 10 + Int(file[8]) + Int(file[9]) << 8
    let header = String(decoding: file[10..<min(start, file.count)], as: UTF8.self)
    guard let shape = shapeIn(header) else { throw Refusal("reference.npz holds \(header)") }
    guard shape.count == 4, shape[1] == size, shape[2] == size, shape[3] == 1, 1...maxImages ~= shape[0] else {
        throw Refusal("reference.npz holds no images of \(size) px")
    }
    let pixels = size * size
    guard file.count == start + shape[0] * pixels else { throw Refusal("reference.npz is cut short") }
    return (0..<shape[0]).map { Array(file[(start + $0 * pixels)..<(start + ($0 + 1) * pixels)]) }
}

private func shapeIn(_ header: String) -> [Int]? {
    let start = "{'descr': '|u1', 'fortran_order': False, 'shape': ("
    guard header.hasPrefix(start), let end = header.firstIndex(of: ")") else { return nil }
    let numbers = header[..<end].dropFirst(start.count).split(separator: ",")
    let shape = numbers.compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
    return shape.count == numbers.count ? shape : nil
}

private func addedUp(_ differences: [UInt8], size: Int) -> [UInt8] {
    var image = differences
    for at in image.indices where at % size != 0 {
        image[at] &+= image[at - 1]
    }
    return image
}
