/* Runs one compiled kernel, without TVM's runtime:  runner ARGUMENTS OUTPUT [REPEAT]
 *
 * ARGUMENTS holds the tensors one after another: int32 code, bits, rank, then int64 extents, then
 * the elements. The last one is written to OUTPUT when the kernel has run REPEAT times (1).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tvm/ffi/c_api.h>

enum { kMost = 16, kAlignment = 64 };

int __tvm_ffi_main(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);

typedef struct {
  void* sync;
  int32_t tasks;
} Group;

static int Launch(int (*body)(int, Group*, void*), void* data, int tasks) {
  Group group = {NULL, tasks > 0 ? tasks : 1};
  for (int task = 0; task < group.tasks; ++task) {
    if (body(task, &group, data) != 0) return -1;
  }
  return 0;
}

static void* Allocate(int device, int number, uint64_t bytes, int code, int bits) {
  (void)device, (void)number, (void)code, (void)bits;
  return aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}

static int Free(int device, int number, void* memory) {
  (void)device, (void)number;
  free(memory);
  return 0;
}

/* What compiled code calls through, instead of TVM's runtime. */
int (*__TVMBackendParallelLaunch)(int (*)(int, Group*, void*), void*, int) = Launch;
void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = Allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void*) = Free;

void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  fprintf(stderr, "%s: ", kind);
  for (int32_t i = 0; i < count; ++i) fprintf(stderr, "%s", parts[i]);
  fprintf(stderr, "\n");
}

static void Read(void* target, size_t bytes, FILE* file) {
  if (fread(target, 1, bytes, file) != bytes) exit(3);
}

static size_t ReadTensor(DLTensor* tensor, FILE* file) {
  int32_t head[3];
  Read(head, sizeof(head), file);
  int64_t* shape = malloc(2 * head[2] * sizeof(int64_t) + 1);
  int64_t* strides = shape + head[2];
  Read(shape, head[2] * sizeof(int64_t), file);
  size_t bytes = head[1] / 8;
  for (int i = head[2] - 1; i >= 0; --i) {
    strides[i] = bytes / (head[1] / 8);
    bytes *= shape[i];
  }
  DLDataType type = {(uint8_t)head[0], (uint8_t)head[1], 1};
  *tensor = (DLTensor){.device = {kDLCPU, 0}, .ndim = head[2], .dtype = type, .shape = shape,
                       .strides = strides};
  tensor->data = Allocate(0, 0, bytes + 1, 0, 0);
  Read(tensor->data, bytes, file);
  return bytes;
}

int main(int argc, char** argv) {
  FILE* file = fopen(argv[1], "rb");
  if (file == NULL || argc < 3) return 2;
  DLTensor tensors[kMost];
  TVMFFIAny arguments[kMost], result;
  memset(arguments, 0, sizeof(arguments));
  int count = 0;
  size_t bytes = 0;
  for (int next = fgetc(file); next != EOF && count < kMost; next = fgetc(file)) {
    ungetc(next, file);
    bytes = ReadTensor(&tensors[count], file);
    arguments[count].type_index = kTVMFFIDLTensorPtr;
    arguments[count].v_ptr = &tensors[count];
    ++count;
  }
  int repeat = argc > 3 ? atoi(argv[3]) : 1;
  for (int i = 0; i < repeat; ++i) {
    if (__tvm_ffi_main(NULL, arguments, count, &result) != 0) return 1;
  }
  FILE* output = fopen(argv[2], "wb");
  if (output == NULL || fwrite(tensors[count - 1].data, 1, bytes, output) != bytes) return 4;
  return fclose(output);
}
