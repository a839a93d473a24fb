/* What kernels call instead of TVM's runtime, and how they are called. Generated tables come in
 * front: kWorkspace, tensors, arguments, kernels. */

typedef struct {
  void* sync;
  int32_t tasks;
} Group;

static uint8_t workspace[kWorkspace] __attribute__((aligned(64)));
static uint64_t used;

static void* Allocate(int device, int number, uint64_t bytes, int code, int bits) {
  (void)device, (void)number, (void)code, (void)bits;
  void* memory = workspace + used;
  used += (bytes + 63) / 64 * 64;
  return memory;
}

/* What was taken last is given back first. */
static int Free(int device, int number, void* memory) {
  (void)device, (void)number;
  used = (uint64_t)((uint8_t*)memory - workspace);
  return 0;
}

static int Launch(int (*body)(int, Group*, void*), void* data, int tasks) {
  Group group = {NULL, tasks > 0 ? tasks : 1};
  for (int task = 0; task < group.tasks; ++task) {
    if (body(task, &group, data) != 0) return -1;
  }
  return 0;
}

int (*__TVMBackendParallelLaunch)(int (*)(int, Group*, void*), void*, int) = Launch;
void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = Allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void*) = Free;

/* Kernels check their arguments, which are constant here: there is nothing to tell. */
void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  (void)kind, (void)parts, (void)count;
}

static int RunKernels(void) {
  const uint16_t* next = arguments;
  for (unsigned number = 0; number < sizeof(kernels) / sizeof(kernels[0]); ++number) {
    Any given[kMostArguments], result = {0, 0, {0}};
    const int count = *next++;
    for (int i = 0; i < count; ++i) {
      given[i].type_index = 7; /* kTVMFFIDLTensorPtr */
      given[i].zero_padding = 0;
      given[i].value.pointer = &tensors[*next++];
    }
    used = 0;
    if (kernels[number](NULL, given, count, &result) != 0) return -1;
  }
  return 0;
}
