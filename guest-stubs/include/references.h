/*
 * References to functions outside of the guest: the host gets a number for each, and gives it back. Included by the glue of images that need it, with
 * BC_REFERENCES the number of functions there are.
 */
static wasm_rt_funcref_t bc_references[BC_REFERENCES + 1];

/* 0 is the null reference; the others count from 1. */
static uint64_t bc_funcref_to_host(wasm_rt_funcref_t value) {
  if (value.func == NULL) return 0;
  for (uint64_t i = 0; i < BC_REFERENCES; i++) {
    if (bc_references[i].func == NULL) bc_references[i] = value;
    if (bc_references[i].func == value.func && bc_references[i].module_instance == value.module_instance) return i + 1;
  }
  wasm_rt_trap(BC_TRAP_BAD_REQUEST);
}

static wasm_rt_funcref_t bc_funcref_from_host(uint64_t number) {
  if (number == 0) return wasm_rt_funcref_null_value;
  if (number > BC_REFERENCES || bc_references[number - 1].func == NULL) wasm_rt_trap(BC_TRAP_BAD_REFERENCE);
  return bc_references[number - 1];
}
