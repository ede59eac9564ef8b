/* What ONNX Runtime's CUDA provider calls while a session starts, for no GPU: memory is the machine's own, handles are
 * any number, nothing is computed. Every other function of CUDA's libraries is added with a result of 0, success. */

#include <stdlib.h>
#include <string.h>

static int handle(void **created) {
    *created = (void *)1;
    return 0;
}

static int memory(void **allocated, size_t bytes) {
    *allocated = malloc(bytes ? bytes : 1);
    return *allocated == NULL;
}

static int release(void *allocated) {
    free(allocated);
    return 0;
}

static int copy(void *to, const void *from, size_t bytes) {
    memcpy(to, from, bytes);
    return 0;
}

int cudaGetDeviceCount(int *count) {
    *count = 1;
    return 0;
}

int cudaGetDevice(int *device) {
    *device = 0;
    return 0;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    *value = 0;
    return 0;
}

int cudaMemGetInfo(size_t *available, size_t *total) {
    *available = *total = (size_t)8 << 30;
    return 0;
}

int cudaMalloc(void **allocated, size_t bytes) { return memory(allocated, bytes); }
int cudaMallocHost(void **allocated, size_t bytes) { return memory(allocated, bytes); }
int cudaHostAlloc(void **allocated, size_t bytes, unsigned flags) { return memory(allocated, bytes); }
int cudaFree(void *allocated) { return release(allocated); }
int cudaFreeHost(void *allocated) { return release(allocated); }
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { return copy(to, from, bytes); }
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) { return copy(to, from, bytes); }
int cudaStreamCreateWithFlags(void **created, unsigned flags) { return handle(created); }
int cudaEventCreateWithFlags(void **created, unsigned flags) { return handle(created); }
int cublasCreate_v2(void **created) { return handle(created); }
int cublasLtCreate(void **created) { return handle(created); }
int cudnnCreate(void **created) { return handle(created); }
const char *cudaGetErrorString(int error) { return "no GPU"; }
const char *cudnnGetErrorString(int error) { return "no GPU"; }

/* At least the 9.0 that the provider asks for. */
size_t cudnnGetVersion(void) { return 90000; }
