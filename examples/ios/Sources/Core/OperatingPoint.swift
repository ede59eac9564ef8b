let referral = "refer to a radiologist"

/// The decision rule that an artifact carries. Its thresholds are doubles: rounded, they are different numbers.
struct OperatingPoint: Decodable {
    let sensitiveClass: String
    let suspectedFrom: Double
    let calledFrom: Double

    /// The class that is called, or `referral`.
    func decide(_ probabilities: [Double], labels: [String]) -> String {
        guard let sensitive = labels.firstIndex(of: sensitiveClass) else { return referral }
        var candidate = sensitive
        if probabilities[sensitive] < suspectedFrom {
            let others = labels.indices.filter { $0 != sensitive }
            // Of several equal ones, the first.
            candidate = others.reduce(others[0]) { probabilities[$1] > probabilities[$0] ? $1 : $0 }
        }
        return probabilities[candidate] >= calledFrom ? labels[candidate] : referral
    }
}
