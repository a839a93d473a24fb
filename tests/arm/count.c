/* A plugin of qemu-aarch64 that counts executed instructions and prints the number at the end.
 *
 * The declarations are those of QEMU's plugin interface, version 1 (include/qemu/qemu-plugin.h,
 * which Debian does not package).
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

typedef uint64_t Id;
struct qemu_plugin_tb;
typedef struct qemu_info_t qemu_info_t;
enum { kAddU64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(Id id, void (*call)(Id, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, int op, void* counter,
                                              uint64_t value);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
void qemu_plugin_register_atexit_cb(Id id, void (*call)(Id, void*), void* data);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t executed;

static void Translated(Id id, struct qemu_plugin_tb* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kAddU64, &executed,
                                           qemu_plugin_tb_n_insns(block));
}

static void Finished(Id id, void* data) {
  (void)id, (void)data;
  fprintf(stderr, "executed %" PRIu64 "\n", executed);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const qemu_info_t* info,
                                                               int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, Translated);
  qemu_plugin_register_atexit_cb(id, Finished, NULL);
  return 0;
}
