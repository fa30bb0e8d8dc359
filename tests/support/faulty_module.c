/* A PKCS#11 module that passes every call on to another one, and fails where a file says so.

   FAULTY_MODULE names the real module, FAULTY_ORDERS a file that holds one order: "C_Sign before 0x30 once". A function
   may be named with the mechanism that its session was last told: "C_Sign:1041" is an ECDSA signature, and no HMAC.

     before   return the code, and ask the device nothing
     after    let the device do it, then return the code: the reply is lost
     hang     do not return while the order stands; then go on (the code is not used)
     delay    wait so many milliseconds, then go on
     flip     let the device do it, then turn one bit of its signature: the first time the bit of this number, then the
              next one, and so on around
     crash    let the device do it, then die by this signal, as a module does that writes where it must not
     once     the order is gone when it was obeyed; otherwise ("always") it stands while the file does

   C_Sign with no place for a signature only asks for its length and is never disturbed. When it is finalised it writes
   the names of all functions that were ever called to the orders' file with ".called" behind its name. */

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word; /* every argument and result of PKCS#11 fits into one on the platforms we test on */
typedef word (*function)(word, word, word, word, word, word, word, word);

#define FUNCTIONS(each)                                                                                        \
    each(Initialize) each(Finalize) each(GetInfo) each(GetFunctionList) each(GetSlotList) each(GetSlotInfo)    \
    each(GetTokenInfo) each(GetMechanismList) each(GetMechanismInfo) each(InitToken) each(InitPIN)             \
    each(SetPIN) each(OpenSession) each(CloseSession) each(CloseAllSessions) each(GetSessionInfo)              \
    each(GetOperationState) each(SetOperationState) each(Login) each(Logout) each(CreateObject)                \
    each(CopyObject) each(DestroyObject) each(GetObjectSize) each(GetAttributeValue) each(SetAttributeValue)   \
    each(FindObjectsInit) each(FindObjects) each(FindObjectsFinal) each(EncryptInit) each(Encrypt)             \
    each(EncryptUpdate) each(EncryptFinal) each(DecryptInit) each(Decrypt) each(DecryptUpdate)                 \
    each(DecryptFinal) each(DigestInit) each(Digest) each(DigestUpdate) each(DigestKey) each(DigestFinal)      \
    each(SignInit) each(Sign) each(SignUpdate) each(SignFinal) each(SignRecoverInit) each(SignRecover)         \
    each(VerifyInit) each(Verify) each(VerifyUpdate) each(VerifyFinal) each(VerifyRecoverInit)                 \
    each(VerifyRecover) each(DigestEncryptUpdate) each(DecryptDigestUpdate) each(SignEncryptUpdate)            \
    each(DecryptVerifyUpdate) each(GenerateKey) each(GenerateKeyPair) each(WrapKey) each(UnwrapKey)            \
    each(DeriveKey) each(SeedRandom) each(GenerateRandom) each(GetFunctionStatus) each(CancelFunction)         \
    each(WaitForSlotEvent)

#define NUMBER(name) at_##name,
enum { FUNCTIONS(NUMBER) COUNT };

struct list {
    unsigned char version[2];
    function functions[COUNT];
};

#define NAME(name) "C_" #name,
static const char *const names[COUNT] = {FUNCTIONS(NAME)};

static unsigned char called[COUNT];
static word mechanisms[4096]; /* of each session, by its handle: SoftHSM counts them from one */
static word flipped;

static struct list *real;
static struct list ours;

struct order {
    char name[60], when[10], often[10];
    word code;
};

static int is_meant(const char *ordered, const char *name, word session) {
    const char *colon = strchr(ordered, ':');
    if (colon == NULL) return strcmp(ordered, name) == 0;
    return strlen(name) == (size_t)(colon - ordered) && strncmp(ordered, name, colon - ordered) == 0 &&
           strtoul(colon + 1, NULL, 16) == mechanisms[session % 4096];
}

static int read_order(const char *name, word session, struct order *order) {
    FILE *file = fopen(getenv("FAULTY_ORDERS"), "r");
    if (file == NULL) return 0;
    int parts = fscanf(file, "%59s %9s %lx %9s", order->name, order->when, &order->code, order->often);
    fclose(file);
    return parts == 4 && is_meant(order->name, name, session);
}

static void turn_a_bit(word number, unsigned char *signature, const word *length) {
    word bit = (number + __atomic_fetch_add(&flipped, 1, __ATOMIC_SEQ_CST)) % (8 * *length);
    signature[bit / 8] ^= 1 << bit % 8;
}

static void write_names(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s.called", getenv("FAULTY_ORDERS"));
    FILE *file = fopen(path, "w");
    if (file == NULL) return;
    for (int at = 0; at < COUNT; at++)
        if (called[at]) fprintf(file, "%s\n", names[at]);
    fclose(file);
}

static word passed_on(int at, word a, word b, word c, word d, word e, word f, word g, word h) {
    const char *name = names[at];
    struct order order;
    function call = real->functions[at];
    int only_asks_for_the_length = at == at_Sign && d == 0;
    called[at] = 1;
    if (at == at_Finalize) write_names();
    if (at == at_SignInit) mechanisms[a % 4096] = *(const word *)b;
    if (only_asks_for_the_length || !read_order(name, a, &order)) return call(a, b, c, d, e, f, g, h);
    if (strcmp(order.often, "once") == 0) unlink(getenv("FAULTY_ORDERS"));
    if (strcmp(order.when, "before") == 0) return order.code;
    while (strcmp(order.when, "hang") == 0 && read_order(name, a, &order)) usleep(10000);
    if (strcmp(order.when, "delay") == 0) usleep(1000 * order.code);
    word result = call(a, b, c, d, e, f, g, h);
    if (strcmp(order.when, "flip") == 0) turn_a_bit(order.code, (unsigned char *)d, (const word *)e);
    if (strcmp(order.when, "crash") == 0) raise((int)order.code);
    return strcmp(order.when, "after") == 0 ? order.code : result;
}

#define WRAPPER(name)                                                                                          \
    static word our_##name(word a, word b, word c, word d, word e, word f, word g, word h) {                   \
        return passed_on(at_##name, a, b, c, d, e, f, g, h);                                                   \
    }
FUNCTIONS(WRAPPER)

#define ENTRY(name) our_##name,

word C_GetFunctionList(struct list **answer) {
    static const function wrappers[COUNT] = {FUNCTIONS(ENTRY)};
    if (real == NULL) {
        void *module = dlopen(getenv("FAULTY_MODULE"), RTLD_NOW | RTLD_LOCAL);
        word (*get)(struct list **) = module ? (word(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
        if (get == NULL || get(&real) != 0) return 5; /* CKR_GENERAL_ERROR */
        memcpy(ours.version, real->version, sizeof ours.version);
        memcpy(ours.functions, wrappers, sizeof wrappers);
    }
    *answer = &ours;
    return 0;
}
