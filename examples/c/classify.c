/* Classify chest X-rays with ONNX Runtime's C API: classify MODEL.onnx IMAGE.pgm...
 *
 * An image is a binary PGM file of 8 bits, so that no decoder is needed. */

#include "resize.h"

#include <ctype.h>
#include <onnxruntime_c_api.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LABELS 64
/* `cxr-edge predict` refuses more, too. */
#define MAX_PIXELS 80000000
#define MAX_MANIFEST (16 << 20)

static const OrtApi *ort;

struct model {
    const char *path;
    OrtSession *session;
    OrtMemoryInfo *memory;
    int size;
    int label_count;
    char *labels[MAX_LABELS];
};

static void fail(const char *file, const char *format, ...) {
    va_list values;
    va_start(values, format);
    fprintf(stderr, "%s: ", file);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(1);
}

static void check(const char *file, OrtStatus *status) {
    if (status != NULL) {
        fail(file, "%s", ort->GetErrorMessage(status));
    }
}

static void *allocate(const char *file, size_t bytes) {
    void *memory = malloc(bytes);
    if (memory == NULL) {
        fail(file, "no memory for %zu bytes", bytes);
    }
    return memory;
}

/* A number of a PGM header, after white space and comments; -1 where there is none. Also consumes the byte after it. */
static int read_number(FILE *stream) {
    int byte = getc(stream), number = -1;
    while (isspace(byte) || byte == '#') {
        if (byte == '#') {
            while (byte != '\n' && byte != EOF) {
                byte = getc(stream);
            }
        } else {
            byte = getc(stream);
        }
    }
    for (; isdigit(byte) && number <= MAX_PIXELS; byte = getc(stream)) {
        number = (number < 0 ? 0 : number) * 10 + (byte - '0');
    }
    return number;
}

/* The pixels of a PGM file, to be freed. */
static uint8_t *read_pgm(const char *path, int *width, int *height) {
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) {
        fail(path, "cannot be opened");
    }
    if (getc(stream) != 'P' || getc(stream) != '5') {
        fail(path, "not a binary PGM file");
    }
    *width = read_number(stream);
    *height = read_number(stream);
    if (read_number(stream) != 255 || *width < 1 || *height < 1 || *width > MAX_PIXELS / *height) {
        fail(path, "not a PGM file of 8 bits and at most %d pixels", MAX_PIXELS);
    }
    size_t count = (size_t)*width * *height;
    uint8_t *pixels = allocate(path, count);
    if (fread(pixels, 1, count, stream) != count) {
        fail(path, "truncated");
    }
    fclose(stream);
    return pixels;
}

static char *skip_space(char *at) {
    while (isspace((unsigned char)*at)) {
        at++;
    }
    return at;
}

/* The closing quote of the JSON string whose opening quote `at` points to, or the end of the text. */
static char *closing_quote(char *at) {
    for (at++; *at != '\0' && *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0') {
            at++;
        }
    }
    return at;
}

/* The value of a key of the outermost JSON object; NULL where it has no such key. */
static char *find_value(char *json, const char *key) {
    int depth = 0;
    for (char *at = json; *at != '\0'; at++) {
        if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        } else if (*at == '"') {
            char *text = at + 1, *next;
            at = closing_quote(at);
            if (*at == '\0') {
                break;
            }
            next = skip_space(at + 1);
            size_t length = (size_t)(at - text);
            if (depth == 1 && *next == ':' && length == strlen(key) && memcmp(text, key, length) == 0) {
                return skip_space(next + 1);
            }
        }
    }
    return NULL;
}

/* The labels in the artifact's metadata, whose memory they keep. */
static void read_labels(struct model *model, char *metadata) {
    char *at = find_value(metadata, "labels");
    if (at == NULL || *at != '[') {
        fail(model->path, "no labels in its metadata");
    }
    do {
        char *text = skip_space(at + 1), *end = text;
        if (*text == '"') {
            end = closing_quote(text);
        }
        if (*end != '"' || memchr(text, '\\', (size_t)(end - text)) != NULL || model->label_count == MAX_LABELS) {
            fail(model->path, "labels that this program does not read: escaped, or more than %d", MAX_LABELS);
        }
        *end = '\0';
        model->labels[model->label_count++] = text + 1;
        at = skip_space(end + 1);
    } while (*at == ',');
}

/* Refuse a file of a cascade, by the manifest beside it: two models answer there, and this program runs one. */
static void refuse_cascade(const char *path) {
    static const char name[] = "manifest.json";
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *manifest = allocate(path, folder + sizeof name), *json;
    memcpy(manifest, path, folder);
    memcpy(manifest + folder, name, sizeof name);
    FILE *stream = fopen(manifest, "rb");
    free(manifest);
    if (stream == NULL) {
        return;
    }
    json = allocate(path, MAX_MANIFEST + 1);
    size_t length = fread(json, 1, MAX_MANIFEST, stream);
    fclose(stream);
    json[length] = '\0';
    if (find_value(json, "cascade") != NULL) {
        fail(path, "a model of a cascade, which cxr-edge predict runs as a whole: name a file of another bundle");
    }
    free(json);
}

