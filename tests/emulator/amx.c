/* AMX for CPUs that lack it: an executable model of the tile instructions.
 *
 * Loading this shared object (ctypes.CDLL or LD_PRELOAD) installs a SIGILL handler that decodes
 * the VEX-encoded instruction at RIP, executes it on tiles of the thread that ran it, and resumes
 * behind it. Everything else, also misuse that is #UD on hardware, goes to the handler that was
 * there before. What is #GP on hardware raises SIGSEGV. A seccomp filter answers the request for
 * permission, arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), as Linux would on such a CPU.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 1 ch. 18 (palettes,
 * configuration) and vol. 2 (LDTILECFG to TILEZERO), whose pseudocode the functions follow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64, LANES = ROW_BYTES / 4 };
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
enum { DAZ_FTZ_NEAREST_MASKED = 0x9fc0 }; /* MXCSR as TDPBF16PS computes, whatever it holds */

/* The memory operand of LDTILECFG and STTILECFG: SDM vol. 1, table 18-1. */
struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[TILES];
    uint8_t zero[16], rows[TILES], zero_rows[8];
};

struct tiles {
    struct config config; /* palette 0: not configured */
    uint8_t data[TILES][ROWS][ROW_BYTES];
};

struct instruction {
    int opcode, prefix;       /* prefix: 0 none, 1 = 66, 2 = F3, 3 = F2 (VEX.pp) */
    int reg, rm, vvvv, is_register;
    uint64_t address, stride; /* of a memory operand */
    int has_sib, length;
};

enum result { DONE, UNDEFINED, PROTECTION };

static struct sigaction previous;
static int install_error;
/* initial-exec: the handler must not allocate thread-local storage. */
static __thread struct tiles *own_tiles __attribute__((tls_model("initial-exec")));

