/* How fast a PKCS#11 module signs when nothing stands before it: C_SignInit and C_Sign in a loop.

     device_loop MODULE TOKEN PIN p-256|rsa-2048 THREADS SECONDS

   Prints one line: signatures, seconds, and the 50th and 99th percentile of one signature in microseconds. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned long word; /* CK_ULONG, CK_RV and every handle */
typedef word (*function)();
struct list { unsigned char version[2]; function at[70]; };
enum { INITIALIZE = 0, GET_SLOTS = 4, TOKEN_INFO = 6, OPEN = 12, LOGIN = 18, SIGN_INIT = 42, SIGN = 43, GENERATE = 59 };
struct attribute { word type; void *value; word size; };
struct mechanism { word type; void *parameter; word size; };
struct arguments { void *mutexes[4]; word flags; void *reserved; };

#define MOST 4000000
static struct list *module;
static word slot, mechanism_type, key;
static unsigned char message[64];
static word message_size;
static double seconds_to_go;
static float *taken[64];
static long counts[64];

static void check(word code, const char *what) {
    if (code) { fprintf(stderr, "%s: 0x%lx\n", what, code); exit(1); }
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static word open_session(void) {
    word session;
    check(module->at[OPEN](slot, 6UL, NULL, NULL, &session), "C_OpenSession"); /* serial, read and write */
    return session;
}

static void find_slot(const char *label) {
    word slots[64], count = 64;
    unsigned char info[512], padded[33];
    snprintf((char *)padded, sizeof padded, "%-32s", label);
    check(module->at[GET_SLOTS](1UL, slots, &count), "C_GetSlotList");
    for (word i = 0; i < count; i++) {
        check(module->at[TOKEN_INFO](slots[i], info), "C_GetTokenInfo");
        if (!memcmp(info, padded, 32)) { slot = slots[i]; return; }
    }
    check(1, "no such token");
}

static void generate(word session, int is_rsa) {
    unsigned char yes = 1, no = 0, curve[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, exponent[] = {1, 0, 1};
    word bits = 2048, public_key;
    struct attribute public_rsa[] = {{0x121, &bits, sizeof bits}, {0x122, exponent, 3}, {0x1, &no, 1}};
    struct attribute public_ec[] = {{0x180, curve, sizeof curve}, {0x1, &no, 1}};
    struct attribute private[] = {{0x108, &yes, 1}, {0x103, &yes, 1}, {0x1, &no, 1}};
    struct mechanism how = {is_rsa ? 0x0 : 0x1040, NULL, 0};
    check(module->at[GENERATE](session, &how, is_rsa ? public_rsa : public_ec, is_rsa ? 3UL : 2UL, private, 3UL,
                               &public_key, &key), "C_GenerateKeyPair");
    mechanism_type = is_rsa ? 0x1 : 0x1041; /* CKM_RSA_PKCS over a DigestInfo, CKM_ECDSA over a digest */
    message_size = is_rsa ? 51 : 32;
    static const unsigned char prefix[] = {0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32};
    if (is_rsa) memcpy(message, prefix, sizeof prefix);
}

static void *loop(void *number) {
    long mine = (long)number;
    word session = open_session();
    unsigned char value[512];
    struct mechanism how = {mechanism_type, NULL, 0};
    double end = now() + seconds_to_go, begun;
    while ((begun = now()) < end && counts[mine] < MOST) {
        word size = sizeof value;
        check(module->at[SIGN_INIT](session, &how, key), "C_SignInit");
        check(module->at[SIGN](session, message, message_size, value, &size), "C_Sign");
        taken[mine][counts[mine]++] = (now() - begun) * 1e6;
    }
    return NULL;
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) check(1, dlerror());
    check(((function)dlsym(library, "C_GetFunctionList"))(&module), "C_GetFunctionList");
    struct arguments arguments = {{0}, 2, NULL}; /* CKF_OS_LOCKING_OK */
    check(module->at[INITIALIZE](&arguments), "C_Initialize");
    find_slot(argv[2]);
    word session = open_session(), threads = strtoul(argv[5], NULL, 10);
    check(module->at[LOGIN](session, 1UL, argv[3], (word)strlen(argv[3])), "C_Login");
    generate(session, !strcmp(argv[4], "rsa-2048"));
    seconds_to_go = atof(argv[6]);
    pthread_t running[64];
    double begun = now();
    for (word i = 0; i < threads; i++) {
        taken[i] = malloc(MOST * sizeof(float));
        pthread_create(&running[i], NULL, loop, (void *)i);
    }
    long all = 0;
    float *each = malloc(threads * MOST * sizeof(float));
    for (word i = 0; i < threads; i++) {
        pthread_join(running[i], NULL);
        memcpy(each + all, taken[i], counts[i] * sizeof(float));
        all += counts[i];
    }
    double spent = now() - begun;
    qsort(each, all, sizeof(float), by_size);
    printf("%ld %f %f %f\n", all, spent, each[all / 2], each[all * 99 / 100]);
    return 0;
}
