/* A PKCS#11 module that passes every call on to another one, and fails where a file says so.

   FAULTY_MODULE names the real module, FAULTY_ORDERS a file that holds one order: "C_Sign before 0x30 once".

     before   return the code, and ask the device nothing
     after    let the device do it, then return the code: the reply is lost
     hang     do not return while the order stands; then go on (the code is not used)
     once     the order is gone when it was obeyed; otherwise ("always") it stands while the file does

   C_Sign with no place for a signature only asks for its length and is never disturbed. */

#include <dlfcn.h>
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

static struct list *real;
static struct list ours;

struct order {
    char name[40], when[10], often[10];
    word code;
};

static int read_order(const char *name, struct order *order) {
    FILE *file = fopen(getenv("FAULTY_ORDERS"), "r");
    if (file == NULL) return 0;
    int parts = fscanf(file, "%39s %9s %lx %9s", order->name, order->when, &order->code, order->often);
    fclose(file);
    return parts == 4 && strcmp(order->name, name) == 0;
}

static word passed_on(int at, const char *name, word a, word b, word c, word d, word e, word f, word g, word h) {
    struct order order;
    function call = real->functions[at];
    int only_asks_for_the_length = at == at_Sign && d == 0;
    if (only_asks_for_the_length || !read_order(name, &order)) return call(a, b, c, d, e, f, g, h);
    if (strcmp(order.often, "once") == 0) unlink(getenv("FAULTY_ORDERS"));
    if (strcmp(order.when, "before") == 0) return order.code;
    while (strcmp(order.when, "hang") == 0 && read_order(name, &order)) usleep(10000);
    word result = call(a, b, c, d, e, f, g, h);
    return strcmp(order.when, "after") == 0 ? order.code : result;
}

#define WRAPPER(name)                                                                                          \
    static word our_##name(word a, word b, word c, word d, word e, word f, word g, word h) {                   \
        return passed_on(at_##name, "C_" #name, a, b, c, d, e, f, g, h);                                       \
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
