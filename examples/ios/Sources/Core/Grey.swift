/// 8-bit grey values, row by row.
struct Grey {
    let width: Int
    let height: Int
    var pixels: [UInt8]
}

/// ITU-R 601-2 luma in Pillow's fixed point.
func luma(red: UInt8, green: UInt8, blue: UInt8) -> UInt8 {
    UInt8((Int(red) * 19595 + Int(green) * 38470 + Int(blue) * 7471 + 0x8000) >> 16)
}

/// Turned as EXIF's orientation, 1 to 8, says.
func turned(_ grey: Grey, orientation: Int) -> Grey {
    guard 2...8 ~= orientation else { return grey }
    let isSwapped = orientation >= 5
    let fromRight = [2, 3, 7, 8].contains(orientation)
    let fromBottom = [3, 4, 6, 7].contains(orientation)
    let (width, height) = isSwapped ? (grey.height, grey.width) : (grey.width, grey.height)
    var out = Grey(width: width, height: height, pixels: grey.pixels)
    for y in 0..<height {
        for x in 0..<width {
            let (column, row) = isSwapped ? (y, x) : (x, y)
            let fromRow = fromBottom ? grey.height - 1 - row : row
            let fromColumn = fromRight ? grey.width - 1 - column : column
            out.pixels[y * width + x] = grey.pixels[fromRow * grey.width + fromColumn]
        }
    }
    return out
}