/* Without VNNI, ONNX Runtime's fastest int8 kernels on x86 add products in 16 bits, in which they do not fit. */
static int adds_products_in_16_bits(void) {
#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 11)
    return !__builtin_cpu_supports("avx512vnni") && !__builtin_cpu_supports("avxvnni");
#elif defined(__x86_64__) || defined(_M_X64)
    return 1; /* Not detected here: right answers before fast ones. */
#else
    return 0;
#endif
}

/* Load an artifact. What it allocates lasts as long as the program. */
static void load_model(struct model *model) {
    OrtEnv *environment;
    OrtSessionOptions *options;
    OrtModelMetadata *metadata;
    OrtAllocator *allocator;
    OrtTypeInfo *input;
    const OrtTensorTypeAndShapeInfo *tensor;
    char *text = NULL;
    int64_t shape[4];
    size_t rank;
    check(model->path, ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "classify", &environment));
    check(model->path, ort->CreateSessionOptions(&options));
    if (adds_products_in_16_bits()) {
        check(model->path, ort->AddSessionConfigEntry(options, "session.x64quantprecision", "1"));
    }
    check(model->path, ort->CreateSession(environment, model->path, options, &model->session));
    check(model->path, ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &model->memory));
    check(model->path, ort->GetAllocatorWithDefaultOptions(&allocator));
    check(model->path, ort->SessionGetModelMetadata(model->session, &metadata));
    check(model->path, ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "cxr_edge", &text));
    if (text == NULL) {
        fail(model->path, "holds no cxr-edge metadata");
    }
    if (strstr(text, "\"resize\": \"stretch") == NULL) {
        fail(model->path, "wants images resized in another way than this program does");
    }
    read_labels(model, text);
    check(model->path, ort->SessionGetInputTypeInfo(model->session, 0, &input));
    check(model->path, ort->CastTypeInfoToTensorInfo(input, &tensor));
    check(model->path, ort->GetDimensionsCount(tensor, &rank));
    if (rank == 4) {
        check(model->path, ort->GetDimensions(tensor, shape, rank));
        model->size = (int)shape[1];
    }
    if (model->size < 1) {
        fail(model->path, "does not take [N, S, S, 1]");
    }
}

/* Classify one image and print a line about it; `resized` has room for its pixels. */
static void classify(const struct model *model, const char *path, uint8_t *resized) {
    const char *input_name = "image", *output_name = "probabilities";
    const int64_t shape[4] = {1, model->size, model->size, 1};
    size_t pixel_count = (size_t)model->size * model->size, count;
    OrtValue *input = NULL, *output = NULL;
    OrtTensorTypeAndShapeInfo *info;
    ONNXTensorElementDataType type;
    float *probabilities;
    int width, height, top = 0;

    uint8_t *pixels = read_pgm(path, &width, &height);
    if (resize_bilinear(pixels, width, height, model->size, resized) != 0) {
        fail(path, "no memory to resize it");
    }
    free(pixels);
    check(path, ort->CreateTensorWithDataAsOrtValue(model->memory, resized, pixel_count, shape, 4,
                                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &input));
    const OrtValue *const inputs[1] = {input};
    check(path, ort->Run(model->session, NULL, &input_name, inputs, 1, &output_name, 1, &output));
    check(path, ort->GetTensorTypeAndShape(output, &info));
    check(path, ort->GetTensorElementType(info, &type));
    check(path, ort->GetTensorShapeElementCount(info, &count));
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || count != (size_t)model->label_count) {
        fail(model->path, "its probabilities are not float32, one a label");
    }
    check(path, ort->GetTensorMutableData(output, (void **)&probabilities));
    for (int index = 1; index < model->label_count; index++) {
        top = probabilities[index] > probabilities[top] ? index : top;
    }
    printf("%s\t%s", path, model->labels[top]);
    for (int index = 0; index < model->label_count; index++) {
        printf("\t%.4f", probabilities[index]);
    }
    putchar('\n');
    ort->ReleaseTensorTypeAndShapeInfo(info);
    ort->ReleaseValue(output);
    ort->ReleaseValue(input);
}

int main(int count, char **arguments) {
    struct model model = {0};
    if (count < 3) {
        fprintf(stderr, "usage: classify MODEL.onnx IMAGE.pgm...\n");
        return 2;
    }
    model.path = arguments[1];
    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (ort == NULL) {
        fail(arguments[0], "built for a newer ONNX Runtime than %s", OrtGetApiBase()->GetVersionString());
    }
    refuse_cascade(model.path);
    load_model(&model);
    uint8_t *resized = allocate(model.path, (size_t)model.size * model.size);
    for (int index = 2; index < count; index++) {
        classify(&model, arguments[index], resized);
    }
    return 0;
}
