/// How a model wants pictures: stretched to a square, or fitted into one, centred on black.
enum Resize: String {
    case stretch
    case pad
}

/// 8 bits of a pixel and 2 of headroom leave 22 of 32 for the fraction of a weight.
private let fractionBits = 32 - 8 - 2

/// The pixels that a model of `size` px takes: what Pillow makes of a picture with `resize`.
func resized(_ grey: Grey, size: Int, resize: Resize) -> [UInt8] {
    if resize == .stretch || grey.width == grey.height {
        return resizeBilinear(grey, width: size, height: size).pixels
    }
    return padded(grey, size: size)
}

/// As Pillow's `ImageOps.pad`: the longer side fills the square.
private func padded(_ grey: Grey, size: Int) -> [UInt8] {
    let isWide = grey.width > grey.height
    let ratio = isWide ? Double(grey.height) / Double(grey.width) : Double(grey.width) / Double(grey.height)
    let shorter = rounded(ratio * Double(size))
    let (across, down) = isWide ? (size, shorter) : (shorter, size)
    let inner = resizeBilinear(grey, width: across, height: down).pixels
    let left = rounded(Double(size - across) * 0.5)
    let top = rounded(Double(size - down) * 0.5)
    var square = [UInt8](repeating: 0, count: size * size)
    for row in 0..<down {
        let start = (top + row) * size + left
        square.replaceSubrange(start..<(start + across), with: inner[(row * across)..<((row + 1) * across)])
    }
    return square
}

/// Halves to the even number, as Python rounds.
private func rounded(_ value: Double) -> Int {
    Int(value.rounded(.toNearestOrEven))
}

/// Pillow's antialiased bilinear resize, bit for bit: an artifact was trained on these pixels.
///
/// A triangle filter, widened by the scale when it shrinks, with weights in fixed point, along one axis and then along
/// the other, rounded to 8 bits in between. Pillow 13 takes columns first where the image shrinks much more in height
/// than in width; Pillow 12 does not, which makes a difference of about one grey level.
func resizeBilinear(_ grey: Grey, width: Int, height: Int) -> Grey {
    if grey.height > height, grey.height - height > 2 * (grey.width - width) {
        return resizeRows(resizeColumns(grey, height: height), width: width)
    }
    return resizeColumns(resizeRows(grey, width: width), height: height)
}

private func resizeRows(_ grey: Grey, width: Int) -> Grey {
    if grey.width == width { return grey }
    let input = Layout(step: 1, across: grey.width)
    let output = Layout(step: 1, across: width)
    let windows = windowsAlong(inputSize: grey.width, outputSize: width)
    return Grey(
        width: width,
        height: grey.height,
        pixels: resizeAxis(grey.pixels, lines: grey.height, windows: windows, input: input, output: output)
    )
}

private func resizeColumns(_ grey: Grey, height: Int) -> Grey {
    if grey.height == height { return grey }
    let along = Layout(step: grey.width, across: 1)
    let windows = windowsAlong(inputSize: grey.height, outputSize: height)
    return Grey(
        width: grey.width,
        height: height,
        pixels: resizeAxis(grey.pixels, lines: grey.width, windows: windows, input: along, output: along)
    )
}

/// How far it is to the next pixel along an axis, and to the next line across it.
private struct Layout {
    let step: Int
    let across: Int
}

/// For an output position, the first input position and the weights of it and those that follow.
private struct Window {
    let first: Int
    let weights: [Int]
}

private func windowsAlong(inputSize: Int, outputSize: Int) -> [Window] {
    let scale = Double(inputSize) / Double(outputSize)
    let support = max(scale, 1)
    let one = Double(1 << fractionBits)
    return (0..<outputSize).map { position in
        let center = (Double(position) + 0.5) * scale
        let first = max(0, Int(center - support + 0.5))
        let end = min(inputSize, Int(center + support + 0.5))
        let weights: [Double] = (first..<end).map { at in
            let distance: Double = (Double(at) - center + 0.5) * (1 / support)
            return max(0, 1 - abs(distance))
        }
        let sum: Double = weights.reduce(0, +)
        return Window(first: first, weights: weights.map { weight in Int(0.5 + weight / sum * one) })
    }
}

private func resizeAxis(_ pixels: [UInt8], lines: Int, windows: [Window], input: Layout, output: Layout) -> [UInt8] {
    var resized = [UInt8](repeating: 0, count: lines * windows.count)
    for line in 0..<lines {
        for (position, window) in windows.enumerated() {
            var sum = 1 << (fractionBits - 1)
            var at = line * input.across + window.first * input.step
            for weight in window.weights {
                sum += weight * Int(pixels[at])
                at += input.step
            }
            resized[line * output.across + position * output.step] = UInt8(min(255, sum >> fractionBits))
        }
    }
    return resized
}
