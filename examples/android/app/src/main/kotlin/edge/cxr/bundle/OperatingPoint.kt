package edge.cxr.bundle

const val REFER = "refer to a radiologist"

/** The decision rule that an artifact carries. Its thresholds are doubles: rounded, they are different numbers. */
class OperatingPoint(val sensitiveClass: String, val suspectedFrom: Double, val calledFrom: Double) {
    /** The class that is called, or [REFER]. */
    fun decide(probabilities: List<Double>, labels: List<String>): String {
        val sensitive = labels.indexOf(sensitiveClass)
        val candidate =
            if (probabilities[sensitive] >= suspectedFrom) {
                sensitive
            } else {
                labels.indices.filter { it != sensitive }.maxBy { probabilities[it] }
            }
        return if (probabilities[candidate] >= calledFrom) labels[candidate] else REFER
    }
}
