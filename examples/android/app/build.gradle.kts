plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "edge.cxr"
    compileSdk = 36

    defaultConfig {
        applicationId = "edge.cxr"
        // ImageDecoder.
        minSdk = 28
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
    androidResources {
        // int8 weights hardly shrink.
        noCompress += "tflite"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

dependencies {
    implementation(libs.androidx.activity)
    implementation(libs.litert)
}