static struct tiles *thread_tiles(void)
{
    if (!own_tiles) {
        void *memory = mmap(NULL, sizeof(struct tiles), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        own_tiles = memory == MAP_FAILED ? NULL : memory;
    }
    return own_tiles;
}

/* General registers in the order of their encoding. */
static uint64_t general(const ucontext_t *context, int number)
{
    static const int order[16] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

static int64_t displacement(const uint8_t *code, int size)
{
    int32_t wide;
    if (size == 1) return (int8_t)*code;
    memcpy(&wide, code, sizeof wide);
    return wide;
}

/* The memory operand behind ModRM; the number of bytes it takes. */
static int decode_memory(struct instruction *found, const ucontext_t *context,
                         const uint8_t *code, int mod, int extend_b, int extend_x)
{
    const uint8_t *start = code;
    int base = found->rm | extend_b, size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    found->has_sib = found->rm == 4;
    if (found->has_sib) {
        int index = (*code >> 3 & 7) | extend_x;
        base = (*code & 7) | extend_b;
        if (index != 4) found->stride = general(context, index) << (*code >> 6);
        code++;
    }
    if (mod == 0 && (base & 7) == 5) { /* no base: RIP-relative, or absolute behind a SIB */
        found->address = found->has_sib ? 0 : (uint64_t)(code + 4);
        size = 4;
    } else {
        found->address = general(context, base);
    }
    if (size) found->address += (uint64_t)displacement(code, size);
    return (int)(code - start) + size;
}

/* Three-byte VEX, map 0F38, W0, L0: SDM vol. 2, 2.3. Zero where it is another instruction. */
static int decode(struct instruction *found, const ucontext_t *context)
{
    const uint8_t *code = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];
    if (code[0] != 0xC4 || (code[1] & 0x1F) != 2 || (code[2] & 0x84)) return 0;
    int extend_x = code[1] & 0x40 ? 0 : 8, extend_b = code[1] & 0x20 ? 0 : 8;
    int mod = code[4] >> 6;
    *found = (struct instruction){
        .opcode = code[3], .prefix = code[2] & 3, .vvvv = ~code[2] >> 3 & 15,
        .reg = (code[4] >> 3 & 7) | (code[1] & 0x80 ? 0 : 8), .rm = code[4] & 7, .length = 5};
    found->is_register = mod == 3;
    if (found->is_register) found->rm |= extend_b;
    else found->length += decode_memory(found, context, code + 5, mod, extend_b, extend_x);
    return 1;
}

static int is_zero(const uint8_t *bytes, size_t count)
{
    while (count) if (bytes[--count]) return 0;
    return 1;
}

static enum result load_config(struct tiles *tiles, const void *memory)
{
    struct config wanted;
    memcpy(&wanted, memory, sizeof wanted);
    if (wanted.palette > 1 || !is_zero(wanted.reserved, sizeof wanted.reserved) ||
        !is_zero(wanted.zero, sizeof wanted.zero) ||
        !is_zero(wanted.zero_rows, sizeof wanted.zero_rows)) return PROTECTION;
    for (int t = 0; wanted.palette && t < TILES; t++)
        if (wanted.colsb[t] > ROW_BYTES || wanted.rows[t] > ROWS ||
            !wanted.colsb[t] != !wanted.rows[t]) return PROTECTION;
    memset(tiles, 0, sizeof *tiles);
    if (wanted.palette) tiles->config = wanted;
    return DONE;
}

/* Row by row; rows and columns outside of the configured shape become zero. */
static void load_tile(struct tiles *tiles, const struct instruction *at)
{
    uint8_t (*tile)[ROW_BYTES] = tiles->data[at->reg];
    for (int r = tiles->config.start_row; r < ROWS; r++) {
        memset(tile[r], 0, ROW_BYTES);
        if (r < tiles->config.rows[at->reg])
            memcpy(tile[r], (const void *)(at->address + (uint64_t)r * at->stride),
                   tiles->config.colsb[at->reg]);
    }
    tiles->config.start_row = 0;
}

static void store_tile(struct tiles *tiles, const struct instruction *at)
{
    for (int r = tiles->config.start_row; r < tiles->config.rows[at->reg]; r++)
        memcpy((void *)(at->address + (uint64_t)r * at->stride), tiles->data[at->reg][r],
               tiles->config.colsb[at->reg]);
    tiles->config.start_row = 0;
}

static int32_t byte(uint8_t value, int is_signed) { return is_signed ? (int8_t)value : value; }

/* c[m][n] += a[m][4k..] . b[k][4n..] without saturation. */
static void multiply_bytes(struct tiles *tiles, const struct instruction *at, int a_signed,
                           int b_signed)
{
    const struct config *shape = &tiles->config;
    uint32_t (*c)[LANES] = (void *)tiles->data[at->reg];
    for (int k = 0; k < shape->colsb[at->rm] / 4; k++) {
        const uint8_t *row = tiles->data[at->vvvv][k];
        int32_t b[4][LANES];
        for (int n = 0; n < LANES; n++)
            for (int i = 0; i < 4; i++) b[i][n] = byte(row[4 * n + i], b_signed);
        for (int m = 0; m < shape->rows[at->reg]; m++)
            for (int i = 0; i < 4; i++) {
                int32_t a = byte(tiles->data[at->rm][m][4 * k + i], a_signed);
                for (int n = 0; n < shape->colsb[at->reg] / 4; n++)
                    c[m][n] += (uint32_t)(a * b[i][n]);
            }
    }
}

static float widen(const uint8_t *bfloat16)
{
    uint32_t bits = (uint32_t)(bfloat16[0] | bfloat16[1] << 8) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Even and odd products are summed apart by FMA, then added to each other, then to c. */
static void multiply_bfloat16(struct tiles *tiles, const struct instruction *at)
{
    const struct config *shape = &tiles->config;
    float (*c)[LANES] = (void *)tiles->data[at->reg], sums[ROWS][2][LANES] = {0};
    for (int k = 0; k < shape->colsb[at->rm] / 4; k++)
        for (int odd = 0; odd < 2; odd++) {
            float b[LANES];
            for (int n = 0; n < LANES; n++)
                b[n] = widen(&tiles->data[at->vvvv][k][4 * n + 2 * odd]);
            for (int m = 0; m < shape->rows[at->reg]; m++) {
                float a = widen(&tiles->data[at->rm][m][4 * k + 2 * odd]);
                for (int n = 0; n < LANES; n++)
                    sums[m][odd][n] = fmaf(a, b[n], sums[m][odd][n]);
            }
        }
    for (int m = 0; m < shape->rows[at->reg]; m++)
        for (int n = 0; n < shape->colsb[at->reg] / 4; n++)
            c[m][n] += sums[m][0][n] + sums[m][1][n];
}

/* Whether the operands of a product are #UD: SDM vol. 2, exception class AMX-E4. */
static int is_mismatch(const struct config *shape, int c, int a, int b)
{
    return c == a || c == b || a == b || c >= TILES || a >= TILES || b >= TILES ||
           !shape->rows[a] || !shape->rows[b] || !shape->rows[c] ||
           shape->colsb[c] % 4 || shape->colsb[a] % 4 || shape->colsb[b] % 4 ||
           shape->rows[c] != shape->rows[a] || shape->colsb[c] != shape->colsb[b] ||
           shape->colsb[a] / 4 != shape->rows[b];
}

static enum result multiply(struct tiles *tiles, const struct instruction *at)
{
    if (!at->is_register || is_mismatch(&tiles->config, at->reg, at->rm, at->vvvv))
        return UNDEFINED;
    if (at->opcode == 0x5C && at->prefix != 2) return UNDEFINED;
    if (at->opcode == 0x5C) multiply_bfloat16(tiles, at);
    else multiply_bytes(tiles, at, at->prefix >= 2, at->prefix == 1 || at->prefix == 3);
    tiles->config.start_row = 0;
    return DONE;
}

/* Opcode 49: LDTILECFG, STTILECFG, TILERELEASE, TILEZERO. */
static enum result configure(struct tiles *tiles, const struct instruction *at)
{
    if (at->vvvv) return UNDEFINED;
    if (at->is_register && at->prefix == 0 && !at->reg && !at->rm) {
        memset(tiles, 0, sizeof *tiles);
        return DONE;
    }
    if (at->is_register && at->prefix == 3 && !at->rm) {
        if (at->reg >= TILES || !tiles->config.rows[at->reg]) return UNDEFINED;
        memset(tiles->data[at->reg], 0, sizeof tiles->data[at->reg]);
        tiles->config.start_row = 0;
        return DONE;
    }
    if (at->is_register || at->reg || at->prefix > 1) return UNDEFINED;
    if (at->prefix == 0) return load_config(tiles, (const void *)at->address);
    memcpy((void *)at->address, &tiles->config, sizeof tiles->config);
    return DONE;
}

/* Opcode 4B: TILELOADD, TILELOADDT1, TILESTORED. */
static enum result transfer(struct tiles *tiles, const struct instruction *at)
{
    if (at->vvvv || at->is_register || !at->has_sib || at->prefix == 0 || at->reg >= TILES ||
        !tiles->config.rows[at->reg]) return UNDEFINED;
    if (tiles->config.start_row >= tiles->config.rows[at->reg]) return UNDEFINED;
    if (at->prefix == 2) store_tile(tiles, at);
    else load_tile(tiles, at);
    return DONE;
}

static enum result execute(const struct instruction *at)
{
    struct tiles *tiles = thread_tiles();
    if (!tiles) return UNDEFINED;
    switch (at->opcode) {
    case 0x49: return configure(tiles, at);
    case 0x4B: return transfer(tiles, at);
    case 0x5C: case 0x5E: return multiply(tiles, at);
    default: return UNDEFINED;
    }
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(number, info, context);
    else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
        previous.sa_handler(number);
    else signal(number, SIG_DFL); /* the instruction runs again, and ends the process */
}

static void handle(int number, siginfo_t *info, void *where)
{
    ucontext_t *context = where;
    int saved_errno = errno;
    struct instruction found;
    enum result result = UNDEFINED;
    if (info->si_code > 0 && decode(&found, context)) {
        unsigned int mxcsr = _mm_getcsr();
        _mm_setcsr(DAZ_FTZ_NEAREST_MASKED);
        result = execute(&found);
        _mm_setcsr(mxcsr);
    }
    if (result == DONE) context->uc_mcontext.gregs[REG_RIP] += found.length;
    else if (result == PROTECTION) raise(SIGSEGV);
    else pass_on(number, info, context);
    errno = saved_errno;
}

/* arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) returns 0 in every thread. */
static int grant_permission(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_REQ_XCOMP_PERM, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, XFEATURE_XTILEDATA, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return errno;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter))
        return errno;
    return 0;
}

/* 0, or the errno for which emulation could not be installed. */
int amx_emulation_error(void) { return install_error; }

__attribute__((constructor)) static void install(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    install_error = sigaction(SIGILL, &action, &previous) ? errno : grant_permission();
}
