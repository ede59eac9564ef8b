import Foundation

/// Something that this app refuses, with the reason.
struct Refusal: LocalizedError {
    let reason: String

    init(_ reason: String) {
        self.reason = reason
    }

    var errorDescription: String? { reason }
}
