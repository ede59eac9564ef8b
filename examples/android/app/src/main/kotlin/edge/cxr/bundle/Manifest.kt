package edge.cxr.bundle

import edge.cxr.imaging.Resize
import org.json.JSONArray
import org.json.JSONObject

/** An artifact of a bundle, with all that its answers depend on. */
class Model(
    val notice: String,
    val isTrainedOnPhantoms: Boolean,
    val file: String,
    val sha256: String,
    val labels: List<String>,
    /** S: it takes S x S grey values. */
    val size: Int,
    val resize: Resize,
    /** Null for an artifact without a decision rule. */
    val operatingPoint: OperatingPoint?,
    /** Null for an artifact without reference outputs. */
    val reference: Reference?,
)

/** What the artifact answered at export, to the inputs in the file with this SHA-256. */
class Reference(val inputsSha256: String, val probabilities: List<List<Double>>)

private const val SCHEMA = 2

/**
 * The int8 artifact of a format that `manifest.json` describes.
 *
 * Throws [IllegalArgumentException] for a manifest without one, or with a preprocessing rule that this app does not
 * have; [org.json.JSONException] for a file that is not a manifest.
 */
fun readManifest(text: String, format: String): Model {
    val manifest = JSONObject(text)
    val schema = manifest.getInt("schema")
    require(schema == SCHEMA) { "manifest.json has schema $schema, this app reads $SCHEMA" }
    val shared = manifest.getJSONObject("shared")
    val artifact =
        manifest.getJSONArray("artifacts").objects().firstOrNull {
            it.getString("format") == format && it.getString("quantization") == "int8"
        }
    requireNotNull(artifact) { "the bundle has no int8 artifact of format $format" }
    return Model(
        notice = manifest.getString("notice"),
        isTrainedOnPhantoms = shared.getJSONObject("training").getString("data") == "phantoms",
        file = artifact.getString("file"),
        sha256 = artifact.getString("sha256"),
        labels = shared.getJSONArray("labels").strings(),
        size = shared.getJSONObject("contract").getJSONObject("input").getJSONArray("shape").getInt(1),
        resize = resizeOf(shared.getJSONObject("imaging")),
        operatingPoint = artifact.optJSONObject("operating_point")?.let(::operatingPointOf),
        reference = artifact.optJSONObject("reference_outputs")?.let { referenceOf(it, shared) },
    )
}

private fun resizeOf(imaging: JSONObject): Resize {
    val (grey, filter) = listOf("grey", "filter").map(imaging::getString)
    require(grey == "luma-601" && filter == "bilinear-antialiased") { "pictures are made by another rule: $grey, $filter" }
    val name = imaging.getString("resize")
    return requireNotNull(Resize.entries.firstOrNull { it.name.lowercase() == name }) { "unknown resize $name" }
}

private fun operatingPointOf(json: JSONObject) =
    OperatingPoint(json.getString("sensitive_class"), json.getDouble("suspected_from"), json.getDouble("called_from"))

private fun referenceOf(outputs: JSONObject, shared: JSONObject): Reference {
    val rows = outputs.getJSONArray("probabilities")
    val probabilities = List(rows.length()) { row -> rows.getJSONArray(row).let { List(it.length(), it::getDouble) } }
    return Reference(shared.getString("reference_sha256"), probabilities)
}

private fun JSONArray.strings() = List(length(), ::getString)

private fun JSONArray.objects() = List(length(), ::getJSONObject)
