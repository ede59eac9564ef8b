import CoreGraphics
import Foundation
import ImageIO

/// More than twice the largest detector there is; past it, memory runs out.
private let maxPixels = 40_000_000
/// Nothing can be recognized in a smaller X-ray.
private let minSide = 32

/// The grey values of a picture as they are in the file, turned as EXIF says: no colour profile is applied.
///
/// Throws `Refusal` for a file that is not a picture, and for pixels that need what `cxr-edge predict` does.
func readPicture(_ content: Data) throws -> Grey {
    guard let source = CGImageSourceCreateWithData(content as CFData, nil),
        CGImageSourceGetCount(source) > 0,
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let width = properties[kCGImagePropertyPixelWidth] as? Int,
        let height = properties[kCGImagePropertyPixelHeight] as? Int
    else { throw Refusal("not a picture that can be read") }
    guard CGImageSourceGetCount(source) == 1 else { throw Refusal("several pictures in one file") }
    guard min(width, height) >= minSide else { throw Refusal("\(width) x \(height) pixels are too few for an X-ray") }
    guard width * height <= maxPixels else { throw Refusal("\(width) x \(height) pixels are too many for this app") }
    guard let image = CGImageSourceCreateImageAtIndex(source, 0, nil) else { throw Refusal("it cannot be decoded") }
    return turned(try greyOf(image), orientation: properties[kCGImagePropertyOrientation] as? Int ?? 1)
}

private func greyOf(_ image: CGImage) throws -> Grey {
    let channels = image.bitsPerPixel / 8
    let isGrey = image.colorSpace?.model == .monochrome && channels <= 2
    let isColour = image.colorSpace?.model == .rgb && channels >= 3
    // Colours before alpha, in the order of the file, and not multiplied by it.
    let isPlain = [.none, .last, .noneSkipLast].contains(image.alphaInfo)
        && [.orderDefault, .order32Big].contains(image.byteOrderInfo)
    guard image.bitsPerComponent == 8, isGrey || isColour, isPlain, let data = image.dataProvider?.data as Data? else {
        throw Refusal("its pixels need what cxr-edge predict does: save it as grey of 8 bits")
    }
    var grey = Grey(width: image.width, height: image.height, pixels: [])
    grey.pixels.reserveCapacity(image.width * image.height)
    data.withUnsafeBytes { bytes in
        for y in 0..<image.height {
            for x in 0..<image.width {
                let at = y * image.bytesPerRow + x * channels
                grey.pixels.append(isGrey ? bytes[at] : luma(red: bytes[at], green: bytes[at + 1], blue: bytes[at + 2]))
            }
        }
    }
    return grey
}
