/*
 * What wasm2c 1.0.39 wants from its runtime, for a guest without an operating system. The names are wasm2c's interface; the
 * implementation is runtime.c. Each module has one instance, linear memory 0 is at address 0, traps leave by a port.
 */
#ifndef WASM_RT_H_
#define WASM_RT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "abi.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define wasm_rt_memcpy __builtin_memcpy
#define wasm_rt_unreachable __builtin_unreachable

/* Page tables check bounds, precisely; the guard is the hole up to 8 GiB. */
#define WASM_RT_MEMCHECK_GUARD_PAGES 1
/* The unmapped hole below the stack catches recursion, so nothing is counted. */
#define WASM_RT_STACK_DEPTH_COUNT 0
#define WASM_RT_USE_SEGUE 0
#define WASM_RT_SANITY_CHECKS 0

/* wasm2c's names of traps, as numbers of the ABI. OOB is split by the compiler's adaptation of the generated code. */
#define WASM_RT_TRAP_NONE 0
#define WASM_RT_TRAP_OOB BC_TRAP_OUT_OF_BOUNDS_MEMORY
#define WASM_RT_TRAP_OOB_TABLE BC_TRAP_OUT_OF_BOUNDS_TABLE
#define WASM_RT_TRAP_INT_OVERFLOW BC_TRAP_INTEGER_OVERFLOW
#define WASM_RT_TRAP_DIV_BY_ZERO BC_TRAP_INTEGER_DIVIDE_BY_ZERO
#define WASM_RT_TRAP_INVALID_CONVERSION BC_TRAP_INVALID_CONVERSION
#define WASM_RT_TRAP_UNREACHABLE BC_TRAP_UNREACHABLE
#define WASM_RT_TRAP_CALL_INDIRECT BC_TRAP_INDIRECT_CALL_TYPE_MISMATCH
#define WASM_RT_TRAP_UNINITIALIZED BC_TRAP_UNINITIALIZED_ELEMENT
#define WASM_RT_TRAP_EXHAUSTION BC_TRAP_STACK_EXHAUSTED

typedef enum { WASM_RT_I32, WASM_RT_I64, WASM_RT_F32, WASM_RT_F64, WASM_RT_V128, WASM_RT_FUNCREF, WASM_RT_EXTERNREF } wasm_rt_type_t;

typedef void (*wasm_rt_function_ptr_t)(void);
typedef struct wasm_rt_tailcallee_t {
  void (*fn)(void** instance_ptr, void* tail_call_stack, struct wasm_rt_tailcallee_t* next);
} wasm_rt_tailcallee_t;

/* 32 bytes that identify a function type; equal types have equal bytes. */
typedef const char* wasm_rt_func_type_t;

typedef struct {
  wasm_rt_func_type_t func_type;
  wasm_rt_function_ptr_t func;
  wasm_rt_tailcallee_t func_tailcallee;
  void* module_instance;
} wasm_rt_funcref_t;
#define wasm_rt_funcref_null_value ((wasm_rt_funcref_t){NULL, NULL, {NULL}, NULL})

typedef void* wasm_rt_externref_t;
#define wasm_rt_externref_null_value ((wasm_rt_externref_t)0)

typedef struct {
  uint8_t* data;
  uint64_t pages;
  uint64_t max_pages;
  uint32_t page_size;
  uint64_t size; /* bytes */
  bool is64;
  uint32_t place; /* among the VM's memories */
} wasm_rt_memory_t;

typedef struct {
  wasm_rt_funcref_t* data;
  uint32_t max_size;
  uint32_t size;
} wasm_rt_funcref_table_t;

typedef struct {
  wasm_rt_externref_t* data;
  uint32_t max_size;
  uint32_t size;
} wasm_rt_externref_table_t;

/* By their places. Made by the glue. */
extern wasm_rt_memory_t* bc_memories[];

#define wasm_rt_is_initialized() true

__attribute__((noreturn, cold)) void wasm_rt_trap(int trap);
void wasm_rt_allocate_memory(wasm_rt_memory_t* memory, uint64_t pages, uint64_t max_pages, bool is64, uint32_t page_size);
uint64_t wasm_rt_grow_memory(wasm_rt_memory_t* memory, uint64_t pages);
void wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t* table, uint32_t elements, uint32_t max_elements);
uint32_t wasm_rt_grow_funcref_table(wasm_rt_funcref_table_t* table, uint32_t delta, wasm_rt_funcref_t init);
void wasm_rt_allocate_externref_table(wasm_rt_externref_table_t* table, uint32_t elements, uint32_t max_elements);
uint32_t wasm_rt_grow_externref_table(wasm_rt_externref_table_t* table, uint32_t delta, wasm_rt_externref_t init);

/* A VM is thrown away whole, so nothing is ever freed one by one. */
#define wasm_rt_free_memory(memory) ((void)(memory))
#define wasm_rt_free_funcref_table(table) ((void)(table))
#define wasm_rt_free_externref_table(table) ((void)(table))

#endif
