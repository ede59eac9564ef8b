package edge.cxr.bundle

import java.security.MessageDigest

/** Throws [IllegalArgumentException] where [content] is not what the manifest describes. */
fun requireHash(content: ByteArray, sha256: String, file: String) {
    val own = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }
    require(own == sha256) { "$file is not the file that manifest.json describes: copy the bundle again" }
}
